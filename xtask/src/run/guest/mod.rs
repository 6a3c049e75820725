//! The half of `cargo xtask run` that the lab's guest executes. It prints one JSON value per line
//! and leaves judging them to the host.

mod apply;
mod cgroup;
mod client;
mod daemon;
mod datagrams;
mod demonstration;
mod http;
mod residue;
mod server;
mod workload;

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Result, bail};

use super::account::Event;

/// How the subcommand is called.
pub(crate) const SUBCOMMAND: &str = "run-in-guest";
/// The subcommand's first word for [`Role::Demonstrate`].
pub(super) const DEMONSTRATE: &str = "demonstrate";

/// A part in the demonstration
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Carries everything out
    #[command(name = DEMONSTRATE)]
    Demonstrate {
        /// Aim at the neighbour
        #[arg(long)]
        wrong_target: bool,
        /// The experiment itself, not the name of its file
        experiment: String,
    },
    /// Moves into a cgroup and becomes another program there
    Enter {
        /// Path below the mount
        cgroup: String,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Sends requests and receives datagrams until standard input ends
    Client {
        /// Of the server on loopback
        http: u16,
        /// To receive datagrams on
        datagrams: u16,
    },
}

/// Runs the subcommand.
pub(crate) fn main(arguments: Arguments) -> Result<ExitCode> {
    if env::var_os("KCHAOS_LAB").is_none() {
        bail!("this only makes sense in the kernel lab: it is what `cargo xtask run` runs there");
    }
    match arguments.role {
        Role::Demonstrate {
            wrong_target,
            experiment,
        } => {
            let last = match demonstration::run(&experiment, wrong_target) {
                Ok(account) => Event::Account(Box::new(account)),
                Err(error) => Event::Failed(format!("{error:#}")),
            };
            emit(&last)?;
        }
        Role::Enter { cgroup, command } => return Err(cgroup::enter(&cgroup, &command)),
        Role::Client { http, datagrams } => client::main(http, datagrams)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what happens now.
fn note(text: impl Into<String>) -> Result<()> {
    emit(&Event::Note(text.into()))
}

fn emit(event: &Event) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, event)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
