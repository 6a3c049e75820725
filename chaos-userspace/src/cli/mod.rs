//! The command line.

mod account;
pub mod apply;
pub mod client;
mod doctor;
mod explain;
mod heal;
mod inject;
pub mod ls;
pub mod replay;
mod run;
pub mod show;
pub mod stop;
mod trail;
mod validate;
pub mod watch;
mod words;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
pub use client::CliError;

use crate::{
    guard,
    run::{guard as run_guard, signals},
    seccomp,
};

/// Breaks things on purpose, from inside the kernel, for exactly the processes that were named
/// and for exactly as long as was said.
#[derive(Debug, Parser)]
#[command(
    name = "kchaos",
    version,
    after_help = "Exit status: 0 passed, 1 failed, 2 bad input, 3 this node can't do it, 4 inconclusive. \
                  141 whoever read the output had left. `run` has its own, see there."
)]
struct Cli {
    /// Say more on stderr (also: `RUST_LOG`)
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Inject(inject::InjectArgs),
    Apply(apply::ApplyArgs),
    Ls(ls::LsArgs),
    Show(show::ShowArgs),
    Watch(watch::WatchArgs),
    Stop(stop::StopArgs),
    Validate(validate::ValidateArgs),
    Explain(explain::ExplainArgs),
    Doctor(doctor::DoctorArgs),
    Heal(heal::HealArgs),
    /// Prints the version
    Version,
    #[command(name = run_guard::SUBCOMMAND, hide = true)]
    Guard {
        cgroup: std::path::PathBuf,
    },
    #[command(name = seccomp::guard::SUBCOMMAND, hide = true)]
    GuardOfCalls {
        listener: i32,
        memory: i32,
    },
}

/// Runs the command line and returns its exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log(cli.verbose);
    signals::bear_file_limits();
    if matches!(
        cli.command,
        Command::Guard { .. } | Command::GuardOfCalls { .. }
    ) {
        guard::name_this_process();
    }
    // `run` has exit statuses of its own for everything that goes wrong before its command starts.
    let failed = if matches!(cli.command, Command::Run(_)) {
        Some(run::COULD_NOT_ARM)
    } else {
        None
    };
    let exit = match dispatch(cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            if !error.message.is_empty() {
                complain(&error.message);
            }
            failed.unwrap_or(error.exit)
        }
    };
    ExitCode::from(exit)
}

fn dispatch(command: Command) -> Result<u8, CliError> {
    let mut out = std::io::stdout();
    match command {
        Command::Run(args) => run::run(&args),
        Command::Inject(args) => inject::inject(&args, &mut out),
        Command::Validate(args) => validate::validate(&args, &mut out),
        Command::Explain(args) => explain::explain(&args, &mut out),
        Command::Doctor(args) => doctor::doctor(&args, &mut out),
        Command::Heal(args) => heal::heal(&args, &mut out),
        Command::Version => {
            writeln!(out, "kchaos {}", env!("CARGO_PKG_VERSION"))?;
            Ok(0)
        }
        Command::Guard { cgroup } => {
            run_guard::main(&cgroup)?;
            Ok(0)
        }
        Command::GuardOfCalls { listener, memory } => {
            seccomp::guard::main(listener, memory)?;
            Ok(0)
        }
        Command::Apply(args) => runtime()?.block_on(apply::apply(&args, &mut out)),
        Command::Ls(args) => runtime()?.block_on(ls::ls(&args, &mut out)),
        Command::Watch(args) => runtime()?.block_on(watch::watch(&args, &mut out)),
        Command::Show(args) => runtime()?.block_on(show::show(&args, &mut out)),
        Command::Stop(args) => runtime()?.block_on(stop::stop(&args, &mut out)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Help goes to stdout with 0; wrong arguments are bad input, or for `run` a fault that could not be
/// armed.
fn usage(error: &clap::Error) -> ExitCode {
    // Nowhere to complain to when this fails.
    drop(error.print());
    let run = std::env::args().nth(1).is_some_and(|word| word == "run");
    match (error.use_stderr(), run) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(run::COULD_NOT_ARM),
        (true, false) => ExitCode::from(2),
    }
}

/// Writes a message to stderr, marked as ours among the output of others.
fn complain(message: &str) {
    // Nowhere to complain to when this fails.
    drop(writeln!(std::io::stderr(), "kchaos: {message}"));
}

fn log(verbose: bool) {
    let default = if verbose {
        // What a verifier says is thousands of lines long.
        "debug,verifier=info,h2=info,hyper=info,tower=info"
    } else {
        "warn"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn no_two_arguments_have_one_name() {
        super::Cli::command().debug_assert();
    }
}
