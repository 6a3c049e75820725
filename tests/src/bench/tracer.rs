//! `strace --inject` on a process that runs.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{eventually, signal};

const PATIENCE: Duration = Duration::from_secs(30);

/// An strace that has every openat of a process fail with EIO; it lets go when it is dropped.
#[derive(Debug)]
pub(super) struct Tracer {
    child: Child,
    pid: u32,
}

impl Tracer {
    /// Attaches one. It writes no line anywhere: that would only make it dearer.
    pub(super) fn attach(pid: u32) -> Self {
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat"])
            .args(["-e", "inject=openat:error=EIO", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let tracer = Self { child, pid };
        eventually("strace is there", PATIENCE, || tracer.is_attached());
        tracer
    }

    fn is_attached(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        !status.lines().any(|line| line == "TracerPid:\t0")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        signal(self.child.id(), libc::SIGTERM);
        self.child.wait().ok();
    }
}
