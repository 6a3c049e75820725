//! Times loops of one call. For each line `CALL COUNT` on standard input it makes that call so often,
//! and says how many nanoseconds all of them took and how many failed: `NANOSECONDS FAILED`.
//!
//! `timed FILE`
//!
//! It reads a byte of `/dev/zero` each time, and opens and closes FILE. It has the last processor for
//! itself, as far as its parent keeps off it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, and tells by a line"
)]

use std::{
    ffi::CString,
    fs::File,
    io::BufRead as _,
    os::fd::{AsRawFd as _, RawFd},
    time::Instant,
};

use kchaos_tests::bench::{Call, LAST_CPU, run_on};

struct Calls {
    file: CString,
    zeros: RawFd,
}

impl Calls {
    /// Whether the call did what it is there for.
    fn make(&self, call: Call) -> bool {
        match call {
            // SAFETY: takes nothing.
            Call::Getppid => unsafe { libc::syscall(libc::SYS_getppid) >= 0 },
            Call::Read => {
                let mut byte = 0_u8;
                // SAFETY: there is room for the one byte.
                unsafe { libc::syscall(libc::SYS_read, self.zeros, &raw mut byte, 1) == 1 }
            }
            Call::Openat => {
                // The last flag is the one by which a filter tells this open from the loader's.
                let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
                // SAFETY: the name ends in a null byte; the descriptor is this function's own.
                unsafe {
                    let fd = libc::syscall(
                        libc::SYS_openat,
                        libc::AT_FDCWD,
                        self.file.as_ptr(),
                        flags,
                        0,
                    );
                    fd >= 0 && libc::syscall(libc::SYS_close, fd) == 0
                }
            }
        }
    }
}

fn main() {
    let file = std::env::args().nth(1).expect("a file is named");
    let zeros = File::open("/dev/zero").expect("there is a /dev/zero");
    let calls = Calls {
        file: CString::new(file).expect("no argument has a null byte"),
        zeros: zeros.as_raw_fd(),
    };
    run_on(&[LAST_CPU]);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the parent writes lines");
        let (call, count) = line.split_once(' ').expect("a call and a count");
        let call = Call::from_name(call).expect("the call is one of them");
        let count: u32 = count.parse().expect("the count is a number");
        let mut failed = 0_u32;
        let start = Instant::now();
        for _ in 0..count {
            failed += u32::from(!calls.make(call));
        }
        println!("{} {failed}", start.elapsed().as_nanos());
    }
}
