//! `kchaos ls`

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::{
    client::{CliError, Connect},
    show::{age, to_json, write_json},
};
use crate::{
    node::FaultStatus,
    scheduler::{ExperimentStatus, Phase},
};

/// Lists the experiments that live, and the last ones that ended
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Whom to ask
    #[command(flatten)]
    pub connect: Connect,
}

/// Lists experiments.
///
/// # Errors
/// There is nobody to ask.
pub async fn ls(args: &LsArgs, out: &mut (impl Write + Send)) -> Result<u8, CliError> {
    let found = args.connect.list("").await?;
    if args.json {
        write_json(
            out,
            &Value::Array(found.iter().map(|status| to_json(status, false)).collect()),
        )?;
    } else if found.is_empty() {
        writeln!(out, "no experiments")?;
    } else {
        write_table(out, &found)?;
    }
    Ok(0)
}

/// Widths that leave 80 columns for what is usual; nothing is cut.
fn write_table(out: &mut impl Write, found: &[ExperimentStatus]) -> io::Result<()> {
    let width = |cells: &mut dyn Iterator<Item = usize>, least| cells.max().unwrap_or(0).max(least);
    let names = width(&mut found.iter().map(|status| status.name.len()), 4).min(28);
    let node = |status: &ExperimentStatus| {
        status
            .nodes
            .iter()
            .map(|part| part.node.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    let nodes = width(&mut found.iter().map(|status| node(status).len()), 4).min(16);
    writeln!(
        out,
        "{:names$}  {:12}  {:nodes$}  {:>6}  {:>8}  AGE",
        "NAME", "STATE", "NODE", "FAULTS", "INJECTED"
    )?;
    for status in found {
        let faults: Vec<&FaultStatus> = status
            .nodes
            .iter()
            .filter_map(|part| part.plan.as_ref())
            .flat_map(|plan| &plan.faults)
            .collect();
        let state = match (status.phase, status.outcome) {
            (Phase::Ended, Some(outcome)) => outcome.name(),
            (phase, _) => phase.name(),
        };
        writeln!(
            out,
            "{:names$}  {state:12}  {:nodes$}  {:>6}  {:>8}  {}",
            status.name,
            node(status),
            faults.len(),
            faults
                .iter()
                .map(|fault| fault.counters.injected)
                .sum::<u64>(),
            age(status.accepted_at)
        )?;
    }
    Ok(())
}
