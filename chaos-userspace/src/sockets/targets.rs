//! Whose connections are meant, and in which network namespaces they are.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::target::{Cgroup, CgroupTree, Resolved};

/// The network namespace of the thread that looks.
const OWN: &str = "/proc/thread-self/ns/net";

/// Cgroups by their directories, with what they were when the fault was armed.
#[derive(Debug)]
pub(crate) struct Targets {
    wholes: Vec<(PathBuf, u64)>,
    left_out: HashSet<PathBuf>,
}

/// What there is of a target at one moment.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ids of its cgroups, without those that are left out.
    pub(super) cgroups: HashSet<u64>,
    /// Where its processes are.
    pub(super) namespaces: Vec<Namespace>,
    /// Why some of them can't be found out, in words for people.
    pub(super) hidden: Option<String>,
}

/// A network namespace, held open.
#[derive(Debug)]
pub(super) struct Namespace {
    file: File,
    identity: (u64, u64),
}

impl Targets {
    /// `None` for a process: a connection is a cgroup's.
    pub(crate) fn new(tree: &CgroupTree, target: &Resolved, excluded: &[Cgroup]) -> Option<Self> {
        let Resolved::Cgroups(cgroups) = target else {
            return None;
        };
        Some(Self {
            wholes: cgroups
                .iter()
                .map(|cgroup| (tree.folder(cgroup.path()), cgroup.id()))
                .collect(),
            left_out: excluded
                .iter()
                .map(|cgroup| tree.folder(cgroup.path()))
                .collect(),
        })
    }

    /// Looks at the tree as it is now.
    pub(super) fn find(&self) -> Found {
        let mut found = Found::default();
        for (folder, id) in &self.wholes {
            // Another one of the same name is not meant.
            if inode(folder) == Some(*id) {
                self.walk(folder, &mut found);
            }
        }
        found
    }

    fn walk(&self, folder: &Path, found: &mut Found) {
        if self.left_out.contains(folder) {
            return;
        }
        found.cgroups.extend(inode(folder));
        // Of a threaded cgroup the processes are its parent's.
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            match Namespace::at(&format!("/proc/{pid}/ns/net")) {
                Ok(namespace) => found.add(namespace),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    found.hidden = Some(format!(
                        "in which network namespace pid {pid} is can't be told, which needs \
                         CAP_SYS_PTRACE: {error}"
                    ));
                }
                // One that has just exited has no connections of its own any more.
                Err(_) => {}
            }
        }
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(&entry.path(), found);
            }
        }
    }
}

impl Found {
    fn add(&mut self, namespace: Namespace) {
        let is_known = |known: &Namespace| known.identity == namespace.identity;
        if !self.namespaces.iter().any(is_known) {
            self.namespaces.push(namespace);
        }
    }
}

fn inode(folder: &Path) -> Option<u64> {
    fs::metadata(folder).ok().map(|found| found.ino())
}

impl Namespace {
    fn at(path: &str) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            identity: (found.dev(), found.ino()),
            file,
        })
    }

    /// Does something inside, in a thread of its own: this one stays where it is.
    ///
    /// # Errors
    /// What was not possible, in words for people.
    pub(super) fn visit(&self, work: impl FnOnce() -> io::Result<()> + Send) -> Result<(), String> {
        thread::scope(|scope| {
            let visitor = scope.spawn(|| {
                let is_own = Self::at(OWN).is_ok_and(|own| own.identity == self.identity);
                if !is_own {
                    setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|error| {
                        format!(
                            "the network namespace of the target can't be entered, which needs \
                             CAP_SYS_ADMIN: {error}"
                        )
                    })?;
                }
                work().map_err(|error| super::explain(&error))
            });
            visitor
                .join()
                .unwrap_or_else(|_panic| Err("a thread has panicked".to_owned()))
        })
    }
}

/// A connection of this process with itself, until it is dropped.
#[derive(Debug)]
pub(super) struct OwnConnection {
    /// The address of one end.
    pub(super) local: SocketAddr,
    _ends: [TcpStream; 2],
}

impl OwnConnection {
    /// `None` where there is no loopback.
    ///
    /// # Errors
    /// What else was in the way, in words for people.
    pub(super) fn make() -> Result<Option<Self>, String> {
        let connect = || -> io::Result<Self> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let one = TcpStream::connect(listener.local_addr()?)?;
            let (other, _) = listener.accept()?;
            Ok(Self {
                local: one.local_addr()?,
                _ends: [one, other],
            })
        };
        match connect() {
            Ok(connection) => Ok(Some(connection)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL | libc::ENETUNREACH) => Ok(None),
                _ => Err(format!(
                    "self-test: no connection over the loopback: {error}"
                )),
            },
        }
    }
}
