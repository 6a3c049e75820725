//! Processes that run until they are told to stop.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::run::account;

/// Between two looks at something that is waited for.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// For a daemon to be ready, or to be gone.
const PATIENCE: Duration = Duration::from_mins(1);
/// Lines of a log that make it into a message.
const TAIL: usize = 12;

/// The scheduler or the agent.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    process: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, in this process's cgroup, and waits until its log contains a word.
    pub(super) fn start(
        name: &'static str,
        arguments: &[&str],
        folder: &Path,
        ready: &str,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let process = Command::new(name)
            .args(arguments)
            // The caller's wishes come through to the guest, and would hide the word.
            .env("RUST_LOG", "info")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let mut daemon = Self { name, process, log };
        let start = Instant::now();
        while !fs::read_to_string(&daemon.log)?.contains(ready) {
            if let Some(status) = daemon.process.try_wait()? {
                bail!("{name} ended: {status}\n{}", tail(&daemon.log));
            }
            if start.elapsed() > PATIENCE {
                bail!("{name} does not get ready\n{}", tail(&daemon.log));
            }
            thread::sleep(TICK);
        }
        Ok(daemon)
    }

    /// The end of its log.
    pub(super) fn words(&self) -> String {
        format!("{} says:\n{}", self.name, tail(&self.log))
    }

    /// Stops it as a service manager would.
    pub(super) fn stop(mut self) -> account::Daemon {
        let (clean, end) = match terminate(&mut self.process) {
            Ok(status) => (status.success(), status.to_string()),
            Err(error) => (false, format!("{error:#}")),
        };
        account::Daemon {
            name: self.name.to_owned(),
            clean,
            end,
        }
    }
}

/// SIGTERM, and time to act on it; SIGKILL and an error otherwise.
pub(super) fn terminate(process: &mut Child) -> Result<ExitStatus> {
    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM)?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = process.try_wait()? {
            return Ok(status);
        }
        thread::sleep(TICK);
    }
    process.kill()?;
    process.wait()?;
    bail!("did not end within {PATIENCE:.0?} of SIGTERM, and was killed");
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
