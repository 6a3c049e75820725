//! The experiment, carried out as a person would: by `kchaos apply --wait`.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::daemon;
use crate::run::account::{Experiment, Status};

/// An agent under emulation takes seconds to load its programs, not minutes.
const ARMING: Duration = Duration::from_mins(2);
/// The end is reported a report later than it happens.
const ENDING: Duration = Duration::from_secs(20);

/// An experiment that was asked for.
#[derive(Debug)]
pub(super) struct Applied {
    process: Child,
    lines: Receiver<Result<Status>>,
    last: Option<Status>,
    complaints: PathBuf,
}

impl Applied {
    /// Asks the scheduler for it.
    pub(super) fn start(scheduler: &str, experiment: &Path) -> Result<Self> {
        let complaints = experiment.with_extension("log");
        let mut process = Command::new("kchaos")
            .args(["apply", "--wait", "--json", "--socket", scheduler])
            .arg(experiment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&complaints)?)
            .spawn()
            .context("start kchaos apply")?;
        let stdout = process.stdout.take().context("no pipe from kchaos apply")?;
        Ok(Self {
            process,
            lines: read(stdout),
            last: None,
            complaints,
        })
    }

    /// Waits until it is live; the answer is the earliest moment at which a part of it may end.
    pub(super) fn wait_until_armed(&mut self) -> Result<Instant> {
        let now = loop {
            match self.lines.recv_timeout(ARMING) {
                Ok(status) => {
                    let status = self.last.insert(status?);
                    if status.phase != "accepted" {
                        break Instant::now();
                    }
                }
                Err(error) => return Err(self.gave_up(error)),
            }
        };
        let faults = self.last.iter().flat_map(Status::faults);
        let remaining = faults
            .map(|fault| duration(&fault.remaining))
            .min()
            .context("the experiment has no faults")?;
        // None: no fault says when it ends, so it may do so any moment.
        Ok(now + remaining.unwrap_or_default())
    }

    /// Waits for the end.
    pub(super) fn wait(mut self) -> Result<Experiment> {
        loop {
            match self.lines.recv_timeout(ENDING) {
                Ok(status) => self.last = Some(status?),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(error) => return Err(self.gave_up(error)),
            }
        }
        let exit = self.process.wait()?.code();
        let status = self.last.context("kchaos apply printed nothing")?;
        if status.phase != "ended" {
            let words = daemon::tail(&self.complaints);
            bail!("'{}' was lost sight of: {words}", status.name);
        }
        Ok(Experiment { exit, status })
    }

    fn gave_up(&mut self, error: RecvTimeoutError) -> anyhow::Error {
        let why = match error {
            RecvTimeoutError::Timeout => "says nothing any more".to_owned(),
            RecvTimeoutError::Disconnected => match self.process.wait() {
                Ok(status) => format!("ended: {status}"),
                Err(error) => error.to_string(),
            },
        };
        let complaints = fs::read_to_string(&self.complaints).unwrap_or_default();
        anyhow::anyhow!("kchaos apply {why}\n{}", complaints.trim_end())
    }
}

fn read(stdout: ChildStdout) -> Receiver<Result<Status>> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let status =
                serde_json::from_str(&line).with_context(|| format!("kchaos apply printed {line}"));
            if sender.send(status).is_err() {
                return;
            }
        }
    });
    lines
}

/// A duration as kchaos prints it: `1m7.98s`.
fn duration(text: &str) -> Option<Duration> {
    let mut sum = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, tail) = rest.split_at(unit);
        let end = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "d" => 86400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("8s"), Some(Duration::from_secs(8)));
        assert_eq!(duration("1m7.5s"), Some(Duration::from_millis(67_500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("8"), None);
        assert_eq!(duration("8 parsecs"), None);
    }
}
