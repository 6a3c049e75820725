//! Makes system calls of i386's, as 32-bit programs do (`int 0x80`), and one of x86-64's, and says of each
//! with which errno it failed.
//!
//! `elder FILE`

#![expect(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's own program that can't do its part fails, tells by lines, and has small numbers"
)]

use std::{arch::asm, ffi::CString, fs::File, os::unix::ffi::OsStrExt as _};

// arch/x86/entry/syscalls/syscall_32.tbl
const OPEN: u32 = 5;
const SOCKETCALL: u32 = 102;
const OPENAT: u32 = 295;
/// include/uapi/linux/net.h
const SYS_CONNECT: u32 = 3;

/// What i386's calls can point to.
const ROOM: usize = 4096;

fn main() {
    let path = std::env::args_os().nth(1).expect("a file");
    let text = CString::new(path.as_bytes()).expect("no zero");
    // SAFETY: a new mapping.
    let low = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            ROOM,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert_ne!(low, libc::MAP_FAILED, "map memory below 2 GB");
    let bytes = text.as_bytes_with_nul();
    assert!(bytes.len() <= ROOM, "a short path");
    // SAFETY: the room was just made.
    unsafe { low.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len()) };
    let name = address(low);
    say("open", call(OPEN, [name, 0, 0]));
    say(
        "openat",
        call(OPENAT, [libc::AT_FDCWD.cast_unsigned(), name, 0]),
    );
    say("connect", connect(low));
    let opened = File::open(&path)
        .err()
        .and_then(|error| error.raw_os_error());
    say("native", -opened.unwrap_or(0));
}

/// To a port that nobody listens on.
fn connect(low: *mut libc::c_void) -> i32 {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "make a socket");
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 9_u16.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let size = size_of::<libc::sockaddr_in>();
    // SAFETY: the room is larger than both.
    unsafe {
        low.cast::<libc::sockaddr_in>().write_unaligned(to);
        let arguments = low.byte_add(size);
        let all = [socket.cast_unsigned(), address(low), size as u32];
        arguments.cast::<[u32; 3]>().write_unaligned(all);
        call(SOCKETCALL, [SYS_CONNECT, address(arguments), 0])
    }
}

fn address(pointer: *mut libc::c_void) -> u32 {
    u32::try_from(pointer as usize).expect("mapped below 4 GB")
}

fn call(number: u32, arguments: [u32; 3]) -> i32 {
    let result: u64;
    let [first, second, third] = arguments.map(u64::from);
    // SAFETY: the calls read what they are pointed to. rbx is the compiler's own.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) first => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") second,
            in("rdx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    (result as u32).cast_signed()
}

fn say(what: &str, result: i32) {
    println!("{what} {}", if result < 0 { -result } else { 0 });
}
