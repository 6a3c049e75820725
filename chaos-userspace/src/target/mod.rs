//! From what an experiment names to what the kernel knows: cgroups and processes of this node.

mod cgroup;
mod controller;
pub(crate) mod device;
mod netns;
mod process;
mod protect;

use std::{
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
};

pub use cgroup::{Cgroup, CgroupTree};
pub use netns::Netns;
pub(crate) use process::FIRST_PID_NAMESPACE;
pub use process::Process;
pub(crate) use process::{Stat, in_first_pid_namespace, start_ticks};

use crate::{
    engine::RulePlace,
    experiment::{Exclude, Target},
};

/// Why a target can't be hit.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is named wrongly, or may never be hit.
    #[error("{0}")]
    Bad(String),
    /// It is not there, or this machine lacks what it takes.
    #[error("{0}")]
    Missing(String),
}

/// A target as the kernel knows it. Holds it open, so that its identity can't pass to another.
#[derive(Debug)]
pub enum Resolved {
    /// Cgroups with their subtrees, at least one, none in another.
    Cgroups(Vec<Cgroup>),
    /// One process with its threads.
    Process(Process),
}

impl Resolved {
    /// Finds a target on this machine and refuses what must never be hit.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn find(tree: &CgroupTree, target: &Target) -> Result<Self, TargetError> {
        match target {
            Target::Cgroup(path) => Ok(Self::Cgroups(vec![open(tree, path)?])),
            Target::Cgroups(paths) => paths
                .iter()
                .map(|path| open(tree, path))
                .collect::<Result<_, _>>()
                .map(Self::Cgroups),
            Target::Unit(name) => Ok(Self::Cgroups(vec![open(tree, &tree.unit(name)?)?])),
            Target::Pid(pid) => {
                let process = Process::open(*pid)?;
                protect::process(&process)?;
                Ok(Self::Process(process))
            }
            Target::Command(_) => Err(TargetError::Bad(
                "only `kchaos run` starts commands: name a cgroup, a unit or a pid".to_owned(),
            )),
        }
    }

    /// Where the target's rules apply, each with the cgroup that a program may hang on.
    pub fn places(&self) -> Vec<(RulePlace, Option<BorrowedFd<'_>>)> {
        match self {
            Self::Cgroups(cgroups) => cgroups
                .iter()
                .map(|cgroup| {
                    let place = RulePlace::Cgroup {
                        id: cgroup.id(),
                        level: cgroup.level(),
                    };
                    (place, Some(cgroup.as_fd()))
                })
                .collect(),
            Self::Process(process) => vec![(RulePlace::Process(process.key()), None)],
        }
    }

    /// Why it can't be hit any more, once all of it is gone.
    pub fn gone(&self) -> Option<String> {
        match self {
            Self::Cgroups(cgroups) => cgroups
                .iter()
                .all(Cgroup::gone)
                .then(|| format!("{self} is gone")),
            Self::Process(process) => process.gone().then(|| format!("{self} has exited")),
        }
    }
}

/// A cgroup that may be hit.
fn open(tree: &CgroupTree, path: &str) -> Result<Cgroup, TargetError> {
    let cgroup = tree.open(path)?;
    protect::cgroup(tree, &cgroup)?;
    Ok(cgroup)
}

/// Finds the parts of a target that are left out, and holds them open.
///
/// # Errors
/// One of them is not there, or lies outside of the target and so means nothing.
pub fn excluded(
    tree: &CgroupTree,
    target: &Resolved,
    parts: &[Exclude],
) -> Result<Vec<Cgroup>, TargetError> {
    parts
        .iter()
        .map(|part| {
            let path = match part {
                Exclude::Cgroup(path) => path.clone(),
                Exclude::Pid(pid) => tree.of(&pid.to_string()).ok_or_else(|| {
                    TargetError::Missing(format!("no process {pid} on this machine"))
                })?,
            };
            if let Resolved::Cgroups(wholes) = target {
                if wholes.iter().any(|whole| path == whole.path()) {
                    return Err(TargetError::Bad(format!(
                        "{part} is all of {path}: nothing would be left to hit there"
                    )));
                }
                if !wholes
                    .iter()
                    .any(|whole| protect::below(&path, whole.path()))
                {
                    return Err(TargetError::Bad(format!(
                        "{part} does not lie in the target, {target}: leave it out"
                    )));
                }
            }
            tree.open(&path)
        })
        .collect()
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroups(cgroups) => {
                let paths: Vec<&str> = cgroups.iter().map(Cgroup::path).collect();
                let noun = if paths.len() == 1 {
                    "cgroup"
                } else {
                    "cgroups"
                };
                write!(f, "{noun} {}", paths.join(", "))
            }
            Self::Process(process) => write!(f, "pid {} ({})", process.pid(), process.name()),
        }
    }
}
