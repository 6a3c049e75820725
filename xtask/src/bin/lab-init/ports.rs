//! The virtio-serial ports that lead to the host.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::request::{CONTROL_PORT, Report, STDERR_PORT, STDOUT_PORT};

const PATIENCE: Duration = Duration::from_secs(20);

/// All ports of the lab.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) control: Control,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

impl Ports {
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            control: Control(Mutex::new(open(CONTROL_PORT)?)),
            stdout: open(STDOUT_PORT)?,
            stderr: open(STDERR_PORT)?,
        })
    }
}

/// The port for reports, shared between the heartbeat and everything else.
#[derive(Debug)]
pub(crate) struct Control(Mutex<File>);

impl Control {
    pub(crate) fn send(&self, report: &Report) -> Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        let mut port = self
            .0
            .lock()
            .map_err(|poisoned| anyhow!("control port: {poisoned}"))?;
        port.write_all(&line).context("write to the control port")
    }
}

/// The kernel announces ports one by one, some time after the driver is there.
fn open(name: &str) -> Result<File> {
    let start = Instant::now();
    loop {
        if let Some(device) = find(name) {
            return fs::OpenOptions::new()
                .write(true)
                .open(&device)
                .with_context(|| format!("open {}", device.display()));
        }
        if start.elapsed() > PATIENCE {
            bail!("virtio port {name} did not appear");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        let device = PathBuf::from("/dev").join(entry.file_name());
        if found.trim() == name && device.exists() {
            return Some(device);
        }
    }
    None
}
