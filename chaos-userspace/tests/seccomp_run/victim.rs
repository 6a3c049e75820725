//! What this test program does when it is the command of a run.

use std::{
    env, fs,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::slow;

/// Set for victims.
pub(crate) const VARIABLE: &str = "KCHAOS_TEST_VICTIM";

/// Called before `main` (`System V ABI`), so that the test harness makes no calls in between.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    if env::var_os(VARIABLE).is_none() {
        return;
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse().ok());
    let said = match (words.first().map(String::as_str), number(1), number(2)) {
        (Some("fsyncs"), Some(times), _) => fsyncs(times),
        (Some("threads"), Some(threads), Some(times)) => many(threads, times),
        (Some("thirds"), Some(threads), _) => thirds(threads),
        (Some("during"), Some(time), _) => {
            fs::write("begun", "\n").ok();
            during(time).to_string()
        }
        (Some("writes"), ..) => writes(),
        (Some("family"), Some(time), _) => family(time),
        (Some("leave"), Some(time), _) => leave(time),
        (Some(what), number, _) => slow::act(what, number.unwrap_or(0)),
        (None, ..) => std::process::abort(),
    };
    if !said.is_empty() {
        let mut out = std::io::stdout();
        writeln!(out, "{said}").and_then(|()| out.flush()).ok();
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) };
}

pub(crate) fn open() -> i32 {
    // SAFETY: the path ends in a zero.
    unsafe { libc::open(c"file".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) }
}

/// The errno, or 0.
pub(crate) fn fsync(fd: i32) -> i32 {
    // SAFETY: takes an integer.
    if unsafe { libc::fsync(fd) } == 0 {
        return 0;
    }
    std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
}

#[derive(Default)]
struct Seen {
    ok: u64,
    eio: u64,
    other: u64,
    last: i32,
}

impl Seen {
    fn add(&mut self, errno: i32) {
        self.last = errno;
        match errno {
            0 => self.ok += 1,
            libc::EIO => self.eio += 1,
            _ => self.other += 1,
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ok,
            eio,
            other,
            last,
        } = self;
        write!(f, "ok={ok} eio={eio} other={other} last={last}")
    }
}

fn fsyncs(times: u64) -> String {
    let fd = open();
    let errors: Vec<String> = (0..times).map(|_| fsync(fd).to_string()).collect();
    errors.join(" ")
}

fn many(threads: u64, times: u64) -> String {
    let fd = open();
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            thread::spawn(move || {
                let mut seen = Seen::default();
                (0..times).for_each(|_| seen.add(fsync(fd)));
                seen
            })
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let Ok(seen) = thread.join() else {
            std::process::abort()
        };
        all.ok += seen.ok;
        all.eio += seen.eio;
        all.other += seen.other;
    }
    all.to_string()
}

/// How many of the threads had their third call fail, and how many other calls failed.
fn thirds(threads: u64) -> String {
    let fd = open();
    let threads: Vec<_> = (0..threads)
        .map(|_| thread::spawn(move || [0; 6].map(|_| fsync(fd))))
        .collect();
    let (mut thirds, mut others) = (0, 0);
    for thread in threads {
        for (index, errno) in thread.join().into_iter().flatten().enumerate() {
            match (index, errno) {
                (_, 0) => {}
                (2, _) => thirds += 1,
                _ => others += 1,
            }
        }
    }
    format!("thirds={thirds} others={others}")
}

fn during(milliseconds: u64) -> Seen {
    let fd = open();
    let until = Instant::now() + Duration::from_millis(milliseconds);
    let mut seen = Seen::default();
    while Instant::now() < until {
        seen.add(fsync(fd));
    }
    seen
}

fn writes() -> String {
    for text in ["first\n", "second\n"] {
        // SAFETY: so many bytes.
        unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    }
    String::new()
}

/// Its pid; what it does is done when this returns in it with `None`.
pub(crate) fn fork() -> Option<i32> {
    // SAFETY: nothing else runs in this process.
    let pid = unsafe { libc::fork() };
    (pid != 0).then_some(pid)
}

pub(crate) fn end() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// A daemon: what it has seen it writes down.
fn detach(milliseconds: u64) -> i32 {
    let Some(pid) = fork() else {
        // SAFETY: takes nothing; then nobody waits for these to be closed.
        unsafe {
            libc::setsid();
            for fd in 0..3 {
                libc::close(fd);
            }
        }
        let seen = during(milliseconds);
        fs::write("detached.new", format!("{seen}\n")).ok();
        fs::rename("detached.new", "detached").ok();
        end();
    };
    pid
}

fn leave(milliseconds: u64) -> String {
    detach(milliseconds);
    thread::sleep(Duration::from_millis(500));
    String::new()
}

/// A command with a child in its session and one that has left it.
fn family(milliseconds: u64) -> String {
    let detached = detach(milliseconds);
    let Some(attached) = fork() else {
        loop {
            during(100);
        }
    };
    let command = std::process::id();
    let pids = format!("command={command} attached={attached} detached={detached}\n");
    fs::write("pids", pids).ok();
    loop {
        during(100);
    }
}
