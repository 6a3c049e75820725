//! Calls on files that a small program makes, each on files of its own, so that what a fault does to
//! each operation can be compared with what it does without one.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

/// Names that are the same for each round, for which nobody needs a file of the lower layer.
const THERE: [&str; 5] = ["known", "gone", "moved", "attribute", "without"];
const FOLDERS: [&str; 2] = ["folder-a", "folder-b"];
/// The attribute: one that every file system has for the superuser.
const ATTRIBUTE: &str = "trusted.kchaos";

/// So many rounds find a file in the lower layer of an overlay that nobody has written to.
pub const ROUNDS: usize = 48;

/// A file of the lower layer that is written to in this round only.
fn lower(round: usize) -> String {
    format!("lower{round}")
}

/// What the lower layer of an overlay must have in it.
pub fn lower_files() -> Vec<String> {
    (0..ROUNDS).map(lower).collect()
}

/// What the calls are made on.
#[derive(Debug)]
pub struct Fixture {
    folder: PathBuf,
    round: usize,
    file: RawFd,
    directory: RawFd,
}

/// The open files that a program gets from its parent: an open is what may fail.
#[derive(Debug)]
pub struct Opened {
    file: OwnedFd,
    directory: OwnedFd,
}

impl Opened {
    /// The arguments that say it all to a program.
    pub fn arguments(&self, folder: &Path, round: usize) -> [String; 4] {
        [
            folder.display().to_string(),
            round.to_string(),
            self.file.as_raw_fd().to_string(),
            self.directory.as_raw_fd().to_string(),
        ]
    }
}

/// Makes the files of a round in a folder, without what an earlier round has left.
pub fn prepare(folder: &Path, round: usize) -> Opened {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("lower") || name == "lost+found" {
            continue;
        }
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    for name in THERE {
        fs::write(folder.join(name), "some bytes\n").unwrap();
    }
    for name in FOLDERS {
        fs::create_dir(folder.join(name)).unwrap();
    }
    if !folder.join(lower(round)).exists() {
        fs::write(folder.join(lower(round)), "lower\n").unwrap();
    }
    for name in ["attribute", "known"] {
        let name = path(&folder.join(name));
        let attribute = CString::new(ATTRIBUTE).unwrap();
        // SAFETY: both names end in a zero, and one byte is read.
        let set = unsafe {
            libc::setxattr(
                name.as_ptr(),
                attribute.as_ptr(),
                c"x".as_ptr().cast(),
                1,
                0,
            )
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
    let known = folder.join("known");
    let opened = Opened {
        file: fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(known)
            .unwrap()
            .into(),
        directory: fs::File::open(folder).unwrap().into(),
    };
    for fd in [&opened.file, &opened.directory] {
        // SAFETY: a descriptor that is open.
        assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }, 0);
    }
    opened
}

fn path(path: &Path) -> CString {
    CString::new(path.display().to_string()).unwrap()
}

impl Fixture {
    /// What [`Opened::arguments`] says.
    pub fn new(arguments: &[String]) -> Self {
        Self {
            folder: PathBuf::from(&arguments[0]),
            round: arguments[1].parse().unwrap(),
            file: arguments[2].parse().unwrap(),
            directory: arguments[3].parse().unwrap(),
        }
    }

    fn at(&self, name: &str) -> CString {
        path(&self.folder.join(name))
    }
}

/// With which errno a call failed; 0 when it did not.
fn errno(result: i64) -> i32 {
    if result == -1 {
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(i32::MAX)
    } else {
        0
    }
}

fn raw(number: i64, arguments: &[i64]) -> i32 {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: each call of the table has arguments that are as it wants them.
    errno(unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4)) })
}

fn open(fixture: &Fixture, name: &str, flags: i32) -> i32 {
    let name = fixture.at(name);
    // SAFETY: the name ends in a zero, and the descriptor is nobody else's.
    unsafe {
        let fd = libc::open(name.as_ptr(), flags | libc::O_CLOEXEC, 0o644);
        let result = errno(fd.into());
        if fd >= 0 {
            libc::close(fd);
        }
        result
    }
}

fn on(number: i64, fixture: &Fixture, name: &str, more: &[i64]) -> i32 {
    let name = fixture.at(name);
    let arguments: Vec<i64> = [name.as_ptr() as i64]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    raw(number, &arguments)
}

fn on_two(number: i64, fixture: &Fixture, from: &str, to: &str) -> i32 {
    let (from, to) = (fixture.at(from), fixture.at(to));
    raw(number, &[from.as_ptr() as i64, to.as_ptr() as i64])
}

fn listen_at(fixture: &Fixture, name: &str) -> i32 {
    let socket = std::os::unix::net::UnixListener::bind(fixture.folder.join(name));
    socket.map_or_else(|error| error.raw_os_error().unwrap_or(i32::MAX), |_| 0)
}

fn buffer() -> [u8; 4096] {
    [0; 4096]
}

/// A call: how it is named, which operations it is, and how it is made.
pub type Made = (&'static str, &'static [&'static str], fn(&Fixture) -> i32);

/// Every call, in the order in which they are made.
pub const CALLS: &[Made] = &[
    ("getattr", &["getattr"], |f| {
        let mut out = buffer();
        on(libc::SYS_stat, f, "known", &[out.as_mut_ptr() as i64])
    }),
    ("getattr-fd", &["getattr"], |f| {
        let mut out = buffer();
        raw(libc::SYS_fstat, &[f.file.into(), out.as_mut_ptr() as i64])
    }),
    ("getattr-lower", &["getattr"], |f| {
        let mut out = buffer();
        on(
            libc::SYS_lstat,
            f,
            &lower(f.round),
            &[out.as_mut_ptr() as i64],
        )
    }),
    ("listxattr", &["listxattr"], |f| {
        let mut out = buffer();
        on(
            libc::SYS_listxattr,
            f,
            "known",
            &[out.as_mut_ptr() as i64, 4096],
        )
    }),
    ("listxattr-lower", &["listxattr"], |f| {
        let mut out = buffer();
        on(
            libc::SYS_llistxattr,
            f,
            &lower(f.round),
            &[out.as_mut_ptr() as i64, 4096],
        )
    }),
    ("getxattr", &["getxattr"], |f| {
        let (name, mut out) = (CString::new(ATTRIBUTE).unwrap(), buffer());
        on(
            libc::SYS_getxattr,
            f,
            "known",
            &[name.as_ptr() as i64, out.as_mut_ptr() as i64, 4096],
        )
    }),
    ("setxattr", &["setxattr"], |f| {
        let (name, value) = (CString::new(ATTRIBUTE).unwrap(), buffer());
        on(
            libc::SYS_setxattr,
            f,
            "known",
            &[name.as_ptr() as i64, value.as_ptr() as i64, 2, 0],
        )
    }),
    ("removexattr", &["removexattr"], |f| {
        let name = CString::new(ATTRIBUTE).unwrap();
        on(
            libc::SYS_removexattr,
            f,
            "attribute",
            &[name.as_ptr() as i64],
        )
    }),
    ("open", &["open"], |f| open(f, "known", libc::O_RDONLY)),
    ("open-lower", &["open"], |f| {
        open(f, &lower(f.round), libc::O_RDONLY)
    }),
    ("open-directory", &["open"], |f| {
        open(f, ".", libc::O_RDONLY | libc::O_DIRECTORY)
    }),
    // Here overlayfs copies the file up, which it reads and writes by itself.
    ("open-up", &["open"], |f| {
        open(f, &lower(f.round), libc::O_RDWR)
    }),
    ("create", &["open", "create"], |f| {
        open(f, "new-file", libc::O_CREAT | libc::O_WRONLY)
    }),
    ("open-cut", &["open", "truncate"], |f| {
        open(f, "without", libc::O_WRONLY | libc::O_TRUNC)
    }),
    ("truncate", &["truncate"], |f| {
        on(libc::SYS_truncate, f, "gone", &[3])
    }),
    ("truncate-fd", &["truncate"], |f| {
        raw(libc::SYS_ftruncate, &[f.file.into(), 9])
    }),
    ("read", &["read"], |f| {
        let mut out = buffer();
        raw(
            libc::SYS_pread64,
            &[f.file.into(), out.as_mut_ptr() as i64, 9, 0],
        )
    }),
    ("write", &["write"], |f| {
        let bytes = buffer();
        raw(
            libc::SYS_pwrite64,
            &[f.file.into(), bytes.as_ptr() as i64, 9, 0],
        )
    }),
    // No read and no write, though the kernel asks about it on the same hook.
    ("neither", &[], |f| {
        raw(libc::SYS_fallocate, &[f.file.into(), 0, 0, 64])
    }),
    ("readdir", &["readdir"], |f| {
        let mut out = buffer();
        raw(
            libc::SYS_getdents64,
            &[f.directory.into(), out.as_mut_ptr() as i64, 4096],
        )
    }),
    ("setattr-mode", &["setattr"], |f| {
        on(libc::SYS_chmod, f, "known", &[0o600])
    }),
    ("setattr-mode-fd", &["setattr"], |f| {
        raw(libc::SYS_fchmod, &[f.file.into(), 0o640])
    }),
    ("setattr-owner", &["setattr"], |f| {
        on(libc::SYS_chown, f, "known", &[1, 1])
    }),
    ("mkdir", &["mkdir"], |f| {
        on(libc::SYS_mkdir, f, "new-folder", &[0o755])
    }),
    ("rmdir", &["rmdir"], |f| {
        on(libc::SYS_rmdir, f, "folder-a", &[])
    }),
    ("rmdir-at", &["rmdir"], |f| {
        let name = CString::new("folder-b").unwrap();
        raw(
            libc::SYS_unlinkat,
            &[
                f.directory.into(),
                name.as_ptr() as i64,
                libc::AT_REMOVEDIR.into(),
            ],
        )
    }),
    ("symlink", &["symlink"], |f| {
        on_two(libc::SYS_symlink, f, "known", "new-symlink")
    }),
    ("link", &["link"], |f| {
        on_two(libc::SYS_link, f, "known", "new-link")
    }),
    ("mknod", &["mknod"], |f| {
        on(
            libc::SYS_mknod,
            f,
            "new-fifo",
            &[(libc::S_IFIFO | 0o644).into(), 0],
        )
    }),
    ("mknod-socket", &["mknod"], |f| listen_at(f, "new-socket")),
    ("rename", &["rename"], |f| {
        on_two(libc::SYS_rename, f, "moved", "new-name")
    }),
    ("unlink", &["unlink"], |f| {
        on(libc::SYS_unlink, f, "gone", &[])
    }),
];

/// Every operation.
pub const OPS: [&str; 19] = [
    "open",
    "create",
    "read",
    "write",
    "readdir",
    "mkdir",
    "unlink",
    "rmdir",
    "rename",
    "link",
    "symlink",
    "mknod",
    "getattr",
    "setattr",
    "truncate",
    "getxattr",
    "setxattr",
    "listxattr",
    "removexattr",
];
