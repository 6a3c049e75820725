//! `kchaos stop`

use std::io::Write;

use clap::Args;

use super::{
    client::{CliError, Connect, status},
    show::{to_json, write_json, write_status},
};
use crate::api::proto;

/// Ends an experiment and prints its last counters
///
/// What is stopped early is inconclusive; an experiment that has ended already is only shown.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// The experiment's name
    pub name: String,
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
    let mut client = args.connect.client().await?;
    let request = proto::StopRequest {
        name: args.name.clone(),
    };
    let ended = status(client.stop(request).await?.into_inner().status)?;
    if args.json {
        write_json(out, &to_json(&ended))?;
    } else {
        write_status(out, &ended)?;
    }
    Ok(0)
}
