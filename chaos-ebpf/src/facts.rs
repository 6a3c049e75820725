//! What a system call is about: its descriptor, its sizes and flags, whom it talks to.
//!
//! The registers are the caller's, as it entered the kernel with them, so all of this is the same on
//! the call itself and on what the call asks the security modules.

use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user,
    generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
};
use chaos_common::{
    Address, FdKind,
    arguments::{self, OpenFlags, Peer},
    part,
};

use crate::{
    kernel::{
        OFF_FDTABLE_FD, OFF_FDTABLE_MAX, OFF_FILE_INODE, OFF_FILE_PRIVATE, OFF_FILES_FDT,
        OFF_INODE_MODE, OFF_INODE_SB, OFF_REGS_DI, OFF_REGS_DX, OFF_REGS_R8, OFF_REGS_R9,
        OFF_REGS_R10, OFF_REGS_SI, OFF_SB_MAGIC, OFF_SOCK_FAMILY, OFF_SOCK_IPV4, OFF_SOCK_IPV6,
        OFF_SOCK_PORT, OFF_SOCKET_SK, OFF_TASK_FILES, read,
    },
    name::Name,
    scratch::Scratch,
};

/// `ANON_INODE_FS_MAGIC` and `PID_FS_MAGIC` (include/uapi/linux/magic.h). From 6.16 on their inodes
/// say that they are regular files, and only stat(2) hides it (`fs/anon_inodes.c`, `anon_inode_getattr`).
const ANON_INODE_FS: u64 = 0x0904_1934;
const PID_FS: u64 = 0x5049_4446;

/// `S_IFMT` and `S_IFSOCK` (include/uapi/linux/stat.h)
const TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

/// include/linux/socket.h
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `sizeof(struct sockaddr_in)`, and `SIN6_LEN_RFC2133`, the shortest that the kernel takes.
const INET_BYTES: u32 = 16;
const INET6_BYTES: u32 = 24;

/// Resolves a name into the scratch. Whether it is known: also where there is no name, because
/// nobody reaches the file by one.
///
/// # Safety
/// The kernel handed the addresses to the program.
#[inline(always)]
pub unsafe fn resolve(scratch: Scratch, name: Option<Name>) -> bool {
    let Some(name) = name else {
        return false;
    };
    // SAFETY: the caller's name.
    unsafe { name.is_internal() || name.resolve(scratch) }
}

/// It could not be told which file a descriptor is of.
pub const UNKNOWN: u64 = 0;
/// A call's first argument is no descriptor of the task.
pub const NO_FILE: u64 = 1;

/// The file of a call's first argument, or one of the above.
#[inline(always)]
pub fn file(scratch: Scratch) -> u64 {
    if !arguments::has_descriptor(scratch.call()) {
        return UNKNOWN;
    }
    // SAFETY: reads are checked by a helper.
    scratch.forget(unsafe { find_file(scratch) }.unwrap_or(UNKNOWN))
}

#[inline(always)]
unsafe fn find_file(scratch: Scratch) -> Option<u64> {
    let fd = register(scratch, 0)? as u32;
    // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
    unsafe {
        let files: u64 = read(bpf_get_current_task(), &OFF_TASK_FILES)?;
        let table: u64 = read(files, &OFF_FILES_FDT)?;
        let max: u32 = read(table, &OFF_FDTABLE_MAX)?;
        if fd >= max {
            return Some(NO_FILE);
        }
        let entries: u64 = read(table, &OFF_FDTABLE_FD)?;
        let entry = (entries + u64::from(fd) * 8) as *const u64;
        let file = bpf_probe_read_kernel(entry).ok()?;
        Some(if file == 0 { NO_FILE } else { file })
    }
}

/// Learns of the current call of x86-64's, of which nothing is known yet, what a
/// [`chaos_common::CallFilter`] may ask. Each part by itself, and with nothing in registers from one to
/// the next: the verifier would follow every combination.
#[inline(always)]
pub fn learn(scratch: Scratch) {
    let file = file(scratch);
    if file != UNKNOWN
        && let Some(kind) = kind(file)
    {
        scratch.set_fd_kind(kind);
        scratch.know(part::FD);
    }
    if let Some(index) = arguments::size(scratch.call())
        && let Some(size) = register(scratch, index)
    {
        scratch.set_size(size);
        scratch.know(part::SIZE);
    }
    if let Some(flags) = open_flags(scratch) {
        scratch.set_open_flags(flags);
        scratch.know(part::OPEN_FLAGS);
    }
    if let Some(at) = arguments::peer(scratch.call()) {
        learn_peer(scratch, at, file);
    }
}

/// The [`FdKind::bit`] of a file.
#[inline(always)]
fn kind(file: u64) -> Option<u32> {
    if file == NO_FILE {
        return Some(0);
    }
    // SAFETY: reads are checked by a helper.
    unsafe {
        let inode: u64 = read(file, &OFF_FILE_INODE)?;
        let super_block: u64 = read(inode, &OFF_INODE_SB)?;
        let magic: u64 = read(super_block, &OFF_SB_MAGIC)?;
        if magic == ANON_INODE_FS || magic == PID_FS {
            return Some(FdKind::Anon.bit());
        }
        let mode: u16 = read(inode, &OFF_INODE_MODE)?;
        Some(FdKind::of_mode(mode.into()))
    }
}

#[inline(always)]
fn open_flags(scratch: Scratch) -> Option<u32> {
    match arguments::open_flags(scratch.call())? {
        OpenFlags::Argument(index) => Some(register(scratch, index)? as u32),
        OpenFlags::Always(flags) => Some(flags),
        // `struct open_how` begins with them (include/uapi/linux/openat2.h).
        OpenFlags::Pointed(index) => Some(user::<u64>(register(scratch, index)?)? as u32),
    }
}

#[inline(always)]
fn learn_peer(scratch: Scratch, at: Peer, file: u64) {
    let place = match at {
        Peer::Socket => Some((0, 0)),
        Peer::Address(index) | Peer::AddressOrSocket(index) => address_at(scratch, index),
        Peer::Message(index) => message_at(scratch, index),
    };
    let Some((pointer, length)) = place else {
        return;
    };
    let length = scratch.forget(length) as u32;
    let pointer = scratch.forget(pointer);
    let is_known = if pointer != 0 {
        learn_address(scratch, pointer, length)
    } else if matches!(arguments::peer(scratch.call()), Some(Peer::Address(_))) {
        // None is given: such a call fails.
        Some(())
    } else {
        learn_socket(scratch, file)
    };
    if is_known.is_some() {
        scratch.know(part::PEER | part::PORT);
    }
}

/// Where an address is, and how long.
#[inline(always)]
fn address_at(scratch: Scratch, index: usize) -> Option<(u64, u64)> {
    Some((register(scratch, index)?, register(scratch, index + 1)?))
}

/// The same of a message: `struct user_msghdr` begins with a pointer and an int
/// (include/linux/socket.h).
#[inline(always)]
fn message_at(scratch: Scratch, index: usize) -> Option<(u64, u64)> {
    let message = register(scratch, index)?;
    Some((user(message)?, user::<u32>(message + 8)?.into()))
}

/// What is said in the caller's memory.
#[inline(always)]
fn learn_address(scratch: Scratch, pointer: u64, length: u32) -> Option<()> {
    if length < INET_BYTES {
        return Some(());
    }
    let family: u16 = user(pointer)?;
    let address = if family == AF_INET {
        Address::ipv4(user(pointer + 4)?)
    } else if family == AF_INET6 && length >= INET6_BYTES {
        Address::ipv6(user(pointer + 8)?)
    } else {
        return Some(());
    };
    scratch.set_peer(address, u16::from_be(user(pointer + 2)?));
    Some(())
}

/// What a socket is connected to.
#[inline(always)]
fn learn_socket(scratch: Scratch, file: u64) -> Option<()> {
    if file == UNKNOWN {
        return None;
    }
    if file == NO_FILE {
        return Some(());
    }
    // SAFETY: reads are checked by a helper.
    unsafe {
        let inode: u64 = read(file, &OFF_FILE_INODE)?;
        let mode: u16 = read(inode, &OFF_INODE_MODE)?;
        let socket: u64 = read(file, &OFF_FILE_PRIVATE)?;
        // A unix socket that was opened by its name (`O_PATH`) has the one and not the other.
        if mode & TYPE != SOCKET || socket == 0 {
            return Some(());
        }
        let sock: u64 = read(socket, &OFF_SOCKET_SK)?;
        if sock == 0 {
            return Some(());
        }
        let family: u16 = read(sock, &OFF_SOCK_FAMILY)?;
        let port = u16::from_be(read(sock, &OFF_SOCK_PORT)?);
        // Not connected.
        if port == 0 {
            return Some(());
        }
        if family == AF_INET {
            scratch.set_peer(Address::ipv4(read(sock, &OFF_SOCK_IPV4)?), port);
        } else if family == AF_INET6 {
            scratch.set_peer(Address::ipv6(read(sock, &OFF_SOCK_IPV6)?), port);
        }
        Some(())
    }
}

/// An argument of the call, from 0.
#[inline(always)]
fn register(scratch: Scratch, index: usize) -> Option<u64> {
    let offset = match index {
        0 => OFF_REGS_DI.load(),
        1 => OFF_REGS_SI.load(),
        2 => OFF_REGS_DX.load(),
        3 => OFF_REGS_R10.load(),
        4 => OFF_REGS_R8.load(),
        _ => OFF_REGS_R9.load(),
    };
    // SAFETY: no pointer of ours is passed, and the read is checked by a helper.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()).cast_unsigned();
        let place = scratch.forget(registers + u64::from(offset));
        bpf_probe_read_kernel(place as *const u64).ok()
    }
}

/// What lies in the caller's memory, unless it is not there just now.
#[inline(always)]
fn user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
