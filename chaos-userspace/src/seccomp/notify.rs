//! The listener of a filter.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    ptr,
    time::Duration,
};

use libc::{c_ulong, seccomp_notif, seccomp_notif_resp};

// include/uapi/linux/seccomp.h
const RECV: c_ulong = 0xc050_2100;
const SEND: c_ulong = 0xc018_2101;
const ID_VALID: c_ulong = 0x4008_2102;
const SET_FLAGS: c_ulong = 0x4008_2104;
const SYNC_WAKE_UP: c_ulong = 1;

/// Where the kernel puts calls that wait for an answer.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is done.
    GoOn,
    /// It is not done and fails with this errno.
    Fail(u32),
    /// It is not done and returns this.
    Return(u32),
}

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Takes the next call that waits, or waits for one. `into` must be all zeros.
    ///
    /// # Safety
    /// `into` can be written.
    pub(super) unsafe fn receive(&self, into: *mut seccomp_notif) -> io::Result<()> {
        // SAFETY: the caller's.
        unsafe { self.ioctl(RECV, into.cast()) }
    }

    /// Answers a call. Fails with ENOENT when nobody waits any more.
    pub(super) fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        let go_on = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(0);
        let (val, error, flags) = match answer {
            Answer::GoOn => (0, 0, go_on),
            Answer::Fail(errno) => (0, -errno.cast_signed(), 0),
            Answer::Return(value) => (i64::from(value), 0, 0),
        };
        let mut answer = seccomp_notif_resp {
            id,
            val,
            error,
            flags,
        };
        // SAFETY: an answer of the size in the request's number.
        unsafe { self.ioctl(SEND, (&raw mut answer).cast()) }
    }

    /// Whether the caller still waits, so that its pid has not passed on.
    pub(super) fn is_waiting(&self, mut id: u64) -> bool {
        // SAFETY: an id of the size in the request's number.
        unsafe { self.ioctl(ID_VALID, (&raw mut id).cast()) }.is_ok()
    }

    /// Has the kernel switch to whoever is asked or answered at once, which is most of what a call
    /// costs. Since 6.6; without it all works as well.
    pub(super) fn hurry(&self) {
        // SAFETY: takes a number.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
    }

    /// # Safety
    /// The request's argument has the size and the contents that it wants.
    unsafe fn ioctl(&self, request: c_ulong, argument: *mut libc::c_void) -> io::Result<()> {
        loop {
            // SAFETY: the caller's.
            if unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) } >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is ready among some descriptors, in their order; waits for the first at most so long, or for
/// ever.
pub(super) fn poll<const N: usize>(
    fds: [RawFd; N],
    timeout: Option<Duration>,
) -> io::Result<[i16; N]> {
    let mut entries = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let number = libc::nfds_t::try_from(N).unwrap_or(0);
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: so many valid entries, a time that lives longer than the call or none, and no signals.
    if unsafe { libc::ppoll(entries.as_mut_ptr(), number, timeout, ptr::null()) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok([0; N]);
    }
    Ok(entries.map(|entry| entry.revents))
}
