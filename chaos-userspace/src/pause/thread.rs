//! ptrace(2), as far as a thread is stopped and let go.

use std::{io, mem::MaybeUninit, ptr};

/// Takes a thread, which goes on.
pub(super) fn seize(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, tid, ptr::null_mut())
}

/// Has it stop before it leaves the kernel.
pub(super) fn interrupt(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_INTERRUPT, tid, ptr::null_mut())
}

/// Lets a thread that has stopped go on, and gives it up.
pub(super) fn detach(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_DETACH, tid, ptr::null_mut())
}

/// Has a thread that stopped because of a signal take it.
pub(super) fn deliver(tid: i32, signal: i32) -> io::Result<()> {
    let signal = usize::try_from(signal).map_err(io::Error::other)?;
    ptrace(libc::PTRACE_CONT, tid, ptr::without_provenance_mut(signal))
}

/// The registers of a thread that has stopped.
pub(super) fn registers(tid: i32) -> io::Result<libc::user_regs_struct> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::uninit();
    ptrace(libc::PTRACE_GETREGS, tid, registers.as_mut_ptr().cast())?;
    // SAFETY: the kernel has filled it.
    Ok(unsafe { registers.assume_init() })
}

fn ptrace(request: libc::c_uint, tid: i32, data: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: none of these requests uses the address, and only that for registers writes to the data.
    let result = unsafe { libc::ptrace(request, tid, ptr::null_mut::<libc::c_void>(), data) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What has become of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has stopped, as it was told to, or because its process is stopped.
    Stopped,
    /// It is about to get a signal.
    Signal(i32),
    /// There is no such thread any more.
    Over,
}

/// The next thread of which there is news.
pub(super) fn next_change() -> Option<(i32, Change)> {
    let mut status = 0;
    // SAFETY: writes a status.
    let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) };
    if tid <= 0 {
        return None;
    }
    let change = if !libc::WIFSTOPPED(status) {
        Change::Over
    } else if status >> 16 == libc::PTRACE_EVENT_STOP {
        Change::Stopped
    } else {
        Change::Signal(libc::WSTOPSIG(status))
    };
    Some((tid, change))
}
