//! System calls that a small program makes, each with arguments that do no harm, so that what a fault
//! does to each of them can be compared with what it does without one.

use std::{
    ffi::CString,
    fs, io,
    net::UdpSocket,
    os::fd::{AsRawFd as _, IntoRawFd as _, RawFd},
    path::Path,
};

/// How often all calls are made: each time with names of its own, because some calls use theirs up.
pub const ROUNDS: usize = 3;

/// What the calls are made on. Made before, because the calls that make it may fail later.
#[derive(Debug)]
pub struct Fixture {
    pid: u32,
    file: RawFd,
    directory: RawFd,
    socket: RawFd,
    connecting: RawFd,
    listening: RawFd,
    unbound: [RawFd; ROUNDS],
    known: CString,
    /// Names that exist, for the calls that remove them, and names that do not.
    there: [Vec<CString>; ROUNDS],
    new: [Vec<CString>; ROUNDS],
    buffer: Box<[u8; 4096]>,
    /// One `iovec` over the buffer, and a `msghdr` of it.
    vector: Box<libc::iovec>,
    message: Box<libc::msghdr>,
}

/// Names of each sort that one round may use.
const NAMES: usize = 13;

impl Fixture {
    /// Makes it in an empty folder.
    pub fn new(folder: &Path) -> Self {
        let name = |text: String| CString::new(folder.join(text).display().to_string()).unwrap();
        let known = folder.join("known");
        fs::write(&known, "known").unwrap();
        let names = |sort: &str| {
            std::array::from_fn(|round| {
                (0..NAMES)
                    .map(|index| name(format!("{sort}-{round}-{index}")))
                    .collect()
            })
        };
        let there: [Vec<CString>; ROUNDS] = names("there");
        for name in there.iter().flat_map(|names| &names[..NAMES / 2]) {
            fs::write(name.to_str().unwrap(), "x").unwrap();
        }
        for name in there.iter().flat_map(|names| &names[NAMES / 2..]) {
            fs::create_dir(name.to_str().unwrap()).unwrap();
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listening.set_nonblocking(true).unwrap();
        let mut buffer = Box::new([0_u8; 4096]);
        let mut vector = Box::new(libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: 1,
        });
        // SAFETY: plain integers and pointers, for which all zeros means nothing.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        message.msg_iov = &raw mut *vector;
        message.msg_iovlen = 1;
        let open = fs::OpenOptions::new().read(true).write(true).open(&known);
        Self {
            pid: std::process::id(),
            file: open.unwrap().into_raw_fd(),
            directory: fs::File::open(folder).unwrap().into_raw_fd(),
            socket: socket.into_raw_fd(),
            connecting: UdpSocket::bind("127.0.0.1:0").unwrap().into_raw_fd(),
            listening: listening.into_raw_fd(),
            unbound: std::array::from_fn(|_| unbound()),
            known: CString::new(known.display().to_string()).unwrap(),
            there,
            new: names("new"),
            buffer,
            vector,
            message,
        }
    }
}

fn unbound() -> RawFd {
    // SAFETY: takes integers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd.as_raw_fd() >= 0, "{}", io::Error::last_os_error());
    fd
}

/// Makes a call, and says with which errno it failed; 0 when it did not.
fn raw(number: i64, arguments: &[i64]) -> u16 {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: each call of the table has arguments that are as it wants them.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if result != -1 {
        return 0;
    }
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    u16::try_from(errno).unwrap_or(u16::MAX)
}

/// The same for a call that returns twice: the child ends at once.
fn forking(number: i64, arguments: &[i64]) -> u16 {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: the child has a copy of everything, and makes one call.
    unsafe {
        match libc::syscall(number, at(0), at(1), at(2), at(3), at(4)) {
            -1 => raw_errno(),
            0 => {
                libc::syscall(libc::SYS_exit_group, 0);
                unreachable!("the child has ended")
            }
            child => {
                libc::syscall(libc::SYS_wait4, child, 0, 0, 0);
                0
            }
        }
    }
}

fn raw_errno() -> u16 {
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    u16::try_from(errno).unwrap_or(u16::MAX)
}

/// The first of the calls about which the kernel asks no security module, or more than once: all
/// before it are asked about exactly once.
pub const FIRST_UNASKED: &str = "access";

/// A call by its name, and how it is made in a round.
pub type Made = (&'static str, fn(&Fixture, usize) -> u16);

macro_rules! calls {
    ($($name:ident $number:ident $make:ident |$f:ident, $r:ident| [$($argument:expr),* $(,)?];)*) => {
        /// The calls.
        #[allow(clippy::as_conversions, clippy::cast_possible_wrap, clippy::ptr_as_ptr,
            clippy::cast_lossless, clippy::unnecessary_cast, unused_variables,
            reason = "arguments of system calls are words")]
        pub const CALLS: &[Made] = &[$((stringify!($name), |$f, $r| {
            $make(libc::$number, &[$($argument as i64),*])
        }),)*];
    };
}

const HERE: i32 = libc::AT_FDCWD;
/// `sockaddr_in` of 127.0.0.1 with any port.
static LOCAL: [u8; 16] = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
/// The same with a port.
static PEER: [u8; 16] = [2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
/// `struct open_how` with all zeros reads.
static HOW: [u64; 3] = [0; 3];
/// `struct clone_args` of a plain fork.
static CLONE: [u64; 8] = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
static ZERO_TIME: [i64; 2] = [0; 2];
static LENGTH: [u32; 1] = [64];

calls! {
    open SYS_open raw |f, r| [f.known.as_ptr(), libc::O_CLOEXEC];
    openat SYS_openat raw |f, r| [HERE, f.new[r][0].as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600];
    openat2 SYS_openat2 raw |f, r| [HERE, f.known.as_ptr(), HOW.as_ptr(), 24];
    creat SYS_creat raw |f, r| [f.new[r][1].as_ptr(), 0o600];
    read SYS_read raw |f, r| [f.file, f.buffer.as_ptr(), 1];
    pread64 SYS_pread64 raw |f, r| [f.file, f.buffer.as_ptr(), 1, 0];
    readv SYS_readv raw |f, r| [f.file, &raw const *f.vector, 1];
    preadv SYS_preadv raw |f, r| [f.file, &raw const *f.vector, 1, 0];
    preadv2 SYS_preadv2 raw |f, r| [f.file, &raw const *f.vector, 1, 0, 0, 0];
    write SYS_write raw |f, r| [f.file, f.buffer.as_ptr(), 1];
    pwrite64 SYS_pwrite64 raw |f, r| [f.file, f.buffer.as_ptr(), 1, 0];
    writev SYS_writev raw |f, r| [f.file, &raw const *f.vector, 1];
    pwritev SYS_pwritev raw |f, r| [f.file, &raw const *f.vector, 1, 0];
    pwritev2 SYS_pwritev2 raw |f, r| [f.file, &raw const *f.vector, 1, 0, 0, 0];
    getdents SYS_getdents raw |f, r| [f.directory, f.buffer.as_ptr(), 4096];
    getdents64 SYS_getdents64 raw |f, r| [f.directory, f.buffer.as_ptr(), 4096];
    fallocate SYS_fallocate raw |f, r| [f.file, 0, 0, 8];
    ioctl SYS_ioctl raw |f, r| [f.file, libc::FIONREAD, f.buffer.as_ptr()];
    fcntl SYS_fcntl raw |f, r| [f.file, libc::F_GETFD];
    flock SYS_flock raw |f, r| [f.file, libc::LOCK_UN];
    mmap SYS_mmap raw |f, r| [0, 4096, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0];
    clone SYS_clone forking |f, r| [libc::SIGCHLD];
    clone3 SYS_clone3 forking |f, r| [CLONE.as_ptr(), 64];
    fork SYS_fork forking |f, r| [];
    socket SYS_socket raw |f, r| [libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0];
    bind SYS_bind raw |f, r| [f.unbound[r], LOCAL.as_ptr(), 16];
    listen SYS_listen raw |f, r| [f.listening, 8];
    connect SYS_connect raw |f, r| [f.connecting, PEER.as_ptr(), 16];
    accept SYS_accept raw |f, r| [f.listening, 0, 0];
    accept4 SYS_accept4 raw |f, r| [f.listening, 0, 0, 0];
    sendto SYS_sendto raw |f, r| [f.socket, f.buffer.as_ptr(), 1, 0, 0, 0];
    sendmsg SYS_sendmsg raw |f, r| [f.socket, &raw const *f.message, 0];
    recvfrom SYS_recvfrom raw |f, r| [f.socket, f.buffer.as_ptr(), 1, libc::MSG_DONTWAIT, 0, 0];
    recvmsg SYS_recvmsg raw |f, r| [f.socket, &raw const *f.message, libc::MSG_DONTWAIT];
    shutdown SYS_shutdown raw |f, r| [f.unbound[r], libc::SHUT_RDWR];
    getsockname SYS_getsockname raw |f, r| [f.socket, f.buffer.as_ptr(), LENGTH.as_ptr()];
    getpeername SYS_getpeername raw |f, r| [f.listening, f.buffer.as_ptr(), LENGTH.as_ptr()];
    getsockopt SYS_getsockopt raw |f, r| [f.socket, libc::SOL_SOCKET, libc::SO_TYPE, f.buffer.as_ptr(), LENGTH.as_ptr()];
    setsockopt SYS_setsockopt raw |f, r| [f.socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, HOW.as_ptr(), 4];
    mkdir SYS_mkdir raw |f, r| [f.new[r][2].as_ptr(), 0o700];
    mkdirat SYS_mkdirat raw |f, r| [HERE, f.new[r][3].as_ptr(), 0o700];
    mknod SYS_mknod raw |f, r| [f.new[r][4].as_ptr(), libc::S_IFIFO | 0o600, 0];
    mknodat SYS_mknodat raw |f, r| [HERE, f.new[r][5].as_ptr(), libc::S_IFIFO | 0o600, 0];
    rmdir SYS_rmdir raw |f, r| [f.there[r][6].as_ptr()];
    unlink SYS_unlink raw |f, r| [f.there[r][0].as_ptr()];
    unlinkat SYS_unlinkat raw |f, r| [HERE, f.there[r][7].as_ptr(), libc::AT_REMOVEDIR];
    rename SYS_rename raw |f, r| [f.there[r][1].as_ptr(), f.new[r][6].as_ptr()];
    renameat SYS_renameat raw |f, r| [HERE, f.there[r][2].as_ptr(), HERE, f.new[r][7].as_ptr()];
    renameat2 SYS_renameat2 raw |f, r| [HERE, f.there[r][3].as_ptr(), HERE, f.new[r][8].as_ptr(), 0];
    link SYS_link raw |f, r| [f.known.as_ptr(), f.new[r][9].as_ptr()];
    linkat SYS_linkat raw |f, r| [HERE, f.known.as_ptr(), HERE, f.new[r][10].as_ptr(), 0];
    symlink SYS_symlink raw |f, r| [f.known.as_ptr(), f.new[r][11].as_ptr()];
    symlinkat SYS_symlinkat raw |f, r| [f.known.as_ptr(), HERE, f.new[r][12].as_ptr()];
    truncate SYS_truncate raw |f, r| [f.known.as_ptr(), 64];
    chmod SYS_chmod raw |f, r| [f.known.as_ptr(), 0o600];
    fchmod SYS_fchmod raw |f, r| [f.file, 0o600];
    fchmodat SYS_fchmodat raw |f, r| [HERE, f.known.as_ptr(), 0o600];
    chown SYS_chown raw |f, r| [f.known.as_ptr(), -1, -1];
    lchown SYS_lchown raw |f, r| [f.known.as_ptr(), -1, -1];
    fchown SYS_fchown raw |f, r| [f.file, -1, -1];
    fchownat SYS_fchownat raw |f, r| [HERE, f.known.as_ptr(), -1, -1, 0];
    chroot SYS_chroot raw |f, r| [c"/".as_ptr()];
    stat SYS_stat raw |f, r| [f.known.as_ptr(), f.buffer.as_ptr()];
    lstat SYS_lstat raw |f, r| [f.known.as_ptr(), f.buffer.as_ptr()];
    fstat SYS_fstat raw |f, r| [f.file, f.buffer.as_ptr()];
    newfstatat SYS_newfstatat raw |f, r| [HERE, f.known.as_ptr(), f.buffer.as_ptr(), 0];
    statx SYS_statx raw |f, r| [HERE, f.known.as_ptr(), 0, libc::STATX_BASIC_STATS, f.buffer.as_ptr()];
    statfs SYS_statfs raw |f, r| [f.known.as_ptr(), f.buffer.as_ptr()];
    fstatfs SYS_fstatfs raw |f, r| [f.file, f.buffer.as_ptr()];

    access SYS_access raw |f, r| [f.known.as_ptr(), 0];
    brk SYS_brk raw |f, r| [0];
    capget SYS_capget raw |f, r| [f.buffer.as_ptr(), 0];
    clock_getres SYS_clock_getres raw |f, r| [0, f.buffer.as_ptr()];
    clock_gettime SYS_clock_gettime raw |f, r| [0, f.buffer.as_ptr()];
    clock_nanosleep SYS_clock_nanosleep raw |f, r| [0, 0, ZERO_TIME.as_ptr(), 0];
    close SYS_close raw |f, r| [-1];
    close_range SYS_close_range raw |f, r| [4000, 4001, 0];
    copy_file_range SYS_copy_file_range raw |f, r| [f.file, 0, f.file, 0, 0, 0];
    dup SYS_dup raw |f, r| [f.file];
    dup2 SYS_dup2 raw |f, r| [f.file, 100 + r];
    dup3 SYS_dup3 raw |f, r| [f.file, 110 + r, 0];
    epoll_create1 SYS_epoll_create1 raw |f, r| [0];
    epoll_wait SYS_epoll_wait raw |f, r| [-1, 0, 0, 0];
    eventfd2 SYS_eventfd2 raw |f, r| [0, 0];
    faccessat SYS_faccessat raw |f, r| [HERE, f.known.as_ptr(), 0];
    fadvise64 SYS_fadvise64 raw |f, r| [f.file, 0, 0, 0];
    fdatasync SYS_fdatasync raw |f, r| [f.file];
    fsync SYS_fsync raw |f, r| [f.file];
    ftruncate SYS_ftruncate raw |f, r| [f.file, 64];
    futex SYS_futex raw |f, r| [LENGTH.as_ptr(), libc::FUTEX_WAKE, 1];
    getcpu SYS_getcpu raw |f, r| [0, 0, 0];
    getcwd SYS_getcwd raw |f, r| [f.buffer.as_ptr(), 4096];
    getegid SYS_getegid raw |f, r| [];
    geteuid SYS_geteuid raw |f, r| [];
    getgid SYS_getgid raw |f, r| [];
    getgroups SYS_getgroups raw |f, r| [0, 0];
    getpgid SYS_getpgid raw |f, r| [0];
    getpid SYS_getpid raw |f, r| [];
    getppid SYS_getppid raw |f, r| [];
    getrandom SYS_getrandom raw |f, r| [f.buffer.as_ptr(), 8, 0];
    getresuid SYS_getresuid raw |f, r| [f.buffer.as_ptr(), f.buffer[8..].as_ptr(), f.buffer[16..].as_ptr()];
    getrlimit SYS_getrlimit raw |f, r| [7, f.buffer.as_ptr()];
    getrusage SYS_getrusage raw |f, r| [0, f.buffer.as_ptr()];
    getsid SYS_getsid raw |f, r| [0];
    gettid SYS_gettid raw |f, r| [];
    gettimeofday SYS_gettimeofday raw |f, r| [f.buffer.as_ptr(), 0];
    getuid SYS_getuid raw |f, r| [];
    getxattr SYS_getxattr raw |f, r| [f.known.as_ptr(), c"user.none".as_ptr(), 0, 0];
    inotify_init1 SYS_inotify_init1 raw |f, r| [0];
    kill SYS_kill raw |f, r| [f.pid, 0];
    lseek SYS_lseek raw |f, r| [f.file, 0, 0];
    madvise SYS_madvise raw |f, r| [0, 0, 0];
    memfd_create SYS_memfd_create raw |f, r| [c"x".as_ptr(), 0];
    mincore SYS_mincore raw |f, r| [0, 0, 0];
    mlock SYS_mlock raw |f, r| [f.buffer.as_ptr(), 0];
    mprotect SYS_mprotect raw |f, r| [0, 0, 0];
    msync SYS_msync raw |f, r| [0, 0, libc::MS_ASYNC];
    munmap SYS_munmap raw |f, r| [4096, 4096];
    nanosleep SYS_nanosleep raw |f, r| [ZERO_TIME.as_ptr(), 0];
    pipe SYS_pipe raw |f, r| [f.buffer.as_ptr()];
    pipe2 SYS_pipe2 raw |f, r| [f.buffer.as_ptr(), 0];
    poll SYS_poll raw |f, r| [0, 0, 0];
    ppoll SYS_ppoll raw |f, r| [0, 0, ZERO_TIME.as_ptr(), 0, 8];
    prctl SYS_prctl raw |f, r| [libc::PR_GET_DUMPABLE];
    prlimit64 SYS_prlimit64 raw |f, r| [0, 7, 0, f.buffer.as_ptr()];
    pselect6 SYS_pselect6 raw |f, r| [0, 0, 0, 0, ZERO_TIME.as_ptr(), 0];
    readahead SYS_readahead raw |f, r| [f.file, 0, 1];
    readlink SYS_readlink raw |f, r| [c"/proc/self/exe".as_ptr(), f.buffer.as_ptr(), 4096];
    readlinkat SYS_readlinkat raw |f, r| [HERE, c"/proc/self/exe".as_ptr(), f.buffer.as_ptr(), 4096];
    rt_sigaction SYS_rt_sigaction raw |f, r| [libc::SIGUSR2, 0, f.buffer.as_ptr(), 8];
    rt_sigpending SYS_rt_sigpending raw |f, r| [f.buffer.as_ptr(), 8];
    rt_sigprocmask SYS_rt_sigprocmask raw |f, r| [0, 0, f.buffer.as_ptr(), 8];
    sched_getaffinity SYS_sched_getaffinity raw |f, r| [0, 128, f.buffer.as_ptr()];
    sched_getparam SYS_sched_getparam raw |f, r| [0, f.buffer.as_ptr()];
    sched_yield SYS_sched_yield raw |f, r| [];
    select SYS_select raw |f, r| [0, 0, 0, 0, ZERO_TIME.as_ptr()];
    sendfile SYS_sendfile raw |f, r| [f.socket, f.file, 0, 1];
    setpriority SYS_setpriority raw |f, r| [0, 0, 0];
    setxattr SYS_setxattr raw |f, r| [f.known.as_ptr(), c"user.x".as_ptr(), c"x".as_ptr(), 1, 0];
    signalfd4 SYS_signalfd4 raw |f, r| [-1, f.buffer.as_ptr(), 8, 0];
    socketpair SYS_socketpair raw |f, r| [libc::AF_UNIX, libc::SOCK_STREAM, 0, f.buffer.as_ptr()];
    splice SYS_splice raw |f, r| [-1, 0, -1, 0, 1, 0];
    sync_file_range SYS_sync_file_range raw |f, r| [f.file, 0, 1, 0];
    sysinfo SYS_sysinfo raw |f, r| [f.buffer.as_ptr()];
    tgkill SYS_tgkill raw |f, r| [f.pid, f.pid, 0];
    time SYS_time raw |f, r| [0];
    timerfd_create SYS_timerfd_create raw |f, r| [libc::CLOCK_MONOTONIC, 0];
    times SYS_times raw |f, r| [f.buffer.as_ptr()];
    umask SYS_umask raw |f, r| [0o22];
    uname SYS_uname raw |f, r| [f.buffer.as_ptr()];
    utimensat SYS_utimensat raw |f, r| [HERE, f.known.as_ptr(), 0, 0];
    waitid SYS_waitid raw |f, r| [libc::P_ALL, 0, 0, libc::WEXITED | libc::WNOHANG, 0];
}
