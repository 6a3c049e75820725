//! The network namespaces that a target's processes are in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    net::{Ipv4Addr, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

use super::{Cgroup, CgroupTree, Resolved, TargetError, protect::below};

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
        in_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            raise_loopback()?;
            Self::of("thread-self")
        })
    }

    /// The one with this inode, if a process is in it or a file stands for it somewhere.
    ///
    /// # Errors
    /// That of one process can't be seen, and it is no other's.
    pub(crate) fn find(id: u32) -> io::Result<Option<Self>> {
        let mut hidden = None;
        let processes = fs::read_dir("/proc")?
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_number))
            .map(|entry| entry.path().join("ns/net"));
        for path in processes.chain(mounted(id)) {
            match fs::metadata(&path) {
                Ok(stat) if self::id(stat.ino()) == id => {
                    if let Some(netns) = Self::open(&path).ok().filter(|netns| netns.id == id) {
                        return Ok(Some(netns));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    hidden = Some(error);
                }
                // It has ended.
                Ok(_) | Err(_) => {}
            }
        }
        hidden.map_or(Ok(None), Err)
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
        in_a_thread(|| {
            self.join()?;
            Ok(work())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Where files stand for a network namespace (`ip netns`, runtimes of containers), as far as this process's mounts
/// go: the root of such a mount is `net:[ID]` (proc(5), mountinfo).
fn mounted(id: u32) -> Vec<PathBuf> {
    let root = format!("net:[{id}]");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            (fields.next()? == root).then(|| fields.next().map(PathBuf::from))?
        })
        .collect()
}

/// A thread of its own has a namespace of its own.
fn in_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = thread::Builder::new().spawn_scoped(scope, work)?;
        inside
            .join()
            .unwrap_or_else(|_panic| Err(io::Error::other("the thread has panicked")))
    })
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
    /// Those that its processes are in now, but for those of its parts that are left out.
    ///
    /// # Errors
    /// One of them may not be seen.
    pub(crate) fn namespaces(
        &self,
        tree: &CgroupTree,
        left_out: &[Cgroup],
    ) -> Result<Vec<Netns>, TargetError> {
        let mut found: BTreeMap<u32, Netns> = BTreeMap::new();
        let mut hidden = None;
        let Self::Cgroups(cgroups) = self else {
            return Ok(Vec::new());
        };
        let left_out: Vec<&str> = left_out.iter().map(Cgroup::path).collect();
        let folders: Vec<PathBuf> = left_out.iter().map(|path| tree.folder(path)).collect();
        for cgroup in cgroups {
            each_process(&tree.folder(cgroup.path()), &folders, &mut |pid| {
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
        let strangers = strangers(tree, cgroups, &left_out);
        Ok(found
            .into_values()
            .map(|netns| Netns {
                is_own: strangers
                    .as_ref()
                    .is_ok_and(|strangers| !strangers.contains(&netns.id)),
                ..netns
            })
            .collect())
    }
}

/// The namespaces that processes are in which are not in any of these cgroups, or in a part of them that
/// is left out. If one of them can't be told, none is anybody's own.
fn strangers(
    tree: &CgroupTree,
    cgroups: &[Cgroup],
    left_out: &[&str],
) -> io::Result<BTreeSet<u32>> {
    let mut strangers = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| is_number(name)) else {
            continue;
        };
        let inside = tree.of(pid).is_some_and(|path| {
            cgroups.iter().any(|whole| below(&path, whole.path()))
                && !left_out.iter().any(|part| below(&path, part))
        });
        if inside {
            continue;
        }
        match fs::metadata(entry.path().join("ns/net")) {
            Ok(stat) => {
                strangers.insert(id(stat.ino()));
            }
            // It has ended, and one that is dead has none.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(strangers)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Every process of a cgroup and of those below it that are not left out.
fn each_process(folder: &Path, left_out: &[PathBuf], work: &mut impl FnMut(&str)) {
    if left_out.iter().any(|part| part == folder) {
        return;
    }
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
            each_process(&entry.path(), left_out, work);
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
