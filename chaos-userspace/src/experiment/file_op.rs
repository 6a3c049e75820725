//! Operations on files by name.

use std::{fmt, str::FromStr};

use chaos_common::FileEvent;

use super::{
    violation::BadValue,
    wording::{either, guess, quoted},
};

/// A file operation, by the name that Chaos Mesh gives it if it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// open, openat, openat2, creat, and opens by `io_uring`.
    Open,
    /// Those of them that create their file.
    Create,
    /// read, pread64, readv, preadv, preadv2, and reads by `io_uring` and `io_submit`.
    Read,
    /// write, pwrite64, writev, pwritev, pwritev2, and writes by `io_uring` and `io_submit`.
    Write,
    /// getdents, getdents64.
    Readdir,
    /// mkdir, mkdirat.
    Mkdir,
    /// unlink, unlinkat.
    Unlink,
    /// rmdir, and unlinkat of a directory.
    Rmdir,
    /// rename, renameat, renameat2.
    Rename,
    /// link, linkat.
    Link,
    /// symlink, symlinkat.
    Symlink,
    /// mknod, mknodat, and bind of a unix socket with a path.
    Mknod,
    /// stat, lstat, fstat, newfstatat, statx.
    Getattr,
    /// chmod, chown and what else begins or ends like them.
    Setattr,
    /// truncate, ftruncate, and opens with `O_TRUNC`.
    Truncate,
    /// getxattr, lgetxattr, fgetxattr.
    Getxattr,
    /// setxattr, lsetxattr, fsetxattr.
    Setxattr,
    /// listxattr, llistxattr, flistxattr.
    Listxattr,
    /// removexattr, lremovexattr, fremovexattr.
    Removexattr,
}

impl FileOp {
    /// Every operation.
    pub const ALL: [Self; 19] = [
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Readdir,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Symlink,
        Self::Mknod,
        Self::Getattr,
        Self::Setattr,
        Self::Truncate,
        Self::Getxattr,
        Self::Setxattr,
        Self::Listxattr,
        Self::Removexattr,
    ];

    /// Operations that Chaos Mesh has and the kernel asks no security module about, or not on time.
    const ELSEWHERE: [&str; 15] = [
        "access",
        "bmap",
        "fallocate",
        "flush",
        "forget",
        "fsync",
        "fsyncdir",
        "getlk",
        "lookup",
        "opendir",
        "readlink",
        "release",
        "releasedir",
        "setlk",
        "statfs",
    ];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Readdir => "readdir",
            Self::Mkdir => "mkdir",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Symlink => "symlink",
            Self::Mknod => "mknod",
            Self::Getattr => "getattr",
            Self::Setattr => "setattr",
            Self::Truncate => "truncate",
            Self::Getxattr => "getxattr",
            Self::Setxattr => "setxattr",
            Self::Listxattr => "listxattr",
            Self::Removexattr => "removexattr",
        }
    }

    /// What it is to a program.
    pub(crate) const fn event(self) -> FileEvent {
        match self {
            Self::Open => FileEvent::Open,
            Self::Create => FileEvent::Create,
            Self::Read => FileEvent::Read,
            Self::Write => FileEvent::Write,
            Self::Readdir => FileEvent::Readdir,
            Self::Mkdir => FileEvent::Mkdir,
            Self::Unlink => FileEvent::Unlink,
            Self::Rmdir => FileEvent::Rmdir,
            Self::Rename => FileEvent::Rename,
            Self::Link => FileEvent::Link,
            Self::Symlink => FileEvent::Symlink,
            Self::Mknod => FileEvent::Mknod,
            Self::Getattr => FileEvent::Getattr,
            Self::Setattr => FileEvent::Setattr,
            Self::Truncate => FileEvent::Truncate,
            Self::Getxattr => FileEvent::Getxattr,
            Self::Setxattr => FileEvent::Setxattr,
            Self::Listxattr => FileEvent::Listxattr,
            Self::Removexattr => FileEvent::Removexattr,
        }
    }

    /// Whether the kernel says on which mount it happens, without which no path can be told.
    pub const fn has_path(self) -> bool {
        !matches!(
            self,
            Self::Getxattr | Self::Setxattr | Self::Listxattr | Self::Removexattr
        )
    }

    /// Whether execve does it.
    pub const fn in_exec(self) -> bool {
        matches!(self, Self::Open | Self::Read)
    }
}

impl fmt::Display for FileOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FileOp {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let names = Self::ALL.map(Self::name);
        if let Some(op) = Self::ALL.into_iter().find(|op| op.name() == text) {
            return Ok(op);
        }
        if Self::ELSEWHERE.contains(&text) {
            return Err(BadValue::new(
                format!("file.error can't have {} fail", quoted(text)),
                format!(
                    "syscall.error can have whole system calls fail; here there is {}",
                    either(&names)
                ),
            ));
        }
        let remedy = match text {
            "openat" | "openat2" => "say open, which has all its system calls".to_owned(),
            "creat" => "say create, which is every open that creates its file".to_owned(),
            "stat" | "lstat" | "fstat" | "statx" => "say getattr".to_owned(),
            "chmod" | "chown" => "say setattr, which is both".to_owned(),
            "xattr" => "say getxattr, setxattr, listxattr, removexattr, or some of them".to_owned(),
            _ => guess(text, &names),
        };
        Err(BadValue::new(
            format!("{} is not a file operation", quoted(text)),
            remedy,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_a_name_and_an_event_of_its_own() {
        for (index, op) in FileOp::ALL.into_iter().enumerate() {
            assert_eq!(op.name().parse(), Ok(op));
            assert_eq!(op.event() as usize, index, "{op}");
        }
    }

    #[test]
    fn what_is_not_there_says_what_is() {
        for (text, message) in [
            ("stat", "'stat' is not a file operation; say getattr"),
            ("opn", "'opn' is not a file operation; did you mean open?"),
            (
                "openat",
                "'openat' is not a file operation; say open, which has all its system calls",
            ),
        ] {
            assert_eq!(text.parse::<FileOp>().unwrap_err().to_string(), message);
        }
        for text in FileOp::ELSEWHERE {
            let said = text.parse::<FileOp>().unwrap_err().to_string();
            assert!(said.contains("syscall.error"), "{said}");
        }
    }
}
