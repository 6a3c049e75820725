//! A process by an identity that no other one gets.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use chaos_common::TargetKey;

use super::TargetError;

/// The inode of the first pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
pub(crate) const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// `PF_KTHREAD` in the flags of /proc/PID/stat (include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Whether pids here are those that programs see.
pub(crate) fn in_first_pid_namespace() -> bool {
    let namespace = fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
    namespace.is_ok_and(|inode| inode == FIRST_PID_NAMESPACE)
}

/// When the process that has this number now was started, in clock ticks since boot.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(Stat::parse(&stat)?.start_ticks)
}

/// One process with its threads, held by its pidfd.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start_ticks: u64,
    name: String,
    parent: u32,
    kernel: bool,
    pidfd: OwnedFd,
}

impl Process {
    /// Opens a process.
    ///
    /// # Errors
    /// When there is none, it is a thread of another one, or pids here are not the kernel's.
    pub fn open(pid: u32) -> Result<Self, TargetError> {
        if !in_first_pid_namespace() {
            return Err(TargetError::Missing(
                "pid targets need kchaos to run in the host's pid namespace".to_owned(),
            ));
        }
        let no_such = || TargetError::Missing(format!("no process {pid} on this machine"));
        // SAFETY: takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::ESRCH | libc::EINVAL) => no_such(),
                _ => TargetError::Missing(format!("process {pid} can't be held: {error}")),
            });
        }
        // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Read after the pidfd is held: if the pid passed on in between, the check below sees it.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_gone| no_such())?;
        let stat = Stat::parse(&stat).ok_or_else(no_such)?;
        let process = Self {
            pid,
            start_ticks: stat.start_ticks,
            name: stat.name.to_owned(),
            parent: stat.parent,
            kernel: stat.flags & KERNEL_THREAD != 0,
            pidfd,
        };
        if process.gone() {
            Err(no_such())
        } else {
            Ok(process)
        }
    }

    /// Its number in the first pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started, in clock ticks since boot.
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Its name, at most 15 bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process that had started it, or has taken it over.
    pub fn parent(&self) -> u32 {
        self.parent
    }

    /// Whether it is a thread of the kernel.
    pub fn is_kernel(&self) -> bool {
        self.kernel
    }

    /// As programs look it up.
    pub fn key(&self) -> u64 {
        TargetKey::process(self.pid, self.start_ticks)
    }

    /// Whether it has exited.
    pub fn gone(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.pidfd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid entry, and no time to wait.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
    }
}

impl Process {
    /// Sends a signal to this process and to no other that has its pid later.
    ///
    /// # Errors
    /// When it has exited, or is not ours to signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: takes an open pidfd, two integers, and no information to go with the signal.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if sent == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// What /proc/PID/stat says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat<'a> {
    pub(crate) name: &'a str,
    /// `R`, `S`, `T` …, as proc(5) has them.
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    pub(crate) flags: u64,
    pub(crate) start_ticks: u64,
    /// Where its stack begins, which an exec changes; 0 for who may not know.
    pub(crate) start_stack: u64,
}

impl<'a> Stat<'a> {
    /// Fields are counted from behind the name, which may contain anything (proc(5)).
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (before, after) = text.rsplit_once(") ")?;
        let (_, name) = before.split_once(" (")?;
        let field = |number: usize| after.split(' ').nth(number - 3);
        Some(Self {
            name,
            state: after.chars().next()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
            start_stack: field(28).and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_what_ends_it() {
        let text = "7 (a) (b c) S 1 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1234 10 0\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.name, "a) (b c");
        assert_eq!(
            (stat.parent, stat.session, stat.flags, stat.start_ticks),
            (1, 5, 4_194_560, 1234)
        );
        assert_eq!(Stat::parse("7 (x"), None);
    }
}
