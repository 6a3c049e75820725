//! `kchaos watch`

use std::{
    collections::HashMap,
    io::{self, Write},
    time::Instant,
};

use clap::Args;

use super::{
    account,
    client::{CliError, Connect, exit_of, status},
    show::{to_json, write_headline, write_json, write_wrapped},
    trail,
};
use crate::{
    api::proto,
    node::{Counters, FaultStatus},
    scheduler::{ExperimentStatus, Phase},
};

/// Shows what experiments hit, as it happens
///
/// Each second a line for each fault with its rates, and a line for each sampled injection. With a
/// name until that experiment has ended, and the exit status is that of `apply --wait`; without one
/// until Ctrl-C.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// The experiment's name; all experiments if it is left out
    #[arg(default_value = "", hide_default_value = true)]
    pub name: String,
    /// Leave the single injections out
    #[arg(long)]
    pub no_events: bool,
    /// Print JSON, one line for each state
    #[arg(long)]
    pub json: bool,
    /// Whom to ask
    #[command(flatten)]
    pub connect: Connect,
}

/// What was last seen of a fault.
#[derive(Clone, Copy, Debug)]
struct Seen {
    counters: Counters,
    sampled: u64,
    at: Instant,
}

/// Follows experiments.
///
/// # Errors
/// There is nobody to ask, or none of that name.
pub async fn watch(args: &WatchArgs, out: &mut (impl Write + Send)) -> Result<u8, CliError> {
    let mut client = args.connect.client().await?;
    let request = proto::WatchRequest {
        name: args.name.clone(),
    };
    let mut changes = client.watch(request).await?.into_inner();
    let mut seen = HashMap::new();
    while let Some(change) = changes.message().await? {
        let now = status(change.status)?;
        if args.json {
            write_json(out, &to_json(&now, !args.no_events))?;
        } else {
            write_change(out, &now, &mut seen, !args.no_events)?;
        }
        out.flush()?;
        if now.phase == Phase::Ended && !args.name.is_empty() {
            return Ok(exit_of(now.outcome));
        }
    }
    Ok(0)
}

fn write_change(
    out: &mut impl Write,
    status: &ExperimentStatus,
    seen: &mut HashMap<(String, String), Seen>,
    events: bool,
) -> io::Result<()> {
    for fault in status
        .nodes
        .iter()
        .flat_map(|part| &part.plan)
        .flat_map(|plan| &plan.faults)
    {
        let before = seen.insert((status.id.clone(), fault.fault.clone()), now(fault));
        if events {
            write_events(out, &status.name, fault, before)?;
        }
        let label = format!("{} {}: ", status.name, fault.fault);
        write_wrapped(out, &label, &rates(fault, before))?;
    }
    if status.phase == Phase::Ended {
        write_headline(out, status)?;
    }
    Ok(())
}

fn now(fault: &FaultStatus) -> Seen {
    Seen {
        counters: fault.counters,
        sampled: fault.trail.sampled,
        at: Instant::now(),
    }
}

/// The injections that are new, as far as they are known.
fn write_events(
    out: &mut impl Write,
    name: &str,
    fault: &FaultStatus,
    before: Option<Seen>,
) -> io::Result<()> {
    let label = format!("{name} {}: ", fault.fault);
    trail::since(&fault.trail, before.map_or(0, |before| before.sampled))
        .iter()
        .try_for_each(|sample| trail::write(out, &label, sample))
}

/// `12 hit/s, 240 matching/s`, and the totals.
fn rates(fault: &FaultStatus, before: Option<Seen>) -> String {
    let totals = account::numbers(fault);
    let Some(before) = before else { return totals };
    let seconds = before.at.elapsed().as_secs_f64().max(0.001);
    let per_second = |now: u64, then: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let difference = now.saturating_sub(then) as f64;
        difference / seconds
    };
    format!(
        "{:.1} hit/s of {:.1} matching/s; {totals}",
        per_second(fault.counters.injected, before.counters.injected),
        per_second(fault.counters.matched, before.counters.matched),
    )
}
