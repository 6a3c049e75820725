//! The network namespaces that a target's processes are in.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::{Ipv4Addr, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    sync::Arc,
};

use nix::sched::{CloneFlags, setns, unshare};

use super::{CgroupTree, Resolved, TargetError, protect::below};

/// An open network namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    id: u32,
    is_own: bool,
}

impl Netns {
    /// The one that a process is in.
    pub(crate) fn of(pid: &str) -> io::Result<Self> {
        Self::open(&Path::new("/proc").join(pid).join("ns/net"))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let id = id(file.metadata()?.ino());
        Ok(Self {
            file: Arc::new(file),
            id,
            is_own: false,
        })
    }

    /// A new one that nobody else is in, whose loopback is up. It ends with this value, unless a process has
    /// entered it.
    ///
    /// # Errors
    /// The kernel has none to give.
    pub(crate) fn scratch() -> io::Result<Self> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                raise_loopback()?;
                Self::of("thread-self")
            });
            inside
                .join()
                .unwrap_or_else(|_panic| Err(io::Error::other("the thread has panicked")))
        })
    }

    /// Takes this thread into it. Makes one system call, and allocates nothing.
    pub(crate) fn join(&self) -> io::Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(Into::into)
    }

    /// Its inode, which programs know it by.
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// Whether all processes in it were the target's when that was looked at, so that whatever leaves it
    /// without a socket is the target's as well.
    pub(crate) const fn is_own(&self) -> bool {
        self.is_own
    }

    /// Does something in there, in a thread of its own.
    ///
    /// # Errors
    /// It can't be entered.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.join()?;
                Ok(work())
            });
            inside
                .join()
                .unwrap_or_else(|_panic| Err(io::Error::other("the thread has panicked")))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// `ip link set lo up`, in the namespace of this thread.
fn raise_loopback() -> io::Result<()> {
    /// `IFF_UP` (include/uapi/linux/if.h)
    const UP: libc::c_short = 1;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: all zeros is a request about a device without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = UP;
    // SAFETY: the request outlives the call, and this command reads what was set of it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Inodes of namespaces have 32 bits (`struct ns_common`).
fn id(inode: u64) -> u32 {
    u32::try_from(inode).unwrap_or(0)
}

impl Resolved {
    /// Those that its processes are in now.
    ///
    /// # Errors
    /// One of them may not be seen.
    pub(crate) fn namespaces(&self, tree: &CgroupTree) -> Result<Vec<Netns>, TargetError> {
        let mut found: BTreeMap<u32, Netns> = BTreeMap::new();
        let mut hidden = None;
        let Self::Cgroups(cgroups) = self else {
            return Ok(Vec::new());
        };
        for cgroup in cgroups {
            each_process(&tree.folder(cgroup.path()), &mut |pid| {
                let path = Path::new("/proc").join(pid).join("ns/net");
                match fs::metadata(&path).map(|stat| id(stat.ino())) {
                    Ok(id) if found.contains_key(&id) => {}
                    // A process may end at any time.
                    Ok(_) => found.extend(Netns::open(&path).ok().map(|netns| (netns.id, netns))),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        hidden = Some(pid.to_owned());
                    }
                    Err(_) => {}
                }
            });
        }
        if let Some(pid) = hidden {
            return Err(TargetError::Missing(format!(
                "the network namespace of pid {pid} may not be seen, which needs CAP_SYS_PTRACE"
            )));
        }
        let mut namespaces: Vec<Netns> = found.into_values().collect();
        self.look_whose(tree, &mut namespaces);
        Ok(namespaces)
    }

    /// Finds out which of them no process of anybody else is in. The one that kchaos is in never is.
    fn look_whose(&self, tree: &CgroupTree, namespaces: &mut [Netns]) {
        let (Self::Cgroups(cgroups), false) = (self, namespaces.is_empty()) else {
            return;
        };
        for netns in namespaces.iter_mut() {
            netns.is_own = true;
        }
        let Ok(processes) = fs::read_dir("/proc") else {
            return;
        };
        for entry in processes.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|name| is_number(name)) else {
                continue;
            };
            let Ok(inode) = fs::metadata(entry.path().join("ns/net")).map(|stat| stat.ino()) else {
                continue;
            };
            let Some(netns) = namespaces.iter_mut().find(|netns| netns.id == id(inode)) else {
                continue;
            };
            let inside = tree.of(pid).is_some_and(|path| {
                let whole =
                    |cgroup: &super::Cgroup| path == cgroup.path() || below(&path, cgroup.path());
                cgroups.iter().any(whole)
            });
            netns.is_own &= inside;
        }
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Every process of a cgroup and of those below it.
fn each_process(folder: &Path, work: &mut impl FnMut(&str)) {
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process that this pid namespace does not show.
    processes
        .lines()
        .filter(|pid| *pid != "0")
        .for_each(&mut *work);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_process(&entry.path(), work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_enters_and_this_one_stays() {
        let own = Netns::of("self").unwrap();
        assert_ne!(own.id(), 0);
        let inside = own.enter(|| Netns::of("thread-self").unwrap().id());
        // Entering takes CAP_SYS_ADMIN.
        if let Ok(inside) = inside {
            assert_eq!(inside, own.id());
        }
    }
}
