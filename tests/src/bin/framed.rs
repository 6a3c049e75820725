//! Opens a file for each line that it is told, through two functions with frame pointers, and says with
//! which errno that failed. First it says where the two are.
//!
//! `framed FILE`

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, and tells by lines"
)]

use std::{ffi::CString, io::BufRead as _};

std::arch::global_asm!(
    ".globl kchaos_outer, kchaos_inner, kchaos_end",
    "kchaos_outer:",
    "push rbp",
    "mov rbp, rsp",
    "call kchaos_inner",
    "pop rbp",
    "ret",
    "kchaos_inner:",
    "push rbp",
    "mov rbp, rsp",
    "xor r10d, r10d",
    "mov eax, 257", // openat
    "syscall",
    "pop rbp",
    "ret",
    "kchaos_end:",
);

unsafe extern "C" {
    fn kchaos_outer(directory: i32, path: *const libc::c_char, flags: i32) -> i64;
    fn kchaos_inner();
    fn kchaos_end();
}

fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let path = CString::new(path).expect("no zeros");
    println!(
        "{} {} {}",
        kchaos_outer as *const () as u64,
        kchaos_inner as *const () as u64,
        kchaos_end as *const () as u64
    );
    for _ in std::io::stdin().lock().lines() {
        // SAFETY: a path that ends in a zero.
        let result = unsafe { kchaos_outer(libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY) };
        println!("{}", if result < 0 { -result } else { 0 });
    }
}
