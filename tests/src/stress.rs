//! stress-ng in a cgroup: a load of many kinds of calls that checks what comes back.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use crate::{Said, cgroup::Cgroup};

/// Stressors that read back what they wrote (`--verify`) and, without a fault, fail nowhere in the lab.
/// None of them counts on time, which is the emulator's; all are small, because two of them run in 2 GiB
/// and on disks of 16 MiB. Left out are link and symlink: one round of theirs takes the emulator longer
/// than a short soak.
const STRESSORS: &str = "\
    --dentry 1 --dentries 64 \
    --dir 1 --dir-dirs 64 \
    --fork 1 \
    --hdd 1 --hdd-bytes 1M --hdd-opts fsync \
    --malloc 1 --malloc-bytes 1M \
    --mmap 1 --mmap-bytes 1M \
    --mremap 1 --mremap-bytes 1M \
    --pipe 1 \
    --rename 1 \
    --seek 1 --seek-size 1M \
    --sync-file 1 --sync-file-bytes 1M";

/// A stress-ng that runs.
#[derive(Debug)]
pub struct Stress {
    child: Child,
    said: PathBuf,
}

impl Stress {
    /// Starts one in a cgroup, for so long, with its files in a folder and what it says beside it.
    ///
    /// # Errors
    /// It could not be started, as can happen in a target.
    pub fn start(cgroup: &Cgroup, folder: &Path, time: Duration) -> std::io::Result<Self> {
        let said = folder.with_extension("said");
        let out = File::create(&said)?;
        let child = cgroup
            .command("stress-ng")
            .args(STRESSORS.split_whitespace())
            .args(["--verify", "--metrics-brief", "--temp-path"])
            .arg(folder)
            .args(["--timeout", &format!("{}s", time.as_secs())])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        Ok(Self { child, said })
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it said, once it has ended.
    pub fn end(mut self) -> Said {
        let status = self.child.wait().unwrap();
        let output = std::process::Output {
            status,
            stdout: fs::read(&self.said).unwrap(),
            stderr: Vec::new(),
        };
        output.into()
    }
}

/// The lines by which stress-ng tells of failures of its own; that it ended well counts too.
pub fn failures(said: &Said) -> Vec<&str> {
    let is_failure = |line: &&str| {
        ["stress-ng: fail:", "stress-ng: error:"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let mut found: Vec<&str> = said.out.lines().filter(is_failure).collect();
    if said.status != 0 || !said.out.contains("successful run completed") {
        found.push("it did not end well");
    }
    found
}
