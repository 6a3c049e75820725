//! One of the two: a server and its client in a cgroup.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{SUBCOMMAND, cgroup::Cgroup, client::READY, datagrams, server::Server};
use crate::run::account::{Phase, Side, Traffic};

/// A workload that runs.
#[derive(Debug)]
pub(super) struct Workload {
    cgroup: Cgroup,
    server: Server,
    client: Child,
    phases: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Where a workload listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// The server.
    pub(super) http: u16,
    /// The client, for datagrams.
    pub(super) datagrams: u16,
}

impl Workload {
    /// Starts server and client; requests begin at once.
    pub(super) fn start(cgroup: Cgroup, folder: &Path, root: &Path, ports: Ports) -> Result<Self> {
        let server = Server::start(&cgroup, folder, root, ports.http)?;
        let mut client = cgroup
            .command(&env::current_exe()?)?
            .args([SUBCOMMAND, "client"])
            .args([ports.http, ports.datagrams].map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the client")?;
        let phases = client.stdin.take().context("no pipe to the client")?;
        let answers = client.stdout.take().context("no pipe from the client")?;
        let mut answers = BufReader::new(answers);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        if line.trim_end() != READY {
            bail!("the client did not start: {}", client.wait()?);
        }
        Ok(Self {
            cgroup,
            server,
            client,
            phases,
            answers,
        })
    }

    /// Tells the client that a phase begins.
    pub(super) fn set(&mut self, phase: Phase) -> Result<()> {
        self.phases
            .write_all(&[phase.byte()])
            .and_then(|()| self.phases.flush())
            .context("tell the client")
    }

    /// Waits for requests under way, ends everything and removes the cgroup.
    pub(super) fn finish(mut self, sent: &datagrams::Count) -> Result<Side> {
        drop(self.phases);
        let mut text = String::new();
        self.answers.read_to_string(&mut text)?;
        let status = self.client.wait()?;
        if !status.success() {
            bail!("the client ended: {status}");
        }
        let mut phases: BTreeMap<Phase, Traffic> =
            serde_json::from_str(&text).context("read the client's account")?;
        for (phase, count) in sent {
            phases.entry(*phase).or_default().sent = *count;
        }
        let side = Side {
            cgroup: self.cgroup.path().to_owned(),
            phases,
            logged_failures: self.server.stop()?,
        };
        self.cgroup.remove()?;
        Ok(side)
    }
}
