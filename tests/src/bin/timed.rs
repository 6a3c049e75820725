//! Times one call. For each line `CALL COUNT BURSTS` on standard input it makes so many bursts of so many
//! calls, and says how many nanoseconds the quickest of them took and how many calls of all of them
//! failed: `NANOSECONDS FAILED`.
//!
//! `timed FILE`
//!
//! It reads a byte of `/dev/zero` each time, and opens FILE. It has the last processor for itself, as far
//! as its parent keeps off it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, and tells by a line"
)]

use std::{
    ffi::CString,
    fs::File,
    io::BufRead as _,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use kchaos_tests::bench::{Call, LAST_CPU, run_on};

struct Calls {
    file: CString,
    zeros: RawFd,
    /// What is open. There is room for a burst, so that none has to get memory.
    opened: Vec<OwnedFd>,
}

impl Calls {
    /// Makes a call; whether it failed.
    fn fails(&mut self, call: Call) -> bool {
        match call {
            // SAFETY: takes nothing.
            Call::Getppid => unsafe { libc::syscall(libc::SYS_getppid) < 0 },
            Call::Read => {
                let mut byte = 0_u8;
                // SAFETY: there is room for the one byte.
                unsafe { libc::syscall(libc::SYS_read, self.zeros, &raw mut byte, 1) != 1 }
            }
            Call::Openat => {
                let (here, file) = (libc::AT_FDCWD, self.file.as_ptr());
                // The last flag is the one by which a filter tells this open from the loader's.
                let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
                // SAFETY: the name ends in a null byte, and without O_CREAT no mode is asked for.
                let fd = unsafe { libc::syscall(libc::SYS_openat, here, file, flags) };
                match RawFd::try_from(fd) {
                    Ok(fd) if fd >= 0 => {
                        // SAFETY: the kernel has just made it, and nobody else knows of it.
                        self.opened.push(unsafe { OwnedFd::from_raw_fd(fd) });
                        false
                    }
                    _ => true,
                }
            }
        }
    }

    /// How long so many calls took, and how many failed.
    fn burst(&mut self, call: Call, count: u32) -> (Duration, u32) {
        let start = Instant::now();
        let failed = (0..count).filter(|_| self.fails(call)).count();
        let took = start.elapsed();
        // That is no part of an open.
        self.opened.clear();
        (
            took,
            u32::try_from(failed).expect("no more than there were"),
        )
    }
}

fn main() {
    let file = std::env::args().nth(1).expect("a file is named");
    let zeros = File::open("/dev/zero").expect("there is a /dev/zero");
    let mut calls = Calls {
        file: CString::new(file).expect("no argument has a null byte"),
        zeros: zeros.as_raw_fd(),
        opened: Vec::with_capacity(1000),
    };
    run_on(&[LAST_CPU]);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the parent writes lines");
        let mut words = line.split(' ');
        let mut next = || words.next().expect("a call and two numbers");
        let call = Call::from_name(next()).expect("the call is one of them");
        let mut number = || next().parse::<u32>().expect("a number");
        let (count, bursts) = (number(), number());
        let mut least = Duration::MAX;
        let mut all_failed = 0;
        for _ in 0..bursts {
            let (took, failed) = calls.burst(call, count);
            least = least.min(took);
            all_failed += failed;
        }
        println!("{} {all_failed}", least.as_nanos());
    }
}
