//! Everything of kchaos on this machine, as the machine itself shows it: what lives, and what a dead
//! kchaos has left.
//!
//! `docs/residue.md` says by which names others can find the same.

mod bpf;
mod runs;

use std::{
    fmt, fs, io,
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

pub use bpf::{BpfKind, BpfObject};
pub(crate) use runs::unregistered;

use crate::{
    boot,
    journal::{Change, JournalError, Lane, Patch},
    lane,
    node::scratch,
    state::{Registration, StateDir},
    target::CgroupTree,
};

/// How deep cgroups are searched.
const DEPTH: usize = 32;

/// One thing of ours.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is.
    pub thing: Thing,
    /// Whether a living process answers for it.
    pub live: bool,
}

/// What there can be.
#[derive(Clone, Debug)]
pub enum Thing {
    /// A process that may inject, or guards one.
    Process(Registration),
    /// A changed control file.
    Change(Change),
    /// A process whose clocks are read by way of a stub.
    Patch(Patch),
    /// Devices and filters in a network namespace.
    Lane(Lane),
    /// Bytes of the journal that can't be read.
    Damage(usize),
    /// A cgroup, by its directory.
    Cgroup(PathBuf),
    /// A BPF program, map or link.
    Bpf(BpfObject),
    /// A socket in the state folder.
    File(PathBuf),
}

impl Thing {
    /// The kind of thing, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Change(_) => "change",
            Self::Patch(_) => "patch",
            Self::Lane(_) => "lane",
            Self::Damage(_) => "damage",
            Self::Cgroup(_) => "cgroup",
            Self::Bpf(object) => object.kind.name(),
            Self::File(_) => "file",
        }
    }

    /// Whether the machine is disturbed for as long as it is there.
    pub const fn injects(&self) -> bool {
        matches!(
            self,
            Self::Process(_) | Self::Change(_) | Self::Patch(_) | Self::Lane(_) | Self::Bpf(_)
        )
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(Registration { role, owner, .. }) => {
                write!(f, "{} {}", role.name(), owner.pid)
            }
            Self::Change(change) => write!(
                f,
                "{}{}{} of cgroup {}: '{}' instead of '{}', by process {}",
                change.file,
                if change.device.is_empty() {
                    ""
                } else {
                    " for device "
                },
                change.device,
                change.cgroup,
                change.wanted,
                change.original,
                change.owner_pid
            ),
            Self::Patch(patch) => write!(
                f,
                "the vDSO of process {}, by process {}",
                patch.pid, patch.owner_pid
            ),
            Self::Lane(entry) => f.write_str(&lane::shown(entry)),
            Self::Damage(bytes) => write!(
                f,
                "{bytes} bytes of the journal: what they said was changed can't be told"
            ),
            Self::Cgroup(folder) => write!(f, "{}", folder.display()),
            Self::Bpf(object) => {
                write!(f, "{} {}", object.id, object.name)?;
                match object.holder {
                    Some(pid) => write!(f, ", held by process {pid}"),
                    None => Ok(()),
                }
            }
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The journal is there and can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel does not show its BPF objects.
    #[error("the kernel's list of BPF objects can't be read, which needs CAP_SYS_ADMIN: {0}")]
    Bpf(String),
    /// The folder is there and can't be read.
    #[error("{path} can't be read: {source}")]
    Folder {
        /// Where it is.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Looks at everything.
///
/// # Errors
/// See [`LookError`].
pub fn look(tree: &CgroupTree, state: &StateDir) -> Result<Vec<Item>, LookError> {
    let mut found = without_bpf(tree, state)?;
    found.extend(unregistered(state).into_iter().map(|run| Item {
        thing: Thing::Process(run),
        live: true,
    }));
    found.extend(bpf::look()?.into_iter().map(|object| Item {
        live: object.holder.is_some(),
        thing: Thing::Bpf(object),
    }));
    Ok(found)
}

/// Looks at everything that can be left when nobody holds it: BPF objects never are.
///
/// # Errors
/// See [`LookError`].
pub fn without_bpf(tree: &CgroupTree, state: &StateDir) -> Result<Vec<Item>, LookError> {
    let mut found: Vec<Item> = state
        .registrations()
        .into_iter()
        .map(|registration| Item {
            live: registration.owner.is_alive(),
            thing: Thing::Process(registration),
        })
        .collect();
    let contents = state.journal().read()?;
    let now_ns = boot::time_ns();
    found.extend(contents.lanes.into_iter().map(|entry| Item {
        live: lane::is_live(&entry),
        thing: Thing::Lane(entry),
    }));
    found.extend(contents.live.into_iter().map(|change| Item {
        live: change.owner().is_alive() && change.deadline_ns > now_ns,
        thing: Thing::Change(change),
    }));
    found.extend(contents.patches.into_iter().map(|patch| Item {
        live: patch.owner().is_alive(),
        thing: Thing::Patch(patch),
    }));
    if contents.damaged > 0 {
        found.push(Item {
            thing: Thing::Damage(contents.damaged),
            live: false,
        });
    }
    cgroups(&tree.folder("/"), DEPTH, &mut found);
    files(state, &mut found)?;
    Ok(found)
}

fn cgroups(folder: &Path, depth: usize, found: &mut Vec<Item>) {
    if depth == 0 {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        match scratch::is_orphan(&entry.file_name().to_string_lossy()) {
            Some(orphan) => found.push(Item {
                thing: Thing::Cgroup(entry.path()),
                live: !orphan,
            }),
            None => cgroups(&entry.path(), depth - 1, found),
        }
    }
}

/// Sockets; other files are not ours to judge.
fn files(state: &StateDir, found: &mut Vec<Item>) -> Result<(), LookError> {
    let entries = match fs::read_dir(state.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| LookError::Folder {
            path: state.path().to_owned(),
            source,
        })?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            let path = entry.path();
            found.push(Item {
                live: UnixStream::connect(&path).is_ok(),
                thing: Thing::File(path),
            });
        }
    }
    Ok(())
}
