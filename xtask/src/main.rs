//! The project's own commands: `cargo xtask COMMAND`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks to its user"
)]

mod bench;
mod build_ebpf;
mod cache;
mod lab;
mod lint;
mod new_fault;
mod process;
mod project;
mod run;
mod setup;
mod test;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

/// The project's own commands
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    Setup(setup::Arguments),
    Bench(bench::Arguments),
    /// Builds the BPF objects that user space embeds
    BuildEbpf,
    Lab(lab::Arguments),
    Lint(lint::Arguments),
    NewFault(new_fault::Arguments),
    Run(run::Arguments),
    #[command(name = run::SUBCOMMAND, hide = true)]
    RunInGuest(run::GuestArguments),
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Setup(arguments) => setup::main(&arguments),
        Command::BuildEbpf => done(build_ebpf::main()),
        Command::Lint(arguments) => lint::main(arguments),
        Command::NewFault(arguments) => new_fault::main(&arguments),
        Command::RunInGuest(arguments) => run::guest_main(arguments),
        Command::Test(arguments) => test::main(&arguments),
        // They have exit statuses of their own.
        Command::Bench(arguments) => return bench::main(&arguments),
        Command::Lab(arguments) => return lab::main(&arguments),
        Command::Run(arguments) => return run::main(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}
