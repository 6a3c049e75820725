//! An agent of the test's own, and the commands that ask it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Said, eventually};

/// How long an agent may take to listen.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running agent; killed when it is dropped.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub child: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("kchaos-agent")
            .arg("--socket")
            .arg(folder.path().join("socket"))
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

    /// Runs `kchaos` against it.
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

    /// Applies an experiment, which must be accepted.
    pub fn apply(&self, text: &str) {
        let said = self.ask(&["apply", &self.file(text)]);
        assert_eq!(said.status, 0, "{said:?}");
    }

    /// Writes an experiment for `apply`.
    pub fn file(&self, text: &str) -> String {
        let path = self.folder.path().join("experiment.yaml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: takes two integers.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
