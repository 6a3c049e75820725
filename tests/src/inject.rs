//! `kchaos inject` beside a test.

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::cgroup::Cgroup;

/// A fault that lives until [`Self::end`], or as long as this value.
#[derive(Debug)]
pub struct Injecting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Injecting {
    /// Returns when it is armed.
    pub fn start(target: &Cgroup, fault: &str) -> Self {
        let mut child = Command::new("kchaos")
            .args(["inject", "--json", "--target", &target.target()])
            .args(["--duration", "10m", "--seed", "3", "--fault", fault])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The first line of evidence says that it is armed.
        lines.next().unwrap().unwrap();
        Self { child, lines }
    }

    /// Ends it; what was last said of it.
    pub fn end(mut self) -> Value {
        crate::signal(self.child.id(), libc::SIGINT);
        let last = self.lines.by_ref().map(Result::unwrap).last().unwrap();
        self.child.wait().unwrap();
        serde_json::from_str(&last).unwrap()
    }
}

impl Drop for Injecting {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
