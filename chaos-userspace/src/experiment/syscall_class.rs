//! Classes of system calls, as strace has them: `%file`, `%network` and so on.

use std::{fmt, str::FromStr};

use super::{
    Syscall,
    violation::BadValue,
    wording::{nearest, quoted},
};

/// A class of system calls. What can't be hit of it (execve, exit) is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallClass {
    /// Calls that read or set the system's clocks.
    Clock,
    /// Calls that read or change ids and capabilities.
    Creds,
    /// Calls that take or make a file descriptor.
    Desc,
    /// Calls that take a file name.
    File,
    /// Calls of System V IPC.
    Ipc,
    /// Calls that map memory and say what becomes of it.
    Memory,
    /// Calls of sockets.
    Network,
    /// Calls that make, end and wait for processes.
    Process,
    /// Calls that send, take and mask signals.
    Signal,
}

impl SyscallClass {
    /// Every class, in the order of their names.
    pub const ALL: &[Self] = &[
        Self::Clock,
        Self::Creds,
        Self::Desc,
        Self::File,
        Self::Ipc,
        Self::Memory,
        Self::Network,
        Self::Process,
        Self::Signal,
    ];

    /// Its name, with the sign before it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clock => "%clock",
            Self::Creds => "%creds",
            Self::Desc => "%desc",
            Self::File => "%file",
            Self::Ipc => "%ipc",
            Self::Memory => "%memory",
            Self::Network => "%network",
            Self::Process => "%process",
            Self::Signal => "%signal",
        }
    }

    /// What all of its calls have in common, in words for people: "calls …".
    pub const fn what(self) -> &'static str {
        match self {
            Self::Clock => "that read or set the system's clocks",
            Self::Creds => "that read or change ids and capabilities",
            Self::Desc => "that take or make a file descriptor",
            Self::File => "that take a file name",
            Self::Ipc => "of System V IPC",
            Self::Memory => "that map memory and say what becomes of it",
            Self::Network => "of sockets",
            Self::Process => "that make, end and wait for processes",
            Self::Signal => "that send, take and mask signals",
        }
    }

    /// Its calls, in the order of their names.
    pub fn calls(self) -> impl Iterator<Item = Syscall> {
        // The table's names are good, as a test holds.
        self.names()
            .split_whitespace()
            .filter_map(|name| name.parse().ok())
    }

    /// As in strace 6.18.
    const fn names(self) -> &'static str {
        match self {
            Self::Clock => {
                "\
                 adjtimex clock_adjtime clock_getres clock_gettime clock_settime gettimeofday \
                 settimeofday time"
            }
            Self::Creds => {
                "\
                 capget capset getegid geteuid getgid getgroups getresgid getresuid getuid prctl \
                 setfsgid setfsuid setgid setgroups setregid setresgid setresuid setreuid setuid"
            }
            Self::Desc => {
                "\
                 bpf cachestat close copy_file_range creat dup dup2 dup3 epoll_create \
                 epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 \
                 faccessat faccessat2 fadvise64 fallocate fanotify_init fanotify_mark fchdir \
                 fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr file_getattr \
                 file_setattr finit_module flistxattr flock fremovexattr fsconfig fsetxattr \
                 fsmount fsopen fspick fstat fstatfs fsync ftruncate futimesat getdents \
                 getdents64 getxattrat inotify_add_watch inotify_init inotify_init1 \
                 inotify_rm_watch io_uring_enter io_uring_register io_uring_setup ioctl \
                 kexec_file_load landlock_add_rule landlock_create_ruleset landlock_restrict_self \
                 linkat listxattrat lseek memfd_create memfd_secret mkdirat mknodat mmap \
                 mount_setattr move_mount mq_getsetattr mq_notify mq_open mq_timedreceive \
                 mq_timedsend name_to_handle_at newfstatat open open_by_handle_at open_tree \
                 open_tree_attr openat openat2 perf_event_open pidfd_getfd pidfd_open \
                 pidfd_send_signal pipe pipe2 poll ppoll pread64 preadv preadv2 process_madvise \
                 process_mrelease pselect6 pwrite64 pwritev pwritev2 quotactl_fd read readahead \
                 readlinkat readv removexattrat renameat renameat2 select sendfile setns \
                 setxattrat signalfd signalfd4 splice statx symlinkat sync_file_range syncfs tee \
                 timerfd_create timerfd_gettime timerfd_settime unlinkat userfaultfd utimensat \
                 vmsplice write writev"
            }
            Self::File => {
                "\
                 access acct chdir chmod chown chroot creat faccessat faccessat2 fanotify_mark \
                 fchmodat fchmodat2 fchownat file_getattr file_setattr fsconfig fspick futimesat \
                 getcwd getxattr getxattrat inotify_add_watch lchown lgetxattr link linkat \
                 listxattr listxattrat llistxattr lremovexattr lsetxattr lstat mkdir mkdirat \
                 mknod mknodat mount mount_setattr move_mount name_to_handle_at newfstatat open \
                 open_tree open_tree_attr openat openat2 pivot_root quotactl readlink readlinkat \
                 removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat \
                 stat statfs statx swapoff swapon symlink symlinkat truncate umount2 unlink \
                 unlinkat uselib utime utimensat utimes"
            }
            Self::Ipc => {
                "\
                 msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt \
                 shmget"
            }
            Self::Memory => {
                "\
                 brk get_mempolicy io_destroy io_setup io_uring_register madvise map_shadow_stack \
                 mbind migrate_pages mincore mlock mlock2 mlockall mmap move_pages mprotect \
                 mremap mseal msync munlock munlockall munmap pkey_mprotect remap_file_pages \
                 set_mempolicy set_mempolicy_home_node shmat shmdt"
            }
            Self::Network => {
                "\
                 accept accept4 bind connect getpeername getpmsg getsockname getsockopt listen \
                 putpmsg recvfrom recvmmsg recvmsg sendfile sendmmsg sendmsg sendto setsockopt \
                 shutdown socket socketpair"
            }
            Self::Process => {
                "\
                 clone clone3 fork kill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo \
                 tgkill tkill vfork wait4 waitid"
            }
            Self::Signal => {
                "\
                 io_uring_enter kill pause pidfd_send_signal rt_sigaction rt_sigpending \
                 rt_sigprocmask rt_sigqueueinfo rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo \
                 sigaltstack signalfd signalfd4 tgkill tkill"
            }
        }
    }
}

impl fmt::Display for SyscallClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SyscallClass {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        // The other name that strace has for it.
        if text == "%net" {
            return Ok(Self::Network);
        }
        let found = Self::ALL.iter().find(|class| class.name() == text);
        found.copied().ok_or_else(|| {
            let names = || Self::ALL.iter().map(|class| class.name());
            let remedy = nearest(text, names()).map_or_else(
                || format!("there are {}", names().collect::<Vec<_>>().join(", ")),
                |name| format!("did you mean {name}?"),
            );
            BadValue::new(
                format!("{} is not a class of system calls", quoted(text)),
                remedy,
            )
        })
    }
}

/// What a fault about system calls names: one of them, or a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallOp {
    /// One call. A mechanism that can't hit it can't do the fault.
    Call(Syscall),
    /// All of a class that the mechanism can hit where it runs.
    Class(SyscallClass),
}

impl From<Syscall> for SyscallOp {
    fn from(call: Syscall) -> Self {
        Self::Call(call)
    }
}

impl fmt::Display for SyscallOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => call.fmt(f),
            Self::Class(class) => class.fmt(f),
        }
    }
}

impl FromStr for SyscallOp {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.starts_with('%') {
            text.parse().map(Self::Class)
        } else {
            text.parse().map(Self::Call)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_is_a_call_that_may_be_hit() {
        for class in SyscallClass::ALL {
            for name in class.names().split_whitespace() {
                assert!(name.parse::<Syscall>().is_ok(), "{class}: {name}");
            }
            assert_eq!(class.name().parse(), Ok(*class));
        }
        let has = |class: SyscallClass, name| class.calls().any(|call| call.name() == name);
        assert!(has(SyscallClass::File, "openat") && has(SyscallClass::Desc, "openat"));
        assert!(has(SyscallClass::Network, "connect") && has(SyscallClass::Memory, "mmap"));
        assert!(has(SyscallClass::Process, "clone3") && !has(SyscallClass::File, "read"));
        for class in SyscallClass::ALL {
            assert!(
                !has(*class, "execve") && !has(*class, "exit_group"),
                "{class}"
            );
        }
    }

    #[test]
    fn other_names_are_told_what_there_is() {
        for (text, message) in [
            (
                "%fil",
                "'%fil' is not a class of system calls; did you mean %file?",
            ),
            (
                "%everything",
                "'%everything' is not a class of system calls; there are %clock, %creds, %desc, \
                 %file, %ipc, %memory, %network, %process, %signal",
            ),
        ] {
            assert_eq!(text.parse::<SyscallOp>().unwrap_err().to_string(), message);
        }
        assert_eq!("%net".parse(), Ok(SyscallOp::Class(SyscallClass::Network)));
    }
}
