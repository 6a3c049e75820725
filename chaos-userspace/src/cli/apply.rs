//! `kchaos apply`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;

use super::{
    account,
    client::{CliError, Client, Connect, exit_of, status},
    replay::ReplayArgs,
    show::{remaining, to_json, write_fault, write_headline, write_json, write_wrapped},
    validate,
};
use crate::{
    api::proto,
    experiment::Complete,
    scheduler::{ExitClass, ExperimentStatus, Phase},
};

/// Arms the experiment of a file
///
/// Prints how each fault is done and what that can't see. The agent ends the experiment by itself;
/// with --wait this command stays until then. Exit status with --wait: 0 passed, 1 failed,
/// 4 inconclusive; always: 1 refused or nobody to ask, 2 bad input, 3 the node can't do it.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {
    /// The experiment, or - for the standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The node that its targets are on; not needed when there is only one
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub node: String,
    /// What an earlier run has hit
    #[command(flatten)]
    pub replay: ReplayArgs,
    /// Print the evidence each second until the experiment has ended; Ctrl-C ends it
    #[arg(long)]
    pub wait: bool,
    /// Print JSON, one line for each state
    #[arg(long)]
    pub json: bool,
    /// Whom to ask
    #[command(flatten)]
    pub connect: Connect,
}

/// Arms an experiment, and with `--wait` sees it through.
///
/// # Errors
/// The file is bad, the experiment was refused, or there is nobody to ask.
pub async fn apply(args: &ApplyArgs, out: &mut (impl Write + Send)) -> Result<u8, CliError> {
    let mut experiment = validate::read(&args.file, Complete::File)?;
    args.replay.give(&mut experiment.faults)?;
    let mut client = args.connect.client().await?;
    // From here on Ctrl-C has something to end.
    let mut interrupt = Interrupt::new()?;
    let request = proto::ApplyRequest {
        experiment: Some((&experiment).into()),
        node: args.node.clone(),
    };
    let answer = tokio::select! {
        answer = client.apply(request) => Some(answer?),
        () = interrupt.received() => None,
    };
    let Some(answer) = answer else {
        return interrupted(args, &mut client, &experiment.name, out).await;
    };
    let armed = status(answer.into_inner().status)?;
    if args.json {
        write_json(out, &to_json(&armed, false))?;
    } else {
        write_headline(out, &armed)?;
        for part in &armed.nodes {
            writeln!(out, "  node {}", part.node)?;
            for fault in part.plan.iter().flat_map(|plan| &plan.faults) {
                write_fault(out, fault)?;
            }
        }
    }
    out.flush()?;
    if !args.wait {
        return Ok(0);
    }
    tokio::select! {
        exit = wait(args, &mut client, &armed, out) => return exit,
        () = interrupt.received() => {}
    }
    interrupted(args, &mut client, &experiment.name, out).await
}

/// Follows the experiment to its end.
async fn wait(
    args: &ApplyArgs,
    client: &mut Client,
    armed: &ExperimentStatus,
    out: &mut (impl Write + Send),
) -> Result<u8, CliError> {
    let request = proto::WatchRequest {
        name: armed.name.clone(),
    };
    let mut changes = client.watch(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let now = status(change.status)?;
        if now.id != armed.id {
            break;
        }
        if args.json {
            write_json(out, &to_json(&now, false))?;
        } else if now.phase == Phase::Ended {
            write_progress(out, &now)?;
            write_headline(out, &now)?;
        } else {
            write_progress(out, &now)?;
        }
        out.flush()?;
        if now.phase == Phase::Ended {
            return Ok(exit_of(now.outcome));
        }
    }
    Err(CliError::new(
        ExitClass::Failed,
        format!("'{}' was lost sight of before its end", armed.name),
    ))
}

/// A line for each fault.
fn write_progress(out: &mut impl Write, status: &ExperimentStatus) -> io::Result<()> {
    for part in &status.nodes {
        if !part.connected {
            writeln!(out, "  node {} is not connected", part.node)?;
        }
        for fault in part.plan.iter().flat_map(|plan| &plan.faults) {
            let state = if status.phase == Phase::Ended {
                "end".to_owned()
            } else {
                remaining(fault)
            };
            let label = format!("  {state:>6}  {}: ", fault.fault);
            write_wrapped(out, &label, &account::numbers(fault))?;
        }
    }
    Ok(())
}

/// Ends what was begun.
async fn interrupted(
    args: &ApplyArgs,
    client: &mut Client,
    name: &str,
    out: &mut (impl Write + Send),
) -> Result<u8, CliError> {
    let request = proto::StopRequest {
        name: name.to_owned(),
    };
    let ended = match client.stop(request).await {
        Ok(answer) => status(answer.into_inner().status)?,
        // The request to arm it had not arrived.
        Err(refusal) if refusal.code() == tonic::Code::NotFound => return Ok(exit_of(None)),
        Err(refusal) => return Err(refusal.into()),
    };
    if args.json {
        write_json(out, &to_json(&ended, false))?;
    } else {
        write_progress(out, &ended)?;
        write_headline(out, &ended)?;
    }
    Ok(exit_of(ended.outcome))
}

/// Ctrl-C, or a polite kill.
struct Interrupt {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
