//! `kchaos show`, and how an experiment is written for people and for machines.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    account,
    client::{CliError, Connect},
    trail,
};
use crate::{
    experiment::format_duration,
    node::FaultStatus,
    scheduler::{ExitClass, ExperimentStatus, NodePart, Outcome, Phase},
};

/// Shows one experiment with its evidence
///
/// The live experiment of that name, or else the last one that ended. Nodes report the counters of a
/// live one once a second.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The experiment's name
    pub name: String,
    /// Also the single injections: the newest that were sampled, and the ordinals of all
    #[arg(long)]
    pub events: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Whom to ask
    #[command(flatten)]
    pub connect: Connect,
}

/// Shows one experiment. The exit status is 0 whatever it came to.
///
/// # Errors
/// There is none of that name, or nobody to ask.
pub async fn show(args: &ShowArgs, out: &mut (impl Write + Send)) -> Result<u8, CliError> {
    let found = args.connect.list(&args.name).await?.into_iter().next();
    let found = found
        .ok_or_else(|| CliError::new(ExitClass::Failed, "the answer has no experiment in it"))?;
    if args.json {
        write_json(out, &to_json(&found, args.events))?;
    } else {
        write_status(out, &found, args.events)?;
    }
    Ok(0)
}

/// Everything that is known about an experiment.
pub(super) fn write_status(
    out: &mut impl Write,
    status: &ExperimentStatus,
    events: bool,
) -> io::Result<()> {
    write_headline(out, status)?;
    write!(out, "  accepted {} ago, ", age(status.accepted_at))?;
    if let Some(ended_at) = status.ended_at {
        write!(out, "ended {} ago, ", age(ended_at))?;
    }
    writeln!(out, "seed {}", status.seed)?;
    for part in &status.nodes {
        let lost = if part.connected {
            ""
        } else {
            " (not connected)"
        };
        let old = stale(status, part).map_or_else(String::new, |age| {
            format!(", last heard of it {} ago", format_duration(age))
        });
        writeln!(out, "  node {}{lost}{old}", part.node)?;
        for fault in part.plan.iter().flat_map(|plan| &plan.faults) {
            write_fault(out, fault)?;
            write_counters(out, fault, status.phase)?;
            if events {
                write_events(out, fault)?;
            }
        }
    }
    Ok(())
}

/// How old the last report is, in whole seconds, if a live experiment should have had another since.
fn stale(status: &ExperimentStatus, part: &NodePart) -> Option<Duration> {
    /// Nodes report once a second, when they are not too busy.
    const FRESH: Duration = Duration::from_secs(5);
    let age = part.reported_at?.elapsed().unwrap_or_default();
    (status.phase != Phase::Ended && age >= FRESH).then(|| Duration::from_secs(age.as_secs()))
}

/// `NAME: PHASE`, and what it came to.
pub(super) fn write_headline(out: &mut impl Write, status: &ExperimentStatus) -> io::Result<()> {
    let state = match status.outcome {
        Some(outcome) => outcome.name(),
        None => status.phase.name(),
    };
    writeln!(out, "{}: {state}", status.name)?;
    if let Some(reason) = &status.reason {
        write_wrapped(out, "  ", reason)?;
    }
    Ok(())
}

/// What was armed, how, and what that can't see.
pub(super) fn write_fault(out: &mut impl Write, fault: &FaultStatus) -> io::Result<()> {
    write_wrapped(out, "  fault ", &format!("{}: {}", fault.fault, fault.word))?;
    write_wrapped(out, "    target     ", &fault.target)?;
    writeln!(out, "    mechanism  {}", fault.mechanism)?;
    for gap in &fault.not_covered {
        write_wrapped(out, "    not hit    ", gap)?;
    }
    Ok(())
}

fn write_counters(out: &mut impl Write, fault: &FaultStatus, phase: Phase) -> io::Result<()> {
    match &fault.ended {
        Some(why) => write_wrapped(out, "    ended      ", why)?,
        None if phase == Phase::Ended => {}
        None => writeln!(out, "    remaining  {}", remaining(fault))?,
    }
    write_wrapped(out, "    events     ", &account::numbers(fault))
}

fn write_events(out: &mut impl Write, fault: &FaultStatus) -> io::Result<()> {
    for sample in &fault.trail.events {
        trail::write(out, "      ", sample)?;
    }
    if let Some(summary) = trail::summary(&fault.trail) {
        writeln!(out, "      {summary}")?;
    }
    Ok(())
}

/// Breaks lines between words at 80 columns, and continues below where the text began.
pub(super) fn write_wrapped(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    let indent = label.chars().count();
    write!(out, "{label}")?;
    let mut column = indent;
    for (i, word) in text.split_whitespace().enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > 80 {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        } else if i > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += width;
    }
    writeln!(out)
}

/// In whole seconds, rounded up, so that only what has passed is zero.
pub(super) fn remaining(fault: &FaultStatus) -> String {
    let seconds = fault.remaining.as_secs() + u64::from(fault.remaining.subsec_nanos() > 0);
    format_duration(Duration::from_secs(seconds))
}

/// How long ago, in whole seconds.
pub(super) fn age(then: SystemTime) -> String {
    let age = then.elapsed().unwrap_or_default().as_secs();
    format_duration(Duration::from_secs(age))
}

/// The whole status, with the single injections if they are asked for.
pub(super) fn to_json(status: &ExperimentStatus, events: bool) -> Value {
    json!({
        "name": status.name,
        "id": status.id,
        "phase": status.phase.name(),
        "outcome": status.outcome.map(Outcome::name),
        "reason": status.reason,
        "acceptedAt": unix_seconds(status.accepted_at),
        "endedAt": status.ended_at.map(unix_seconds),
        "seed": status.seed,
        "nodes": status.nodes.iter().map(|part| json!({
            "node": part.node,
            "connected": part.connected,
            "reportedAt": part.reported_at.map(unix_seconds),
            "faults": part
                .plan
                .as_ref()
                .map_or_else(|| json!([]), |plan| account::json(plan, events)),
        })).collect::<Vec<_>>(),
    })
}

pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// One value on one line.
pub(super) fn write_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_is_old_is_said_to_be() {
        let shown = |phase, seconds| {
            let reported_at = SystemTime::now() - Duration::from_secs(seconds);
            let status = ExperimentStatus {
                name: "old".to_owned(),
                id: "old-1".to_owned(),
                phase,
                outcome: None,
                reason: None,
                accepted_at: reported_at,
                ended_at: None,
                seed: 1,
                nodes: vec![NodePart {
                    node: "n".to_owned(),
                    connected: true,
                    plan: None,
                    reported_at: Some(reported_at),
                }],
            };
            let mut out = Vec::new();
            write_status(&mut out, &status, false).unwrap();
            String::from_utf8(out).unwrap()
        };
        let old = shown(Phase::Armed, 3600);
        assert!(old.contains("  node n, last heard of it 1h"), "{old}");
        assert!(!shown(Phase::Armed, 1).contains("last heard"));
        assert!(!shown(Phase::Ended, 3600).contains("last heard"));
    }
}
