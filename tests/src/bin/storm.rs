//! Makes so many short processes, a few at a time, each of which opens a file; says how many could and
//! how many could not. Every hundredth begins its life in a cgroup that was just made.
//!
//! `storm COUNT FILE CGROUP`

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, and tells by a line"
)]

use std::{
    ffi::CString,
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::Path,
};

/// Processes at a time.
const AT_ONCE: usize = 8;
/// What a child that saw something else than EIO exits with.
const OTHER: i32 = 2;

/// `include/uapi/linux/sched.h`, Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of clone3(2), as long as it has been since Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let count: usize = arguments[1].parse().expect("a number");
    let file = CString::new(arguments[2].as_str()).expect("a path");
    let own = Path::new(&arguments[3]);
    let mut seen = [0_u32; 3];
    let mut running = 0;
    for number in 0..count {
        let deeper = (number % 100 == 99).then(|| {
            let folder = own.join(format!("s{number}"));
            fs::create_dir(&folder).expect("a cgroup can be made");
            File::open(folder).expect("it is there")
        });
        start(&file, deeper.as_ref());
        running += 1;
        while running >= AT_ONCE {
            seen[wait()] += 1;
            running -= 1;
        }
    }
    for _ in 0..running {
        seen[wait()] += 1;
    }
    for number in (99..count).step_by(100) {
        fs::remove_dir(own.join(format!("s{number}"))).expect("it is empty again");
    }
    println!(
        "{} opened, {} failed, {} otherwise",
        seen[0], seen[1], seen[2]
    );
}

/// A child that opens the file and ends; in a cgroup from its first instruction on, if one is given.
fn start(file: &CString, cgroup: Option<&File>) {
    let mut args = CloneArgs {
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
    // SAFETY: without CLONE_VM it is a fork; the child calls what is async-signal-safe, and ends.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>());
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let opened = libc::open(file.as_ptr(), libc::O_RDONLY);
            let status = match opened {
                0.. => 0,
                _ if *libc::__errno_location() == libc::EIO => 1,
                _ => OTHER,
            };
            libc::_exit(status);
        }
    }
}

/// What the next child that ends has seen.
fn wait() -> usize {
    let mut status = 0;
    // SAFETY: writes one integer.
    let pid = unsafe { libc::wait(&raw mut status) };
    assert!(pid > 0, "wait: {}", std::io::Error::last_os_error());
    assert!(libc::WIFEXITED(status), "a child was killed");
    usize::try_from(libc::WEXITSTATUS(status).clamp(0, OTHER)).expect("small")
}
