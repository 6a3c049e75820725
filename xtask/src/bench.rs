//! `cargo xtask bench`: what faults cost, measured in the kernel lab by a program of the `tests` crate.

use std::{
    env,
    ffi::OsString,
    io,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf,
    lab::{self, Lab, Outcome, STALE_CODE, Spec},
    process, project,
    setup::{self, Need},
};

/// Where it runs if nobody says otherwise.
const DEFAULT_KERNEL: &str = "debian-6.12";
/// For all ways on one kernel; Linux 7 takes its time for some programs.
const TIMEOUT: Duration = Duration::from_mins(15);
const LONG_TIMEOUT: Duration = Duration::from_hours(2);
/// The part that needs no guest.
const DECISION: &str = "decision";

/// Measures in the kernel lab what faults cost those who are not hit, and those who are
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Three calls of a process that is no target are timed with nothing armed and with a \
    fault armed for somebody else, in turns, for each mechanism that the kernel has; and an openat \
    that a fault makes fail, beside the same by strace. First comes what a decision costs on this \
    machine, without a guest (FILTER: decision). docs/bench.md says how to read the figures. A goal \
    that was missed is marked MISSED, and is no failure.\n\nExit status: 0 when everything was \
    measured, 2 when nothing has FILTER in its name, 101 when something could not be measured, 1, \
    124 and 125 when it could not begin or the lab failed."
)]
pub(crate) struct Arguments {
    /// Kernel to measure on, and how to boot it: debian-6.1, debian-6.12+nolsm; may be repeated
    #[arg(long = "kernel", value_name = "NAME[+PROFILE]", default_value = DEFAULT_KERNEL)]
    kernels: Vec<Spec>,
    /// Measure longer, for figures that can be quoted: some ten minutes for each kernel, not one
    #[arg(long)]
    long: bool,
    /// Only what has this in its name: lsm, `file.error by fmod-ret`, decision
    filter: Option<String>,
}

/// Runs the subcommand.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    match measure(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The exit status: the first that is not 0.
fn measure(arguments: &Arguments) -> Result<u8> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    build_ebpf::build()?;
    if DECISION.contains(filter) {
        println!("=== a decision, on this machine");
        decision()?;
        if !filter.is_empty() {
            return Ok(0);
        }
    }
    prepare(&arguments.kernels)?;
    let mut status = 0;
    for spec in &arguments.kernels {
        println!("\n=== {spec}");
        let mut outcome = boot(spec, filter, arguments.long, false)?;
        if outcome.end.is_the_emulators(&outcome.log) {
            eprintln!(
                "lab: {STALE_CODE}: once more, the processors in turn (console log: {})",
                outcome.log.display()
            );
            outcome = boot(spec, filter, arguments.long, true)?;
        }
        let own = lab::report(spec, &outcome);
        if status == 0 {
            status = own;
        }
    }
    Ok(status)
}

/// Has the host's own test print what it measures.
fn decision() -> Result<()> {
    process::run(
        Command::new(project::cargo())
            .args([
                "test",
                "--locked",
                "--quiet",
                "--package",
                "chaos-userspace",
            ])
            .args(["--test", "bpf_cost", "--", "--nocapture"])
            .current_dir(project::root()),
    )
    .context("measure a decision")
}

/// Gets and builds everything that the guests need.
fn prepare(kernels: &[Spec]) -> Result<()> {
    let mut needs: Vec<Need> = kernels
        .iter()
        .flat_map(|spec| Need::lab(spec.kernel))
        .collect();
    needs.push(Need::Strace);
    setup::ensure(&needs)?;
    for package in ["chaos-userspace", "kchaos-tests"] {
        process::run(
            Command::new(project::cargo())
                .args(["build", "--locked", "--package", package, "--bins"])
                .current_dir(project::root()),
        )
        .with_context(|| format!("build {package}"))?;
    }
    Ok(())
}

fn boot(spec: &Spec, filter: &str, long: bool, in_turn: bool) -> Result<Outcome> {
    let mut lab = Lab::new(spec.clone());
    if in_turn {
        lab.in_turn()?;
    }
    lab.timeout = if long { LONG_TIMEOUT } else { TIMEOUT };
    lab.stdout = Box::new(io::stdout());
    lab.stderr = Box::new(io::stderr());
    if long {
        lab.env.push(("KCHAOS_LONG".into(), "1".into()));
    }
    if env::var_os("RUST_LOG").is_none() {
        // The agent would tell of each fault.
        lab.env.push(("RUST_LOG".into(), "warn".into()));
    }
    let program = project::target_dir().join("debug/bench");
    let argv: [OsString; 2] = [program.into(), filter.into()];
    lab.run(&argv)
}
