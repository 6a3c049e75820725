//! Opens, reads, writes and connects by system calls and by a ring, and says with which errno each
//! ended.
//!
//! - `ringer FOLDER PORT WAY…`, by `calls`, by a ring `inline`, or by its `workers`: `WAY OP ERRNO`
//! - `ringer FOLDER`: an open by a worker that was started while the thread was in an openat, see
//!   [`behind_an_openat`]
//!
//! In the folder are `opened`, which is opened only in these ways, and with `O_NOCTTY`, so that a filter
//! can tell them; `used`, of [`BYTES`], and what else a way needs.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, and tells by lines"
)]

use std::{
    ffi::{CStr, CString},
    fs, io,
    net::Ipv4Addr,
    os::fd::IntoRawFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use kchaos_tests::ring::{Entry, Ring};

/// More than the dynamic loader reads of a library at once.
const BYTES: usize = 8192;
const FLAGS: i32 = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, rest) = arguments.split_first().expect("a folder");
    let folder = Path::new(folder);
    let Some((port, ways)) = rest.split_first() else {
        return behind_an_openat(folder);
    };
    let mut place = Place::new(folder, port.parse().expect("a port"));
    let ring = Ring::new().expect("a ring");
    let mut told = Vec::new();
    for way in ways {
        let errnos = match way.as_str() {
            "calls" => place.by_calls(),
            "inline" => place.by_ring(ring, |entry| entry),
            "workers" => place.by_ring(ring, Entry::by_worker),
            _ => panic!("no way {way}"),
        };
        for (op, errno) in ["open", "read", "write", "connect"].iter().zip(errnos) {
            told.push(format!("{way} {op} {errno}"));
        }
    }
    // At once: a write is one of the operations.
    println!("{}", told.join("\n"));
}

/// What the operations are about.
struct Place {
    opened: CString,
    used: i32,
    peer: libc::sockaddr_in,
    buffer: Vec<u8>,
}

impl Place {
    fn new(folder: &Path, port: u16) -> Self {
        let used = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.join("used"));
        Self {
            opened: name(folder, "opened"),
            used: used.expect("a file to read and write").into_raw_fd(),
            peer: libc::sockaddr_in {
                sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("a small number"),
                sin_port: port.to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
                },
                sin_zero: [0; 8],
            },
            buffer: vec![0; BYTES],
        }
    }

    fn by_calls(&mut self) -> [i32; 4] {
        let length = libc::socklen_t::try_from(size_of_val(&self.peer)).expect("a small number");
        // SAFETY: everything that is pointed to is this object's own.
        unsafe {
            [
                errno(libc::open(self.opened.as_ptr(), FLAGS).into()),
                errno(libc::read(self.used, self.buffer.as_mut_ptr().cast(), BYTES) as i64),
                errno(libc::write(self.used, self.buffer.as_ptr().cast(), BYTES) as i64),
                errno(libc::connect(socket(), (&raw const self.peer).cast(), length).into()),
            ]
        }
    }

    fn by_ring(&mut self, ring: Ring, way: fn(Entry) -> Entry) -> [i32; 4] {
        let open = Entry::open(&self.opened, FLAGS);
        let read = Entry::read(self.used, &mut self.buffer);
        let write = Entry::write(self.used, &self.buffer);
        let connect = Entry::connect(socket(), &self.peer);
        [open, read, write, connect].map(|entry| {
            // SAFETY: this object lives until the operation has ended.
            unsafe { ring.submit(&[way(entry)]) }.expect("an operation is taken");
            let (_token, errno) = ring.wait().expect("the operation ends");
            errno
        })
    }
}

fn socket() -> i32 {
    // SAFETY: takes integers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    assert!(socket >= 0, "no socket");
    socket
}

/// With which errno a call failed; 0 when it did not.
fn errno(result: i64) -> i32 {
    let error = io::Error::last_os_error();
    if result < 0 {
        error.raw_os_error().unwrap_or(i32::MAX)
    } else {
        0
    }
}

fn name(folder: &Path, name: &str) -> CString {
    CString::new(folder.join(name).display().to_string()).expect("a path without a zero")
}

/// A worker shows the registers of the thread that has started it, as they were then. Workers are started
/// where the thread gives operations to the ring, or where it happens to be when one is missing: in an
/// openat here. That is made to be so by three fifos, whose opens last until somebody opens the other
/// end, and by the limit of workers:
///
/// - the only worker opens `fifo-1`, and has two opens behind that: of `fifo-2` and of `opened`;
/// - the thread opens `fifo-3` by a call of its own;
/// - the limit is raised, and `fifo-1` let go: the worker opens `fifo-2`, somebody is missing, and that
///   one is started in the openat of the thread, and opens `opened`.
///
/// Says `started-in` and the numbers of the calls that the workers show, `worker` and the errno of that
/// open, and `call` with the errno of the same by a call.
fn behind_an_openat(folder: &Path) {
    /// The token of the open that it is about.
    const OPENED: u64 = 1;
    let opened = name(folder, "opened");
    let fifos = [1, 2, 3].map(|number| name(folder, &format!("fifo-{number}")));
    let ring = Ring::new().expect("a ring");
    ring.limit_workers(1).expect("a limit");
    let opens = [
        Entry::open(&fifos[0], libc::O_RDONLY),
        Entry::open(&fifos[1], libc::O_RDONLY),
        Entry::open(&opened, FLAGS).with_token(OPENED),
    ]
    .map(Entry::by_worker);
    // SAFETY: the names live until the end.
    unsafe { ring.submit(&opens) }.expect("opens are taken");
    let main_thread = Path::new("/proc/self/task").join(std::process::id().to_string());
    let [first, second, third] = fifos.clone();
    let helper = thread::spawn(move || {
        until(|| call_of(&main_thread) == Some(libc::SYS_openat));
        ring.limit_workers(2).expect("a limit");
        open(&first, libc::O_WRONLY);
        until(|| workers().len() == 2);
        let (worker, started_in) = (ring, calls_of_workers());
        let errno = loop {
            let (token, errno) = worker.wait().expect("an open ends");
            if token == OPENED {
                break errno;
            }
        };
        open(&second, libc::O_WRONLY);
        open(&third, libc::O_WRONLY);
        (started_in, errno)
    });
    open(&fifos[2], libc::O_RDONLY);
    let (started_in, worker) = helper.join().expect("the helper ends");
    println!("started-in {started_in:?}");
    println!("worker {worker}");
    println!("call {}", open(&opened, FLAGS));
}

fn open(path: &CStr, flags: i32) -> i32 {
    // SAFETY: the path ends in a zero.
    errno(unsafe { libc::open(path.as_ptr(), flags) }.into())
}

fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// The folders in /proc of the ring's workers.
fn workers() -> Vec<PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
    tasks
        .filter_map(|task| Some(task.ok()?.path()))
        .filter(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("iou-wrk"))
        })
        .collect()
}

/// The number of the call that a thread that sleeps is in, or whose registers it has.
fn call_of(task: &Path) -> Option<i64> {
    let text = fs::read_to_string(task.join("syscall")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn calls_of_workers() -> Vec<i64> {
    let mut calls = Vec::new();
    until(|| {
        let found: Option<Vec<i64>> = workers().iter().map(|task| call_of(task)).collect();
        calls = found.unwrap_or_default();
        calls.len() == 2
    });
    calls.sort_unstable();
    calls
}
