//! How much a system call is to write.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_loop};

use crate::{call::Call, kernel::OFF_REGS_DX, scratch::Scratch};

/// No call writes more at once (`MAX_RW_COUNT`, include/linux/fs.h); what it asks for beyond is cut.
const MOST: u64 = 0x7fff_f000;

/// The most buffers that a call can have (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const BUFFERS: u64 = 1024;

/// Keeps in the scratch how many bytes a call asks to write, 0 when its arguments do not tell:
/// `io_uring` and `io_submit` keep them elsewhere.
#[inline(always)]
pub fn learn(scratch: Scratch, call: Call) {
    scratch.set_amount(0);
    if one_buffer(call) {
        if let Some(bytes) = call.argument(&OFF_REGS_DX) {
            scratch.set_amount(bytes);
        }
    } else if many_buffers(call) && sum(scratch, call).is_none() {
        scratch.set_amount(0);
    }
    if scratch.amount() > MOST {
        scratch.set_amount(MOST);
    }
}

#[inline(always)]
fn one_buffer(call: Call) -> bool {
    // write, pwrite64
    if call.compat {
        matches!(call.number, 4 | 181)
    } else {
        matches!(call.number, 1 | 18)
    }
}

#[inline(always)]
fn many_buffers(call: Call) -> bool {
    // writev, pwritev, pwritev2
    if call.compat {
        matches!(call.number, 146 | 334 | 379)
    } else {
        matches!(call.number, 20 | 296 | 328)
    }
}

/// `struct iovec` (include/uapi/linux/uio.h).
#[repr(C)]
struct Iovec {
    _base: u64,
    length: u64,
}

/// `struct compat_iovec` (include/linux/compat.h), that of 32-bit programs.
#[repr(C)]
struct CompatIovec {
    _base: u32,
    length: u32,
}

/// A walk over the buffers of a call.
struct Buffers {
    scratch: Scratch,
    at: u64,
    compat: bool,
    readable: bool,
}

/// Adds up the lengths of all buffers. The kernel has just read them, so they are in memory.
#[inline(always)]
fn sum(scratch: Scratch, call: Call) -> Option<()> {
    let buffers = call.argument(&OFF_REGS_DX)?;
    if buffers > BUFFERS {
        return None;
    }
    let mut walk = Buffers {
        scratch,
        at: call.second()?,
        compat: call.compat,
        readable: true,
    };
    // SAFETY: the callback casts the pointer back to what it was.
    unsafe {
        bpf_loop(
            buffers as u32,
            add as *mut c_void,
            (&raw mut walk).cast(),
            0,
        );
    }
    walk.readable.then_some(())
}

/// Adds the length of one buffer; 1 ends the walk.
unsafe extern "C" fn add(index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: the caller passes a walk, and waits for the end of the loop.
    let walk = unsafe { &mut *walk.cast::<Buffers>() };
    let index = index as usize;
    // SAFETY: the helper checks the address.
    let length = unsafe {
        if walk.compat {
            let buffer = (walk.at as *const CompatIovec).wrapping_add(index);
            bpf_probe_read_user(buffer).map(|buffer| u64::from(buffer.length))
        } else {
            let buffer = (walk.at as *const Iovec).wrapping_add(index);
            bpf_probe_read_user(buffer).map(|buffer| buffer.length)
        }
    };
    // A verifier wants to see that it is 0 or 1 that comes back.
    if let Ok(length) = length {
        // More than the kernel takes, one by one or together, so that nothing overflows. The sum is
        // kept in the scratch: a number that grows from turn to turn is never the same to a verifier,
        // and 6.12 follows all of the turns.
        let length = if length < MOST { length } else { MOST };
        walk.scratch.set_amount(walk.scratch.amount() + length);
        0
    } else {
        walk.readable = false;
        1
    }
}
