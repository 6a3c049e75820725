//! Single injections, for people and for machines.

use serde_json::{Value, json};

use crate::node::{Sample, Subject, Trail};

/// One injection in one line.
pub(super) fn line(sample: &Sample) -> String {
    let at = sample.at.as_secs_f64();
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
        } => {
            let (from, to) = flow.ends();
            let protocol = flow
                .protocol_name()
                .map_or_else(|| format!("protocol {}", flow.protocol), str::to_owned);
            format!("packet of {bytes} bytes, {protocol} {from} > {to}")
        }
    };
    format!(
        "{at:.6}  event {} hit: {what}, cgroup {}",
        sample.ordinal, sample.cgroup
    )
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
        "at": sample.at.as_secs_f64(),
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
        }
        Subject::Packet { bytes, flow } => {
            value["bytes"] = json!(bytes);
            if let Some(flow) = flow {
                let (source, destination) = flow.ends();
                value["protocol"] = json!(flow.protocol);
                value["source"] = json!(source);
                value["destination"] = json!(destination);
            }
        }
    }
    value
}
