//! Makes all calls of the table each time it gets SIGUSR1, and writes the errno of each, plus one,
//! into a file that it has mapped: nothing that it does in between may need one of these calls.
//!
//! `caller FOLDER RESULTS`

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, and tells by a line"
)]

use std::{fs, path::Path};

use kchaos_tests::calls::{CALLS, Fixture, ROUNDS};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let fixture = Fixture::new(Path::new(&arguments[1]));
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&arguments[2])
        .expect("the results can be written");
    let length = ROUNDS * CALLS.len() * 2;
    // SAFETY: a new mapping; the signals are blocked before anybody knows of this process.
    unsafe {
        let shared = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            std::os::fd::AsRawFd::as_raw_fd(&file),
            0,
        );
        assert_ne!(shared, libc::MAP_FAILED, "map the results");
        let results = shared.cast::<u16>();
        let mut wanted: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut wanted);
        libc::sigaddset(&raw mut wanted, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const wanted, std::ptr::null_mut());
        println!("ready");
        for round in 0..ROUNDS {
            let mut signal = 0;
            libc::sigwait(&raw const wanted, &raw mut signal);
            for (index, (_, make)) in CALLS.iter().enumerate() {
                let errno = make(&fixture, round);
                results
                    .add(round * CALLS.len() + index)
                    .write_volatile(errno + 1);
            }
        }
        // Until it is killed.
        let mut signal = 0;
        libc::sigwait(&raw const wanted, &raw mut signal);
    }
}
