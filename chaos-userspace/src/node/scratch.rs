//! Cgroups that kchaos makes for itself, and takes away again.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use crate::target::{CgroupTree, Process};

/// Every cgroup that kchaos makes starts with this, followed by what it is for, the pid and start of
/// its owner, and a number: so that others can check, and the next kchaos can tell a leftover.
pub const PREFIX: &str = "kchaos-";

/// A cgroup of our own; removed when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct ScratchCgroup {
    path: String,
    folder: PathBuf,
}

/// Moves a child in; opened before the fork, so that the child opens nothing.
#[derive(Debug)]
pub struct Joiner {
    processes: fs::File,
}

impl ScratchCgroup {
    /// Makes one below the cgroup that this process is in.
    ///
    /// # Errors
    /// When the tree can't be written.
    pub fn make(tree: &CgroupTree, purpose: &str) -> io::Result<Self> {
        Self::make_below(tree, &tree.of("self").unwrap_or_default(), purpose)
    }

    /// Makes one below this cgroup.
    ///
    /// # Errors
    /// When the tree can't be written.
    pub fn make_below(tree: &CgroupTree, parent: &str, purpose: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let pid = std::process::id();
        let start = start_of(pid);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!(
            "{}/{PREFIX}{purpose}-{pid}-{start}-{number}",
            parent.trim_end_matches('/')
        );
        let folder = tree.folder(&path);
        fs::create_dir(&folder).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cgroup {path} can't be made: {error}"),
            )
        })?;
        Ok(Self { path, folder })
    }

    /// Below the root of the tree.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a child needs to move in.
    ///
    /// # Errors
    /// When the cgroup can't be written.
    pub fn joiner(&self) -> io::Result<Joiner> {
        let processes = fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join("cgroup.procs"))?;
        Ok(Joiner { processes })
    }
}

impl Joiner {
    /// Moves the calling process in. Makes one system call and allocates nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn join(&self) -> io::Result<()> {
        (&self.processes).write_all(b"0")
    }
}

impl Drop for ScratchCgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            tracing::warn!(cgroup = self.path, %error, "cgroup could not be removed");
        }
    }
}

/// Removes an empty cgroup; a process that has just exited leaves it a moment later.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 200 => {
                tries += 1;
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// The start of a process in ticks since boot, 0 when it can't be told.
pub(crate) fn start_of(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| crate::target::Stat::parse(&text).map(|stat| stat.start_ticks))
        .unwrap_or(0)
}

/// Whether the owner that a cgroup's name tells of is gone; `None` when this is no name of ours.
pub fn is_orphan(name: &str) -> Option<bool> {
    let rest = name.strip_prefix(PREFIX)?;
    let mut parts = rest.rsplitn(4, '-');
    let (_number, start, pid) = (parts.next()?, parts.next()?, parts.next()?);
    let (pid, start): (u32, u64) = (pid.parse().ok()?, start.parse().ok()?);
    Some(Process::open(pid).is_err() || start_of(pid) != start)
}
