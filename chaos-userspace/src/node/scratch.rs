//! Cgroups that kchaos makes for itself, and takes away again.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use crate::{state::Owner, target::CgroupTree};

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
        let planned = Self::planned(tree, parent, purpose);
        planned.create()?;
        Ok(planned)
    }

    /// Names one below this cgroup, for whoever has to know the name before it is there.
    pub fn planned(tree: &CgroupTree, parent: &str, purpose: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!(
            "{}/{PREFIX}{purpose}-{}-{number}",
            parent.trim_end_matches('/'),
            Owner::this()
        );
        let folder = tree.folder(&path);
        Self { path, folder }
    }

    /// Makes what was [`planned`](Self::planned).
    ///
    /// # Errors
    /// When the tree can't be written.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir(&self.folder).map_err(|error| {
            let path = &self.path;
            io::Error::new(
                error.kind(),
                format!("cgroup {path} can't be made: {error}"),
            )
        })
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

/// The owner that a cgroup's name tells of; `None` when this is no name of ours.
pub(crate) fn owner(name: &str) -> Option<Owner> {
    let rest = name.strip_prefix(PREFIX)?;
    let (_purpose, rest) = rest.split_once('-')?;
    let (owner, _number) = rest.rsplit_once('-')?;
    owner.parse().ok()
}

/// Whether the owner that a cgroup's name tells of is gone; `None` when this is no name of ours.
pub fn is_orphan(name: &str) -> Option<bool> {
    owner(name).map(|owner| !owner.is_alive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        let own = Owner::this();
        assert_eq!(is_orphan(&format!("kchaos-run-{own}-7")), Some(false));
        let dead = Owner {
            start: own.start - 1,
            ..own
        };
        assert_eq!(is_orphan(&format!("kchaos-probe-{dead}-1")), Some(true));
        for other in [
            "kchaos-agent.service",
            "kchaos-",
            "run-1-2-3",
            "kchaos-run-x-2-3",
        ] {
            assert_eq!(is_orphan(other), None, "{other}");
        }
    }
}
