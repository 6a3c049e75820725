//! The cgroup v2 tree of this machine.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{fcntl::AtFlags, sys::stat::fstatat};

use super::TargetError;

/// How deep a search for a unit goes, and how many directories it looks at.
const SEARCH_DEPTH: usize = 16;
const SEARCH_LIMIT: usize = 100_000;

/// Where the whole tree is mounted.
#[derive(Clone, Debug)]
pub struct CgroupTree {
    mount: PathBuf,
}

/// An open cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    folder: File,
    id: u64,
    level: u32,
}

impl CgroupTree {
    /// Finds the mount of the cgroup v2 tree.
    ///
    /// # Errors
    /// [`TargetError::Missing`] when there is none, or when it shows a part of the tree only.
    pub fn find() -> Result<Self, TargetError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| {
            TargetError::Missing(format!("/proc/self/mountinfo can't be read: {error}"))
        })?;
        let mount = mounts.lines().find_map(cgroup2_mount).ok_or_else(|| {
            TargetError::Missing(
                "no cgroup v2 tree is mounted here: `mount -t cgroup2 none /sys/fs/cgroup/unified` \
                 gives one beside cgroup v1"
                    .to_owned(),
            )
        })?;
        let root = fs::metadata(&mount).map_err(|error| {
            TargetError::Missing(format!("{} can't be read: {error}", mount.display()))
        })?;
        // The root of the hierarchy is its first inode; in a cgroup namespace another cgroup shows.
        if root.ino() != 1 {
            return Err(TargetError::Missing(format!(
                "{} shows a cgroup namespace's part of the tree: kchaos must run in the host's",
                mount.display()
            )));
        }
        Ok(Self { mount })
    }

    /// A folder that is taken for the tree.
    #[cfg(test)]
    pub(crate) fn at(mount: PathBuf) -> Self {
        Self { mount }
    }

    /// Opens a cgroup by its path below the root.
    ///
    /// # Errors
    /// [`TargetError::Missing`] when it is not there.
    pub fn open(&self, path: &str) -> Result<Cgroup, TargetError> {
        let folder = self.folder(path);
        let open = || -> io::Result<(File, u64)> {
            // Every cgroup has this file, and nothing else below the mount does.
            fs::metadata(folder.join("cgroup.procs"))?;
            let file = File::open(&folder)?;
            let id = file.metadata()?.ino();
            Ok((file, id))
        };
        let (file, id) = open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                TargetError::Missing(format!(
                    "no cgroup {path} on this machine (the tree is {})",
                    self.mount.display()
                ))
            }
            _ => TargetError::Missing(format!("cgroup {path} can't be opened: {error}")),
        })?;
        let level = path.split('/').filter(|part| !part.is_empty()).count();
        let level = u32::try_from(level)
            .map_err(|_too_deep| TargetError::Bad(format!("cgroup {path} lies too deep")))?;
        Ok(Cgroup {
            path: path.to_owned(),
            folder: file,
            id,
            level,
        })
    }

    /// The directory of a cgroup.
    pub fn folder(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }

    /// The cgroup that a process is in; `None` when it can't be told.
    pub fn of(&self, pid: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        // What the kernel appends once the directory is gone.
        Some(path.trim_end_matches(" (deleted)").to_owned())
    }

    /// The path of a systemd unit's cgroup. systemd names a unit's directory after the unit.
    ///
    /// # Errors
    /// When there is none, or when several have this name.
    pub fn unit(&self, name: &str) -> Result<String, TargetError> {
        let mut found = Vec::new();
        let mut seen = 0;
        search(
            &self.mount,
            OsStr::new(name),
            SEARCH_DEPTH,
            &mut seen,
            &mut found,
        );
        let paths: Vec<String> = found
            .iter()
            .filter_map(|folder| folder.strip_prefix(&self.mount).ok())
            .map(|path| format!("/{}", path.display()))
            .collect();
        match paths.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(TargetError::Missing(format!(
                "no cgroup of a unit {name} on this machine: is it running? \
                 (`systemctl status {name}` shows its cgroup)"
            ))),
            several => Err(TargetError::Bad(format!(
                "several units are called {name}: name one as a cgroup: {}",
                several.join(", ")
            ))),
        }
    }
}

fn search(folder: &Path, name: &OsStr, depth: usize, seen: &mut usize, found: &mut Vec<PathBuf>) {
    *seen += 1;
    if depth == 0 || *seen > SEARCH_LIMIT {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path());
        } else {
            search(&entry.path(), name, depth - 1, seen, found);
        }
    }
}

/// The mount point in a line of mountinfo, if it is a cgroup v2 tree.
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    Some(PathBuf::from(OsStr::from_bytes(&unescape(
        before.split(' ').nth(4)?,
    ))))
}

/// mountinfo writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

impl Cgroup {
    /// Below the root of the tree, with a slash at its start.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As `bpf_get_current_ancestor_cgroup_id` knows it: the inode of its directory.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Depth in the tree; the root is 0.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Whether it has been removed.
    pub fn gone(&self) -> bool {
        // Not by its links: to kernfs an open directory has as many after its end (`fs/kernfs/inode.c`).
        // Nothing can be found in one that was removed.
        fstatat(&self.folder, "cgroup.procs", AtFlags::empty()).is_err()
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_its_escapes() {
        let line = "33 32 0:28 / /sys/fs/cgroup/uni\\040fied rw shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(
            cgroup2_mount(line),
            Some(PathBuf::from("/sys/fs/cgroup/uni fied"))
        );
        assert_eq!(
            cgroup2_mount("33 32 0:28 / /x rw - cgroup cgroup rw,cpu"),
            None
        );
        assert_eq!(cgroup2_mount("nonsense"), None);
    }
}
