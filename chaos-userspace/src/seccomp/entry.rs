//! The command's side: how a child enters the filter between its fork and its exec.

use std::{
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use libc::{c_long, c_ulong, sock_filter};

use super::{
    filter::{self, Key},
    mark,
};

/// Room for one descriptor in a control message, aligned as it wants to be.
type Control = [u64; 4];

/// Bytes of a greeting: pid, errno, whether `no_new_privs` was set.
const GREETING: usize = 12;

/// What a child has to do to enter a filter. Made before the fork, because nothing can be allocated
/// behind it.
#[derive(Debug)]
pub(crate) struct Entry {
    program: Vec<sock_filter>,
    key: Key,
    mark: mark::Mark,
}

/// What a child says when it is ready for its exec.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// The child's.
    pub(crate) pid: i32,
    /// What came of the filter, if it was to enter one.
    pub(crate) entered: io::Result<Option<OwnedFd>>,
    /// It had to give up gaining privileges.
    pub(crate) no_new_privs: bool,
}

impl Entry {
    /// For a filter that asks about these calls.
    pub(crate) fn new(calls: &[u32]) -> io::Result<Self> {
        let key = Key::draw()?;
        Ok(Self {
            program: filter::program(calls, key),
            key,
            mark: mark::Mark::this(),
        })
    }

    /// In the child: enters the filter, says so, and waits until it may go on. From here to the exec
    /// every call carries the key, because nobody answers yet: also what goes wrong ends the child
    /// without a further call.
    ///
    /// Allocates nothing and takes no lock.
    pub(crate) fn enter(&self, ready: RawFd, go: RawFd) {
        self.mark.set();
        let mut listener = None;
        let mut greeting = [0; 3];
        // SAFETY: takes nothing.
        greeting[0] = unsafe { libc::getpid() };
        match self.install() {
            Ok((fd, no_new_privs)) => {
                listener = Some(fd);
                greeting[2] = i32::from(no_new_privs);
            }
            Err(errno) => greeting[1] = errno,
        }
        // The listener itself closes with the exec: the kernel gives it out like that.
        if self.say(ready, greeting, listener).is_none() || !self.wait(go) {
            // SAFETY: ends the child.
            unsafe { libc::_exit(127) };
        }
    }

    /// The listener, and whether `no_new_privs` had to be set.
    fn install(&self) -> Result<(RawFd, bool), i32> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).map_err(|_too_long| libc::E2BIG)?,
            filter: self.program.as_ptr().cast_mut(),
        };
        // A signal that comes while the call is being decided would have it made again, and counted
        // again; since 5.19 that can be had otherwise.
        let mut flags =
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        let mut no_new_privs = false;
        loop {
            let operation = libc::SECCOMP_SET_MODE_FILTER;
            // SAFETY: the program lives longer than the call.
            let fd =
                unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
            if let Ok(fd @ 0..) = RawFd::try_from(fd) {
                return Ok((fd, no_new_privs));
            }
            match errno() {
                libc::EACCES if !no_new_privs => {
                    let (yes, none): (c_ulong, c_ulong) = (1, 0);
                    // SAFETY: takes integers.
                    let set =
                        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) };
                    if set != 0 {
                        return Err(errno());
                    }
                    no_new_privs = true;
                }
                libc::EINVAL if flags != libc::SECCOMP_FILTER_FLAG_NEW_LISTENER => {
                    flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
                }
                other => return Err(other),
            }
        }
    }

    /// Sends the greeting, with the listener if there is one.
    fn say(&self, to: RawFd, greeting: [i32; 3], listener: Option<RawFd>) -> Option<()> {
        let mut control: Control = [0; 4];
        let mut data = libc::iovec {
            iov_base: greeting.as_ptr().cast_mut().cast(),
            iov_len: GREETING,
        };
        let mut message = message(&mut data, &mut control);
        match listener {
            // SAFETY: the control buffer has room for one header with one descriptor.
            Some(fd) => unsafe {
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
                libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
            },
            None => message.msg_controllen = 0,
        }
        let at: *const libc::msghdr = &raw const message;
        let sent = self.call(
            libc::SYS_sendmsg,
            to,
            at as usize,
            libc::MSG_NOSIGNAL as usize,
        );
        (usize::try_from(sent) == Ok(GREETING)).then_some(())
    }

    /// Whether the word came, and not the end of whoever was to give it.
    fn wait(&self, go: RawFd) -> bool {
        let mut byte = 0_u8;
        loop {
            let at: *mut u8 = &raw mut byte;
            match self.call(libc::SYS_read, go, at as usize, 1) {
                1 => return true,
                -1 if errno() == libc::EINTR => {}
                _ => return false,
            }
        }
    }

    /// A call that the filter lets pass.
    fn call(&self, number: c_long, fd: RawFd, second: usize, third: usize) -> c_long {
        let [first_word, second_word] = self.key.0;
        // SAFETY: the callers pass what these calls want.
        unsafe { libc::syscall(number, fd, second, third, 0_u64, first_word, second_word) }
    }
}

impl Greeting {
    /// In the parent: waits for what the child says. An error when it ends without a word.
    pub(crate) fn receive(from: &UnixStream) -> io::Result<Self> {
        let mut greeting = [0_i32; 3];
        let mut control: Control = [0; 4];
        let mut data = libc::iovec {
            iov_base: greeting.as_mut_ptr().cast(),
            iov_len: GREETING,
        };
        let mut message = message(&mut data, &mut control);
        let got = loop {
            // SAFETY: a message with room for data and control.
            let got = unsafe {
                libc::recvmsg(from.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
            };
            if got >= 0 || errno() != libc::EINTR {
                break got;
            }
        };
        if usize::try_from(got) != Ok(GREETING) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the kernel has filled the control buffer in.
        let listener = unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (!header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS).then(|| {
                let fd = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
                OwnedFd::from_raw_fd(fd)
            })
        };
        let [pid, errno, no_new_privs] = greeting;
        Ok(Self {
            pid,
            entered: match errno {
                0 => Ok(listener),
                errno => Err(io::Error::from_raw_os_error(errno)),
            },
            no_new_privs: no_new_privs != 0,
        })
    }

    /// The same greeting of a child that enters no filter.
    pub(crate) fn plain(pid: i32) -> [u8; GREETING] {
        let mut bytes = [0; GREETING];
        bytes[..4].copy_from_slice(&pid.to_ne_bytes());
        bytes
    }
}

fn message(data: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zeros is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: computes a size.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as usize;
    message
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
