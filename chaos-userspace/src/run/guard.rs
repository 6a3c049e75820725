//! A process of its own that cleans up after a run when kchaos was killed.
//!
//! It holds the reading end of a pipe whose other end only kchaos has. When that breaks it empties
//! and removes the command's cgroup, and what kchaos has made beside it. It loads nothing and has no
//! BPF descriptor.

use std::{
    collections::BTreeSet,
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    guard::in_own_session,
    node::scratch,
    state::{Owner, StateDir},
    target::{CgroupTree, Stat},
};

/// The hidden subcommand that [`main`] stands behind.
pub const SUBCOMMAND: &str = "guard-of-run";

/// Rounds of moving or killing before giving up: processes may fork meanwhile.
const ROUNDS: usize = 50;

/// The running guard, seen from kchaos.
#[derive(Debug)]
#[must_use]
pub(super) struct Guard {
    child: Child,
}

impl Guard {
    pub(super) fn start(cgroup: &Path) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBCOMMAND)
            .arg(cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self {
            child: in_own_session(&mut command).spawn()?,
        })
    }
}

/// Nothing is left to guard.
impl Drop for Guard {
    fn drop(&mut self) {
        let dismissed = self.child.stdin.take().map(|mut pipe| pipe.write_all(b"."));
        let ended = self.child.wait();
        if let Some(Err(error)) = dismissed {
            tracing::debug!(%error, "the guard was gone already");
        }
        if let Err(error) = ended {
            tracing::debug!(%error, "the guard was not waited for");
        }
    }
}

/// The guard's own program: waits for the end of kchaos, then cleans up.
///
/// # Errors
/// When the cgroup could not be removed.
pub fn main(cgroup: &Path) -> io::Result<()> {
    if io::stdin().read(&mut [0; 1])? != 0 {
        // A dismissal: nothing is left to do.
        return Ok(());
    }
    let mut cleared = clear(cgroup);
    if let Some(kchaos) = owner(cgroup) {
        for other in others_of(kchaos, cgroup) {
            cleared = cleared.and(clear(&other));
        }
        StateDir::default().bury(kchaos);
    }
    cleared
}

fn owner(cgroup: &Path) -> Option<Owner> {
    scratch::owner(cgroup.file_name()?.to_str()?)
}

/// What kchaos has made beside the command's cgroup: it tries its programs out before it arms them.
fn others_of(kchaos: Owner, cgroup: &Path) -> Vec<PathBuf> {
    let root = CgroupTree::find().ok().map(|tree| tree.folder("/"));
    let folders: BTreeSet<PathBuf> = cgroup
        .parent()
        .map(PathBuf::from)
        .into_iter()
        .chain(root)
        .collect();
    folders
        .iter()
        .flat_map(|folder| children(folder))
        .filter(|child| owner(child) == Some(kchaos))
        .collect()
}

/// Kills what still belongs to the run, moves out what had detached itself, and removes the cgroup.
///
/// # Errors
/// When the cgroup could not be removed.
pub(crate) fn clear(cgroup: &Path) -> io::Result<()> {
    for_each_process(cgroup, |pid| {
        if detached(pid) {
            return Handle::Leave;
        }
        Handle::Kill
    })?;
    evacuate(cgroup)?;
    remove_tree(cgroup)
}

/// Moves every process to the parent cgroup, and removes cgroups that the command made.
///
/// # Errors
/// When a process could not be moved.
pub(super) fn evacuate(cgroup: &Path) -> io::Result<()> {
    let Some(parent) = cgroup.parent() else {
        return Ok(());
    };
    let destination = parent.join("cgroup.procs");
    for_each_process(cgroup, |_| Handle::Move(destination.clone()))?;
    for child in children(cgroup) {
        remove_tree(&child)?;
    }
    Ok(())
}

enum Handle {
    Leave,
    Kill,
    Move(PathBuf),
}

/// Handles every process of a subtree, again and again until none is left that has to be.
fn for_each_process(cgroup: &Path, handle: impl Fn(u32) -> Handle) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let mut busy = false;
        for pid in processes(cgroup) {
            match handle(pid) {
                Handle::Leave => {}
                Handle::Kill => {
                    busy = true;
                    // SAFETY: takes two integers.
                    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
                }
                Handle::Move(to) => {
                    busy = true;
                    match fs::write(&to, pid.to_string()) {
                        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                            return Err(error);
                        }
                        _ => {}
                    }
                }
            }
        }
        if !busy {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::Error::other("processes keep coming"))
}

/// Whether a process has left the session that it was started in: it leads one, or its leader is
/// in the cgroup as well. What kchaos started shares kchaos's session, whose leader never is.
fn detached(pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let Some(session) = Stat::parse(&text).map(|stat| stat.session) else {
        return false;
    };
    let cgroup_of = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    session == pid || cgroup_of(session).is_some_and(|leader| Some(leader) == cgroup_of(pid))
}

fn processes(cgroup: &Path) -> Vec<u32> {
    let mut found: Vec<u32> = fs::read_to_string(cgroup.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid != 0)
        .collect();
    for child in children(cgroup) {
        found.extend(processes(&child));
    }
    found
}

fn children(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    for child in children(cgroup) {
        remove_tree(&child)?;
    }
    scratch::remove(cgroup)
}
