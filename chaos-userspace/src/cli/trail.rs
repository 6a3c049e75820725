//! Single injections, for people and for machines.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::node::{Flow, Frame, Sample, Subject, Trail};

/// Writes one injection: a line, and one for each frame of its stack.
pub(super) fn write(out: &mut impl Write, label: &str, sample: &Sample) -> io::Result<()> {
    writeln!(out, "{label}{}", line(sample))?;
    for frame in &sample.stack {
        writeln!(out, "{label}    at {}", place(frame))?;
    }
    Ok(())
}

/// `/usr/sbin/nginx+0x1234`, or the bare address.
fn place(frame: &Frame) -> String {
    match &frame.place {
        Some(place) => format!("{}+{:#x}", place.file, place.offset),
        None => format!("{:#x}", frame.address),
    }
}

/// The events that have come since so many had been sampled, as far as they are kept.
pub(super) fn since(trail: &Trail, sampled: u64) -> &[Sample] {
    let known = trail.events.len();
    let new = usize::try_from(trail.sampled.saturating_sub(sampled)).unwrap_or(known);
    &trail.events[known - new.min(known)..]
}

/// One injection in one line.
fn line(sample: &Sample) -> String {
    let at = sample.since_boot.as_secs_f64();
    let what = match &sample.subject {
        Subject::Task {
            pid,
            tid,
            comm,
            call,
        } => {
            let call = call.map_or_else(|| "?".to_owned(), |call| call.to_string());
            format!("pid {pid} tid {tid} ({comm}) syscall {call}")
        }
        Subject::Packet { bytes, flow: None } => format!("packet of {bytes} bytes"),
        Subject::Packet {
            bytes,
            flow: Some(flow),
        } => format!("packet of {bytes} bytes, {}", flow_words(flow)),
        Subject::Connection(flow) => format!("connection, {}", flow_words(flow)),
    };
    format!(
        "{at:.6}  event {} hit: {what}, cgroup {}",
        sample.ordinal, sample.cgroup
    )
}

fn flow_words(flow: &Flow) -> String {
    let (from, to) = flow.ends();
    let protocol = flow
        .protocol_name()
        .map_or_else(|| format!("protocol {}", flow.protocol), str::to_owned);
    format!("{protocol} {from} > {to}")
}

fn flow_json(value: &mut Value, flow: &Flow) {
    let (source, destination) = flow.ends();
    value["protocol"] = json!(flow.protocol);
    value["source"] = json!(source);
    value["destination"] = json!(destination);
}

/// What the lines do not say.
pub(super) fn summary(trail: &Trail) -> Option<String> {
    let shown = trail.events.len() as u64;
    if trail.sampled == shown && trail.lost == 0 {
        return None;
    }
    Some(format!(
        "{} sampled, the newest {shown} shown; {} lost",
        trail.sampled, trail.lost
    ))
}

/// All of it.
pub(super) fn json(trail: &Trail) -> Value {
    json!({
        "events": trail.events.iter().map(event).collect::<Vec<_>>(),
        "sampled": trail.sampled,
        "lost": trail.lost,
        "ordinals": trail.ordinals,
        "truncated": trail.truncated,
    })
}

/// One injection.
pub(super) fn event(sample: &Sample) -> Value {
    let mut value = json!({
        "ordinal": sample.ordinal,
        "at": super::show::unix_seconds(sample.at),
        "sinceBoot": sample.since_boot.as_secs_f64(),
        "cgroup": sample.cgroup,
    });
    match &sample.subject {
        Subject::Task {
            pid,
            tid,
            comm,
            call,
        } => {
            value["pid"] = json!(pid);
            value["tid"] = json!(tid);
            value["comm"] = json!(comm);
            value["syscall"] = json!(call);
            if !sample.stack.is_empty() {
                value["stack"] = sample.stack.iter().map(frame).collect();
            }
        }
        Subject::Packet { bytes, flow } => {
            value["bytes"] = json!(bytes);
            if let Some(flow) = flow {
                flow_json(&mut value, flow);
            }
        }
        Subject::Connection(flow) => flow_json(&mut value, flow),
    }
    value
}

/// An address is a text: it may have more bits than a number of JSON is sure to keep.
fn frame(frame: &Frame) -> Value {
    let place = frame.place.as_ref();
    json!({
        "address": format!("{:#x}", frame.address),
        "file": place.map(|place| &place.file),
        "offset": place.map(|place| place.offset),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::node::Place;

    fn sample(ordinal: u64) -> Sample {
        Sample {
            ordinal,
            at: UNIX_EPOCH + Duration::from_millis(1_800_000_000_500),
            since_boot: Duration::from_millis(1500),
            cgroup: 7,
            subject: Subject::Task {
                pid: 2,
                tid: 3,
                comm: "nginx".to_owned(),
                call: Some(257),
            },
            stack: vec![
                Frame {
                    address: 0x7f00_0000_1234,
                    place: Some(Place {
                        file: "/usr/sbin/nginx".to_owned(),
                        offset: 0x234,
                    }),
                },
                Frame {
                    address: 0x7fff_ffff,
                    place: None,
                },
            ],
        }
    }

    #[test]
    fn a_stack_is_shown_frame_by_frame() {
        let mut out = Vec::new();
        write(&mut out, "  ", &sample(3)).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  1.500000  event 3 hit: pid 2 tid 3 (nginx) syscall 257, cgroup 7\n      \
             at /usr/sbin/nginx+0x234\n      at 0x7fffffff\n"
        );
        assert_eq!(
            event(&sample(3))["stack"],
            json!([
                {"address": "0x7f0000001234", "file": "/usr/sbin/nginx", "offset": 0x234},
                {"address": "0x7fffffff", "file": null, "offset": null},
            ])
        );
    }

    #[test]
    fn what_is_new_is_told_by_how_many_were_sampled() {
        let mut trail = Trail {
            events: (9..=12).map(sample).collect(),
            sampled: 12,
            ..Trail::default()
        };
        for (before, new) in [(0, 4), (8, 4), (10, 2), (12, 0), (13, 0)] {
            assert_eq!(since(&trail, before).len(), new, "{before}");
        }
        assert_eq!(since(&trail, 11)[0].ordinal, 12);
        trail.events.clear();
        assert!(since(&trail, 0).is_empty());
    }
}
