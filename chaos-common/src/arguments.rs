//! Where the arguments lie that filters are about, for x86-64's system calls by their numbers.
//!
//! Written as comparisons: a table would be one more map of every object.

/// Whether a call's first argument is a descriptor.
#[inline(always)]
#[must_use]
pub const fn has_descriptor(call: u64) -> bool {
    matches!(
        call,
        // read, write, close, fstat, lseek, ioctl, pread64, pwrite64, readv, writev, dup, dup2
        0 | 1 | 3 | 5 | 8 | 16..=20 | 32 | 33
        // sendfile, connect, accept, sendto, recvfrom, sendmsg, recvmsg, shutdown, bind, listen,
        // getsockname, getpeername, setsockopt, getsockopt
        | 40 | 42..=52 | 54 | 55
        // fcntl, flock, fsync, fdatasync, ftruncate, getdents, fchdir, fchmod, fchown, fstatfs
        | 72..=75 | 77 | 78 | 81 | 91 | 93 | 138
        // readahead, fsetxattr, fgetxattr, flistxattr, fremovexattr, getdents64, fadvise64
        | 187 | 190 | 193 | 196 | 199 | 217 | 221
        // epoll_wait, epoll_ctl, splice, tee, sync_file_range, vmsplice, epoll_pwait, fallocate
        | 232 | 233 | 275..=278 | 281 | 285
        // timerfd_settime, timerfd_gettime, accept4, dup3, preadv, pwritev, recvmmsg, syncfs, sendmmsg
        | 286..=288 | 292 | 295 | 296 | 299 | 306 | 307
        // copy_file_range, preadv2, pwritev2, epoll_pwait2
        | 326..=328 | 441
    )
}

/// Which argument, from 0, says how many bytes.
#[inline(always)]
#[must_use]
pub const fn size(call: u64) -> Option<usize> {
    match call {
        // getrandom
        318 => Some(1),
        // read, write, pread64, pwrite64, sendto, recvfrom, readahead, tee
        0 | 1 | 17 | 18 | 44 | 45 | 187 | 276 => Some(2),
        // sendfile
        40 => Some(3),
        // splice, copy_file_range
        275 | 326 => Some(4),
        _ => None,
    }
}

/// Where a call that opens files says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFlags {
    /// In this argument, from 0.
    Argument(usize),
    /// In the first word of the structure that this argument points to.
    Pointed(usize),
    /// They are always the same.
    Always(u32),
}

/// Where a call has the flags of an open.
#[inline(always)]
#[must_use]
pub const fn open_flags(call: u64) -> Option<OpenFlags> {
    match call {
        // open
        2 => Some(OpenFlags::Argument(1)),
        // openat
        257 => Some(OpenFlags::Argument(2)),
        // openat2
        437 => Some(OpenFlags::Pointed(2)),
        // creat: O_CREAT, O_WRONLY and O_TRUNC (fs/open.c)
        85 => Some(OpenFlags::Always(0o1101)),
        _ => None,
    }
}

/// Where a call says whom it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The address that this argument points to, whose length is the next one.
    Address(usize),
    /// The same, or where there is none whom the socket is connected to.
    AddressOrSocket(usize),
    /// The address in the `msghdr` that this argument points to, or else as above.
    Message(usize),
    /// Whom the socket is connected to that the first argument says.
    Socket,
}

/// Where a call says whom it talks to; of `bind` its address is taken.
#[inline(always)]
#[must_use]
pub const fn peer(call: u64) -> Option<Peer> {
    match call {
        // connect, bind
        42 | 49 => Some(Peer::Address(1)),
        // sendto
        44 => Some(Peer::AddressOrSocket(4)),
        // sendmsg
        46 => Some(Peer::Message(1)),
        // read, write, close, readv, writev, sendfile, recvfrom, recvmsg, shutdown, getsockname,
        // getpeername, setsockopt, getsockopt, recvmmsg
        0 | 1 | 3 | 19 | 20 | 40 | 45 | 47 | 48 | 51 | 52 | 54 | 55 | 299 => Some(Peer::Socket),
        _ => None,
    }
}
