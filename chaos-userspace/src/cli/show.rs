//! `kchaos show`, and how an experiment is written for people and for machines.

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    account,
    client::{CliError, Connect, status},
    trail,
};
use crate::{
    api::proto,
    experiment::format_duration,
    node::FaultStatus,
    scheduler::{ExperimentStatus, Outcome, Phase},
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
    let mut client = args.connect.client().await?;
    let request = proto::ListRequest {
        name: args.name.clone(),
    };
    let answer = client.list(request).await?.into_inner();
    let found = status(answer.experiments.into_iter().next())?;
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
        writeln!(out, "  node {}{lost}", part.node)?;
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
    write_wrapped(out, "    events     ", &account::numbers(fault.counters))
}

fn write_events(out: &mut impl Write, fault: &FaultStatus) -> io::Result<()> {
    for sample in &fault.trail.events {
        writeln!(out, "      {}", trail::line(sample))?;
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
    format_duration(std::time::Duration::from_secs(seconds))
}

/// How long ago, in whole seconds.
pub(super) fn age(then: SystemTime) -> String {
    let age = then.elapsed().unwrap_or_default().as_secs();
    format_duration(std::time::Duration::from_secs(age))
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
            "faults": part
                .plan
                .as_ref()
                .map_or_else(|| json!([]), |plan| account::json(plan, events)),
        })).collect::<Vec<_>>(),
    })
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// One value on one line.
pub(super) fn write_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")
}
