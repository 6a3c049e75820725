//! System calls by name.

use std::{fmt, str::FromStr};

use chaos_common::{arguments, limits};
use syscalls::x86_64::Sysno;

use super::{
    violation::BadValue,
    wording::{nearest, quoted},
};

/// A system call of x86-64 that may be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall(Sysno);

impl Syscall {
    /// Its name, as in the manual.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Its number on x86-64.
    pub fn number(self) -> u32 {
        self.0.id().unsigned_abs()
    }

    /// What its entry in the kernel is called, after `__x64_sys_`: some are older or newer than the
    /// call that everybody knows (`arch/x86/entry/syscalls/syscall_64.tbl`).
    pub(crate) fn entry(self) -> &'static str {
        match self.0 {
            Sysno::stat => "newstat",
            Sysno::fstat => "newfstat",
            Sysno::lstat => "newlstat",
            Sysno::uname => "newuname",
            Sysno::sendfile => "sendfile64",
            Sysno::umount2 => "umount",
            other => other.name(),
        }
    }

    /// The hooks of the kernel's security modules that it comes by, each call once on one of them.
    ///
    /// # Errors
    /// Why there are none, as for most calls.
    pub(crate) fn security_hooks(self) -> Result<&'static [&'static str], String> {
        match self.known_hooks() {
            [] => Err(format!("the kernel asks no security module about {self}")),
            hooks => Ok(hooks),
        }
    }

    /// Calls that come by twice, or only sometimes, are not here.
    fn known_hooks(self) -> &'static [&'static str] {
        match self.0 {
            // A name that does not exist is made on the second hook, before the first one is asked.
            Sysno::open | Sysno::openat | Sysno::openat2 | Sysno::creat => {
                &["file_open", "path_mknod"]
            }
            Sysno::read
            | Sysno::pread64
            | Sysno::readv
            | Sysno::preadv
            | Sysno::preadv2
            | Sysno::write
            | Sysno::pwrite64
            | Sysno::writev
            | Sysno::pwritev
            | Sysno::pwritev2
            | Sysno::getdents
            | Sysno::getdents64
            | Sysno::fallocate => &["file_permission"],
            Sysno::ioctl => &["file_ioctl"],
            Sysno::fcntl => &["file_fcntl"],
            Sysno::flock => &["file_lock"],
            Sysno::mmap => &["mmap_file"],
            Sysno::clone | Sysno::clone3 | Sysno::fork | Sysno::vfork => &["task_alloc"],
            Sysno::socket => &["socket_create"],
            Sysno::bind => &["socket_bind"],
            Sysno::connect => &["socket_connect"],
            Sysno::listen => &["socket_listen"],
            Sysno::accept | Sysno::accept4 => &["socket_accept"],
            Sysno::sendto | Sysno::sendmsg => &["socket_sendmsg"],
            Sysno::recvfrom | Sysno::recvmsg => &["socket_recvmsg"],
            Sysno::shutdown => &["socket_shutdown"],
            Sysno::getsockname => &["socket_getsockname"],
            Sysno::getpeername => &["socket_getpeername"],
            Sysno::getsockopt => &["socket_getsockopt"],
            Sysno::setsockopt => &["socket_setsockopt"],
            Sysno::mkdir | Sysno::mkdirat => &["path_mkdir"],
            Sysno::mknod | Sysno::mknodat => &["path_mknod"],
            Sysno::rmdir => &["path_rmdir"],
            Sysno::unlink => &["path_unlink"],
            Sysno::unlinkat => &["path_unlink", "path_rmdir"],
            Sysno::rename | Sysno::renameat | Sysno::renameat2 => &["path_rename"],
            Sysno::link | Sysno::linkat => &["path_link"],
            Sysno::symlink | Sysno::symlinkat => &["path_symlink"],
            Sysno::truncate => &["path_truncate"],
            Sysno::chmod | Sysno::fchmod | Sysno::fchmodat => &["path_chmod"],
            Sysno::chown | Sysno::fchown | Sysno::lchown | Sysno::fchownat => &["path_chown"],
            Sysno::chroot => &["path_chroot"],
            Sysno::stat | Sysno::lstat | Sysno::fstat | Sysno::newfstatat | Sysno::statx => {
                &["inode_getattr"]
            }
            Sysno::statfs | Sysno::fstatfs => &["sb_statfs"],
            _ => &[],
        }
    }

    /// Whether its first argument is a descriptor of something that may have a path: no socket has.
    pub(super) fn has_file(self) -> bool {
        let of_sockets = matches!(
            self.0,
            Sysno::connect
                | Sysno::accept
                | Sysno::accept4
                | Sysno::sendto
                | Sysno::recvfrom
                | Sysno::sendmsg
                | Sysno::recvmsg
                | Sysno::sendmmsg
                | Sysno::recvmmsg
                | Sysno::shutdown
                | Sysno::bind
                | Sysno::listen
                | Sysno::getsockname
                | Sysno::getpeername
                | Sysno::setsockopt
                | Sysno::getsockopt
        );
        arguments::has_descriptor(self.number().into()) && !of_sockets
    }

    /// Whether its path is in its caller's memory, and what it asks the security modules says which
    /// file that is.
    pub(crate) fn is_named_by_hooks(self) -> bool {
        let says_name = |hook: &&str| {
            matches!(
                *hook,
                "file_open"
                    | "path_mknod"
                    | "path_mkdir"
                    | "path_rmdir"
                    | "path_unlink"
                    | "path_symlink"
                    | "path_truncate"
                    | "path_chmod"
                    | "path_chown"
                    | "path_chroot"
                    | "inode_getattr"
            )
        };
        let hooks = self.known_hooks();
        !self.has_file() && !hooks.is_empty() && hooks.iter().all(says_name)
    }

    /// Whether x86-64 has a call of this name, may it be hit or not.
    pub(super) fn exists(name: &str) -> bool {
        table().any(|call| call.name() == name)
    }

    /// Every system call that may be hit.
    pub fn all() -> impl Iterator<Item = Self> {
        table().filter(|call| refusal(*call).is_none()).map(Self)
    }
}

/// The whole table: `Sysno::iter` of syscalls 0.8.1 ends before its last entry.
fn table() -> impl Iterator<Item = Sysno> {
    (0..limits::SYSCALLS).filter_map(Sysno::new)
}

/// Why a system call can't be hit.
fn refusal(call: Sysno) -> Option<&'static str> {
    match call {
        Sysno::exit | Sysno::exit_group => Some("it never returns, so that no result can be seen"),
        Sysno::rt_sigreturn => Some("it ends a signal's handler, and no caller sees its result"),
        Sysno::restart_syscall => Some("the kernel calls it to go on with another one"),
        Sysno::execve | Sysno::execveat => Some("the command itself could not start"),
        _ => None,
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Syscall {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some(call) = table().find(|call| call.name() == text) else {
            let remedy = nearest(text, Self::all().map(Self::name)).map_or_else(
                || "say a name as in syscalls(2), such as fsync".to_owned(),
                |name| format!("did you mean {name}?"),
            );
            return Err(BadValue::new(
                format!("{} is not a system call of x86-64", quoted(text)),
                remedy,
            ));
        };
        match refusal(call) {
            Some(reason) => Err(BadValue::new(
                format!("{} can't be hit: {reason}", quoted(text)),
                "name another system call",
            )),
            None => Ok(Self(call)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_names_and_numbers_of_x86_64() {
        for (name, number) in [("read", 0), ("fsync", 74), ("openat", 257)] {
            let call: Syscall = name.parse().unwrap();
            assert_eq!((call.name(), call.number()), (name, number));
        }
        assert!(Syscall::all().count() > 300);
        for call in Syscall::all() {
            assert_eq!(call.name().parse(), Ok(call));
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, message) in [
            (
                "fsynk",
                "'fsynk' is not a system call of x86-64; did you mean fsync?",
            ),
            (
                "earthquakes_everywhere",
                "'earthquakes_everywhere' is not a system call of x86-64; \
                 say a name as in syscalls(2), such as fsync",
            ),
            (
                "execve",
                "'execve' can't be hit: the command itself could not start; \
                 name another system call",
            ),
        ] {
            assert_eq!(text.parse::<Syscall>().unwrap_err().to_string(), message);
        }
        for text in [
            "exit",
            "exit_group",
            "rt_sigreturn",
            "restart_syscall",
            "execveat",
        ] {
            let said = text.parse::<Syscall>().unwrap_err().to_string();
            assert!(said.contains("can't be hit: "), "{said}");
        }
    }
}
