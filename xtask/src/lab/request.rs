//! What the host tells the guest's init, and what init answers: shared by both programs.

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where the request lies in the initramfs.
pub(crate) const REQUEST_PATH: &str = "/request.json";
/// Mount tag of the machine's files.
pub(crate) const ROOT_TAG: &str = "kchaos-root";
/// Virtio-serial port for the command's standard output.
pub(crate) const STDOUT_PORT: &str = "kchaos.stdout";
/// Virtio-serial port for the command's standard error.
pub(crate) const STDERR_PORT: &str = "kchaos.stderr";
/// Virtio-serial port for [`Report`] lines.
pub(crate) const CONTROL_PORT: &str = "kchaos.control";

/// What init shall set up and run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Request {
    /// The command, byte for byte as the caller gave it.
    pub(crate) argv: Vec<OsString>,
    /// Directory to run it in.
    pub(crate) cwd: PathBuf,
    /// Its whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Paths that stay visible even if a fresh tmpfs is mounted above them.
    pub(crate) keep: Vec<PathBuf>,
    /// The kernel's own modules directory, to appear below `/lib/modules`.
    pub(crate) modules: Option<PathBuf>,
    /// Modules in the initramfs that the root file system needs, in load order.
    pub(crate) early_modules: Vec<String>,
    /// Modules in the initramfs that commands may need, in load order.
    pub(crate) late_modules: Vec<String>,
    /// Mount cgroup v1 hierarchies and no cgroup2.
    pub(crate) cgroup1: bool,
    /// Largest 9p message.
    pub(crate) msize: u32,
}

/// One line on the control port.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Init works; the value is the guest's uptime in seconds.
    Started(f64),
    /// The command is about to start, at this uptime.
    Ready(f64),
    /// Sent every second: the guest still schedules processes.
    Alive,
    /// Something that the caller should know, but no failure.
    Note(String),
    /// Init cannot go on.
    Failed(String),
    /// The command ended.
    Exit {
        /// As the shell has it: 128+N for a signal.
        status: i32,
        /// How many bytes went to standard output.
        stdout: u64,
        /// How many bytes went to standard error.
        stderr: u64,
    },
}
