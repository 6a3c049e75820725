//! `kchaos stop`

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{
    client::{CliError, Connect, status},
    heal::{blind, healed_json, item_json, tree, write_healed},
    show::{to_json, write_json, write_status},
};
use crate::{api::proto, state::StateDir, stop::stop_all};

/// Ends an experiment and prints its last counters
///
/// What is stopped early is inconclusive; an experiment that has ended already is only shown.
///
/// With --all: ends everything on this machine, without asking agent or scheduler. Every agent,
/// `kchaos inject` and `kchaos run` is ended, by SIGTERM, and after 3 s by SIGKILL; one that is held
/// by SIGSTOP goes on for that. Then what they left is undone, and looked for. What shall not start
/// again: `touch /run/kchaos/DISABLED`.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// The experiment's name
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// End everything on this machine; exit status 0 only if nothing that injects is left
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Whom to ask
    #[command(flatten)]
    pub connect: Connect,
}

/// Ends an experiment. The exit status is 0 once it has ended, whatever it came to.
///
/// # Errors
/// There is none of that name, its node does not confirm the end, or there is nobody to ask.
pub async fn stop(args: &StopArgs, out: &mut (impl Write + Send)) -> Result<u8, CliError> {
    if args.all {
        return all(args, out);
    }
    let mut client = args.connect.client().await?;
    let request = proto::StopRequest {
        name: args.name.clone().unwrap_or_default(),
    };
    let ended = status(client.stop(request).await?.into_inner().status)?;
    if args.json {
        write_json(out, &to_json(&ended, false))?;
    } else {
        write_status(out, &ended, false)?;
    }
    Ok(0)
}

/// Asks nobody.
fn all(args: &StopArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let stopped = stop_all(&tree()?, &StateDir::default()).map_err(blind)?;
    let clean = stopped.is_clean();
    if args.json {
        let ended: Vec<_> = stopped
            .ended
            .iter()
            .map(|(one, killed)| {
                json!({"role": one.role.name(), "pid": one.owner.pid, "killed": killed})
            })
            .collect();
        let healed: Vec<_> = stopped.healed.iter().map(healed_json).collect();
        let left: Vec<_> = stopped.left.iter().map(item_json).collect();
        let account = json!({"clean": clean, "ended": ended, "healed": healed, "left": left});
        writeln!(out, "{account}")?;
    } else {
        for (one, killed) in &stopped.ended {
            let how = if *killed { "killed" } else { "ended" };
            writeln!(out, "{how}: {} {}", one.role.name(), one.owner.pid)?;
        }
        for one in &stopped.healed {
            write_healed(one, out)?;
        }
        for item in &stopped.left {
            writeln!(out, "stays: {}: {}", item.thing.kind(), item.thing)?;
        }
        if clean {
            writeln!(out, "nothing that injects is left")?;
        }
    }
    Ok(u8::from(!clean))
}
