//! An agent of a test's own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{Said, eventually};

/// Until an agent listens, on a busy machine under emulation.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running agent; killed when it is dropped.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub child: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    /// Starts one with these options and waits until it listens.
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("kchaos-agent")
            .arg("--socket")
            .arg(folder.path().join("socket"))
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, folder };
        eventually("the agent listens", PATIENCE, || agent.socket().exists());
        agent
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Runs `kchaos` so that it asks this agent.
    pub fn ask(&self, arguments: &[&str]) -> Said {
        Command::new("kchaos")
            .args(arguments)
            .env(
                "KCHAOS_SOCKET",
                format!("unix://{}", self.socket().display()),
            )
            .output()
            .unwrap()
            .into()
    }

    /// Applies an experiment, which must be armed.
    pub fn apply(&self, experiment: &str) {
        let said = self.ask(&["apply", &self.file(experiment)]);
        assert_eq!(said.status, 0, "{said:?}");
    }

    /// Ends an experiment; its last report.
    pub fn stop(&self, name: &str) -> Value {
        let said = self.ask(&["stop", name, "--json"]);
        assert_eq!(said.status, 0, "{said:?}");
        let last = said.out.lines().last().unwrap();
        serde_json::from_str(last).unwrap()
    }

    /// Writes an experiment for `apply`.
    pub fn file(&self, experiment: &str) -> String {
        let path = self.folder.path().join("experiment.yaml");
        fs::write(&path, experiment).unwrap();
        path.display().to_string()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        crate::signal(self.child.id(), signal);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
