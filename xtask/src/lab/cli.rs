//! `cargo xtask lab`.

use std::{ffi::OsString, io, process::ExitCode, time::Duration};

use anyhow::Result;

use super::{DEFAULT_TIMEOUT, End, KERNELS, Lab, Outcome, Spec, kernels::PROFILES, store};
use crate::setup::{self, Need};

/// The command ran longer than it may, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// The lab itself failed.
pub(crate) const LAB_FAILED: u8 = 125;

/// Runs a command as root in a Debian kernel, with this machine's files under a writable overlay
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: the command's own (128+N for signal N; 126 and 127 as the \
    shell has them), 124 when --timeout was exceeded, 125 when the lab failed: it could not boot, \
    or the guest's kernel panicked, oopsed, locked up or fell silent. One line on standard error \
    then says which, and where the console's log is."
)]
pub(crate) struct Arguments {
    /// Print the kernels and profiles and end
    #[arg(long)]
    list: bool,
    /// Kernel to boot, and how: debian-6.1, debian-6.12+nolsm
    #[arg(long, value_name = "NAME[+PROFILE]", required_unless_present = "list")]
    kernel: Option<Spec>,
    /// End the command after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT.as_secs())]
    timeout: u64,
    /// Print when the guest was ready and how long the command took
    #[arg(long, short)]
    verbose: bool,
    /// Command and its arguments
    #[arg(last = true, required_unless_present = "list")]
    command: Vec<OsString>,
}

/// Runs the subcommand.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let result = match arguments.kernel {
        Some(ref spec) if !arguments.list => run(spec, arguments),
        _ => list(),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(LAB_FAILED)
        }
    }
}

fn list() -> Result<u8> {
    for kernel in &KERNELS {
        let state = match (store::is_present(kernel)?, kernel.is_built_here()) {
            (true, _) => "",
            (false, true) => " (built on first use, ~30 CPU minutes)",
            (false, false) => " (to be fetched)",
        };
        println!("{:<12} {}{state}", kernel.name, kernel.about);
    }
    for (_, name, about) in PROFILES {
        println!("+{name:<11} {about}");
    }
    Ok(0)
}

fn run(spec: &Spec, arguments: &Arguments) -> Result<u8> {
    setup::ensure(&Need::lab(spec.kernel))?;
    let mut lab = Lab::new(spec.clone());
    lab.timeout = Duration::from_secs(arguments.timeout);
    lab.stdout = Box::new(io::stdout());
    lab.stderr = Box::new(io::stderr());
    let outcome = lab.run(&arguments.command)?;
    if arguments.verbose {
        print_timing(&outcome);
    }
    Ok(report(spec, &outcome))
}

fn print_timing(outcome: &Outcome) {
    let timing = &outcome.timing;
    let seconds = |duration: Option<Duration>| {
        duration.map_or_else(
            || "never".to_owned(),
            |duration| format!("{:.1} s", duration.as_secs_f64()),
        )
    };
    eprintln!(
        "lab: init after {}, command after {} (guest's uptime {:.1} s), end after {:.1} s, log {}",
        seconds(timing.started),
        seconds(timing.ready),
        timing.guest_ready,
        timing.whole.as_secs_f64(),
        outcome.log.display()
    );
}

/// Says in one line what went wrong, if anything did; returns the exit status.
pub(crate) fn report(spec: &Spec, outcome: &Outcome) -> u8 {
    match &outcome.end {
        // Statuses of processes have eight bits.
        End::Exited(status) => u8::try_from(*status).unwrap_or(u8::MAX),
        End::TimedOut => {
            eprintln!(
                "lab: {spec}: timeout (console log: {})",
                outcome.log.display()
            );
            TIMED_OUT
        }
        End::Failed(failure) => {
            eprintln!(
                "lab: {spec}: {failure} (console log: {})",
                outcome.log.display()
            );
            LAB_FAILED
        }
    }
}
