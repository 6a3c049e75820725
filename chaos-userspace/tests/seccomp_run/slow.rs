//! What the victim does that is lied to, or has to wait.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::victim::{end, fork, fsync, open};

pub(crate) fn act(what: &str, number: u64) -> String {
    match what {
        "tens" => tens(number),
        "eat" => eat(),
        "timed" => timed(number),
        "at-once" => at_once(number),
        "beside" => beside(),
        "asleep" => asleep(),
        "killed" => killed(number),
        _ => std::process::abort(),
    }
}

/// Writes so many times ten bytes, and tells what came of each.
fn tens(times: u64) -> String {
    let fd = open();
    let said: Vec<String> = (0..times)
        .map(|index| {
            let text = [b'0' + u8::try_from(index % 10).unwrap_or(0); 10];
            // SAFETY: so many bytes.
            unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) }.to_string()
        })
        .collect();
    said.join(" ")
}

/// Reads byte by byte until the end, which may come early.
fn eat() -> String {
    // SAFETY: the path ends in a zero.
    let fd = unsafe { libc::open(c"food".as_ptr(), libc::O_RDONLY) };
    let (mut byte, mut eaten) = (0_u8, 0);
    // SAFETY: room for a byte.
    while unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } == 1 {
        eaten += 1;
    }
    format!("eaten={eaten}")
}

fn milliseconds(since: Instant) -> u128 {
    since.elapsed().as_millis()
}

/// The time and the errno of each of so many calls, one after another.
fn timed(times: u64) -> String {
    let fd = open();
    let calls: Vec<String> = (0..times)
        .map(|_| {
            let begin = Instant::now();
            let errno = fsync(fd);
            format!("{}:{errno}", milliseconds(begin))
        })
        .collect();
    calls.join(" ")
}

/// One call in each of so many threads.
fn at_once(threads: u64) -> String {
    let fd = open();
    fs::write("begun", "\n").ok();
    let begin = Instant::now();
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            thread::spawn(move || {
                let begin = Instant::now();
                (fsync(fd), milliseconds(begin))
            })
        })
        .collect();
    let seen: Vec<(i32, u128)> = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .collect();
    let all = milliseconds(begin);
    let ok = seen.iter().filter(|(errno, _)| *errno == 0).count();
    let eio = seen.iter().filter(|(errno, _)| *errno == libc::EIO).count();
    let times = || seen.iter().map(|(_, time)| *time);
    format!(
        "all={all} least={} most={} ok={ok} eio={eio}",
        times().min().unwrap_or(0),
        times().max().unwrap_or(0)
    )
}

/// While one thread waits, another goes on with the same call and with one that nobody asks about.
fn beside() -> String {
    let fd = open();
    let begin = Instant::now();
    let waits = thread::spawn(move || fsync(fd));
    thread::sleep(Duration::from_millis(100));
    let mut errors = 0;
    for _ in 0..200 {
        // SAFETY: takes nothing, and an integer.
        unsafe {
            libc::getppid();
            errors += u64::from(libc::fdatasync(fd) != 0);
        }
    }
    let others = milliseconds(begin);
    waits.join().ok();
    format!(
        "others={others} one={} errors={errors}",
        milliseconds(begin)
    )
}

/// Says when a call of a daemon has come back, and the command's own never does.
fn asleep() -> String {
    let Some(detached) = fork() else {
        // SAFETY: takes nothing; then nobody waits for these to be closed.
        unsafe {
            libc::setsid();
            for fd in 0..3 {
                libc::close(fd);
            }
        }
        let begin = Instant::now();
        let errno = fsync(open());
        let said = format!("errno={errno} time={}\n", milliseconds(begin));
        fs::write("woken.new", said).ok();
        fs::rename("woken.new", "woken").ok();
        end();
    };
    let pids = format!("command={} detached={detached}\n", std::process::id());
    fs::write("pids", pids).ok();
    fsync(open());
    thread::sleep(Duration::from_mins(1));
    String::new()
}

/// Children that are killed while they wait, and a call afterwards.
fn killed(children: u64) -> String {
    let pids: Vec<i32> = (0..children)
        .map(|_| {
            fork().unwrap_or_else(|| {
                fsync(open());
                end();
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(300));
    let mut signalled = 0;
    for pid in pids {
        let mut status = 0;
        // SAFETY: children of this process.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, &raw mut status, 0);
        }
        signalled += u64::from(libc::WIFSIGNALED(status));
    }
    let begin = Instant::now();
    let errno = fsync(open());
    format!(
        "signalled={signalled} errno={errno} time={}",
        milliseconds(begin)
    )
}
