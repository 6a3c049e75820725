//! `kchaos run`

use std::{
    ffi::OsString, fs::File, io::Write as _, os::unix::process::ExitStatusExt as _, path::PathBuf,
    process::ExitStatus, time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{account, client::CliError, complain, replay::ReplayArgs, words};
use crate::{
    experiment::{
        Complete, Experiment, FaultKind, FileDelay, FileError, Target, append_words, parse_duration,
    },
    run::{self, Outcome, Request, RunError, StartError},
    scheduler::ExitClass,
};

/// A fault injected nothing.
const NO_HIT: u8 = 123;
/// Time was up.
const TIMED_OUT: u8 = 124;
/// Faults could not be armed.
pub(super) const COULD_NOT_ARM: u8 = 125;
/// The command was found but could not be started.
const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
const NOT_FOUND: u8 = 127;

/// Runs a command under faults
///
/// COMMAND gets a cgroup of its own, where one is needed. The faults are armed before its first instruction and end with
/// it; they hit COMMAND and everything that it starts, and nothing else. No daemon is needed.
///
/// The exec of COMMAND itself, and of every program that it starts, is exempt unless --include-exec
/// is given; the first event that counts is COMMAND's own, the dynamic loader's included.
///
/// Where no BPF program can do them, faults of system calls are done by a seccomp filter, which takes
/// no privileges; a run of such faults alone makes no cgroup. Without `CAP_SYS_ADMIN` it sets
/// `no_new_privs`, so that setuid programs gain COMMAND nothing.
///
/// What COMMAND leaves running in the background runs on, unharmed. If kchaos is killed (SIGKILL),
/// the faults end at once, COMMAND and everything in its session is killed too, and what had left
/// its session (setsid) runs on. Faults of system calls by seccomp leave a guard (process
/// `kchaos-guard`) that sees to that: killed together with kchaos, the calls that were named fail with
/// ENOSYS in what is left.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[command(
    after_help = "Exit status: COMMAND's own, 128+N when signal N ended it, or
  123  a fault hit nothing, whatever COMMAND's own was (unless --allow-no-hit)
  124  the time was up
  125  the faults could not be armed: bad input, or this node can't do it
  126  COMMAND can't be started
  127  COMMAND was not found

Examples:
  kchaos run --fault 'file.error:open=EIO,path=/etc/hostname' -- cat /etc/hostname
  kchaos run --fault 'syscall.error:fsync=EIO,when=3' -- ./test
  kchaos run --fault 'syscall.delay:fsync=200ms' --fault 'syscall.return:write=100,when=3' -- ./test"
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    faults: words::FaultArgs,
    #[command(flatten)]
    replay: ReplayArgs,
    /// An experiment; its faults hit COMMAND unless they name a cgroup, unit or pid
    #[arg(short = 'f', long, value_name = "FILE")]
    experiment: Option<PathBuf>,
    /// Seed of the faults that have none of their own
    #[arg(long, value_name = "N", value_parser = words::seed)]
    seed: Option<u64>,
    /// Also hit the opens of execve: COMMAND's binary, interpreters, scripts
    #[arg(long)]
    include_exec: bool,
    /// Don't fail when a fault hit nothing
    #[arg(long)]
    allow_no_hit: bool,
    /// Kill COMMAND after so long, such as 30s
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Write COMMAND's own exit status to this file
    #[arg(long, value_name = "FILE")]
    status_file: Option<PathBuf>,
    /// Give the account on stderr as one line of JSON
    #[arg(long)]
    json: bool,
    /// Give no account
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => {
            Err("'0s' is no time at all; leave it out, or say how long".to_owned())
        }
        Ok(time) => Ok(time),
        Err(bad) => Err(bad.to_string()),
    }
}

pub(super) fn run(args: &RunArgs) -> Result<u8, CliError> {
    let (experiment, command) = request(args)?;
    // Opened before anything runs, so that a status is never lost to a bad path.
    let status_file = match &args.status_file {
        Some(path) => Some(File::create(path).map_err(|error| {
            CliError::new(ExitClass::BadInput, format!("{}: {error}", path.display()))
        })?),
        None => None,
    };
    let request = Request {
        command,
        experiment,
        timeout: args.timeout,
    };
    let outcome = match run::run(request) {
        Ok(outcome) => outcome,
        Err(RunError::Start(error)) => return Ok(not_started(&error)),
        Err(RunError::Hit { source, evidence }) => {
            let code = not_started(&source);
            for fault in &evidence.faults {
                complain(&account::line(fault));
            }
            return Ok(code);
        }
        Err(RunError::Interrupted(signal)) => return Ok(by_signal(signal)),
        Err(error) => return Err(CliError::new(ExitClass::Failed, error.to_string())),
    };
    let own = code(outcome.status);
    give_account(args, &outcome, own);
    if let (Some(mut file), Some(path)) = (status_file, &args.status_file)
        && let Err(error) = writeln!(file, "{own}")
    {
        // The command has run: its status is worth more than one of ours.
        complain(&format!(
            "{}: {error}: COMMAND's own exit status, {own}, is not in it",
            path.display()
        ));
    }
    Ok(if outcome.timed_out {
        TIMED_OUT
    } else if !args.allow_no_hit
        && outcome
            .evidence
            .faults
            .iter()
            .any(|f| !account::hit(f.counters))
    {
        NO_HIT
    } else {
        own
    })
}

/// What a shell gives for a command that could not be started.
fn not_started(error: &StartError) -> u8 {
    complain(&error.to_string());
    if error.source.kind() == std::io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    }
}

fn request(args: &RunArgs) -> Result<(Experiment, Vec<OsString>), CliError> {
    let words = args.faults.read(args.experiment.is_some())?;
    let mut experiment = match &args.experiment {
        Some(file) => super::validate::read(file, Complete::Run)?,
        None => Experiment {
            name: "run".to_owned(),
            target: None,
            duration: None,
            seed: None,
            faults: Vec::new(),
            checks: Vec::new(),
        },
    };
    append_words(&mut experiment.faults, words);
    args.replay.give(&mut experiment.faults)?;
    experiment.seed = Some(args.seed.or(experiment.seed).unwrap_or_else(draw_seed));
    for fault in &mut experiment.faults {
        if let FaultKind::FileError(FileError {
            ops, include_exec, ..
        })
        | FaultKind::FileDelay(FileDelay {
            ops, include_exec, ..
        }) = &mut fault.kind
        {
            *include_exec |= args.include_exec && ops.iter().any(|op| op.in_exec());
        }
    }
    experiment
        .validate(Complete::Run)
        .map_err(|violations| CliError::invalid("this", &violations))?;
    let command = match (&experiment.target, args.command.is_empty()) {
        (_, false) => args.command.clone(),
        (Some(Target::Command(words)), true) => words.iter().map(OsString::from).collect(),
        (_, true) => {
            return Err(CliError::new(
                ExitClass::BadInput,
                "no COMMAND: put it behind --, as in `kchaos run --fault F -- ls /`",
            ));
        }
    };
    Ok((experiment, command))
}

/// A seed that is printed, so that a run can be repeated.
pub(super) fn draw_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Keyed by the system's randomness; short enough to be typed.
    RandomState::new().hash_one(std::process::id()) & 0xffff_ffff
}

fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => by_signal(signal),
        (None, None) => u8::MAX,
    }
}

fn by_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

fn give_account(args: &RunArgs, outcome: &Outcome, own: u8) {
    if args.json {
        let account = json!({
            "status": own,
            "timedOut": outcome.timed_out,
            "faults": account::json(&outcome.evidence, true),
        });
        complain_json(&account);
    } else if !args.quiet {
        for fault in &outcome.evidence.faults {
            complain(&account::line(fault));
            if let Some(calls) = account::left_out(fault) {
                complain(&calls);
            }
        }
        if let Some(notice) = outcome.notice {
            complain(notice);
        }
        if outcome.timed_out {
            complain("the time was up: the command was killed");
        }
    }
}

fn complain_json(value: &serde_json::Value) {
    // Nowhere to complain to when this fails.
    drop(writeln!(std::io::stderr(), "{value}"));
}
