//! Calls that a process makes for us, and how it finds back by itself.
//!
//! Who is stopped and told to make a call has the registers of that call, and all signals blocked. When
//! the tracer dies, the kernel has it go on just so. So the instruction that makes the call is followed
//! by others that put back what it had, from beside them, and go to where it was. They lie at the very
//! end of its vDSO, behind what there is of the image: that is there before anything was mapped.

use std::{arch::global_asm, mem::offset_of, slice};

/// How many bytes at the end of the image that takes.
pub(super) const ROOM: usize = CODE + size_of::<Way>();

/// Of these, instructions.
const CODE: usize = 104;

/// What a tracer writes at once.
pub(super) const WORD: usize = 8;

/// What the kernel leaves in a call that it was about to make anew (include/linux/errno.h):
/// `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND` …
const ANEW: [i64; 3] = [-512, -513, -514];

/// … and `ERESTART_RESTARTBLOCK`, for one that goes on with what is left of it.
const WITH_THE_REST: i64 = -516;

/// The length of a `syscall` instruction.
const SYSCALL: u64 = 2;

/// What a call changes, as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Way {
    mask: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    rip: u64,
}

impl Way {
    /// To where these registers are, or to the call that they are in: the kernel makes one anew only for
    /// who leaves it with them.
    fn to(registers: &libc::user_regs_struct, mask: u64) -> Self {
        let result = registers.rax.cast_signed();
        let in_call = registers.orig_rax != u64::MAX;
        let (rax, back) = if in_call && ANEW.contains(&result) {
            (registers.orig_rax, SYSCALL)
        } else if in_call && result == WITH_THE_REST {
            (libc::SYS_restart_syscall.cast_unsigned(), SYSCALL)
        } else {
            (registers.rax, 0)
        };
        Self {
            mask,
            rax,
            rcx: registers.rcx,
            rdx: registers.rdx,
            rsi: registers.rsi,
            rdi: registers.rdi,
            r8: registers.r8,
            r9: registers.r9,
            r10: registers.r10,
            r11: registers.r11,
            rip: registers.rip.wrapping_sub(back),
        }
    }
}

/// The call, and the way back to these registers and this mask of signals.
pub(super) fn bytes(registers: &libc::user_regs_struct, mask: u64) -> Vec<u8> {
    let way = Way::to(registers, mask);
    let mut bytes = code().to_vec();
    // SAFETY: plain data without padding: eleven words.
    let data = unsafe { slice::from_raw_parts((&raw const way).cast::<u8>(), size_of::<Way>()) };
    bytes.extend_from_slice(data);
    bytes
}

/// Whether somebody was to be told to make a call, and the room was not cleared since. It is written from
/// its beginning on and cleared from its end on, a word at a time: what is there may be a part of it.
pub(super) fn is_used(room: &[u8]) -> bool {
    let mut words = room.chunks(WORD).zip(code().chunks(WORD));
    let begins = words.next().is_some_and(|(word, ours)| word == ours);
    begins && words.all(|(word, ours)| word == ours || word == [0; WORD])
}

/// The end of an image.
pub(super) fn room(image: &mut [u8]) -> Option<&mut [u8]> {
    let start = image.len().checked_sub(ROOM)?;
    image.get_mut(start..)
}

fn code() -> &'static [u8] {
    // SAFETY: the assembler has put so many bytes there.
    unsafe { slice::from_raw_parts(&raw const kchaos_clock_home_start, CODE) }
}

unsafe extern "C" {
    static kchaos_clock_home_start: u8;
}

global_asm!(
    include_str!("home.s"),
    code = const CODE,
    sigprocmask = const libc::SYS_rt_sigprocmask,
    setmask = const libc::SIG_SETMASK,
    rax = const offset_of!(Way, rax),
    rcx = const offset_of!(Way, rcx),
    rdx = const offset_of!(Way, rdx),
    rsi = const offset_of!(Way, rsi),
    rdi = const offset_of!(Way, rdi),
    r8 = const offset_of!(Way, r8),
    r9 = const offset_of!(Way, r9),
    r10 = const offset_of!(Way, r10),
    r11 = const offset_of!(Way, r11),
    rip = const offset_of!(Way, rip),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(orig_rax: u64, rax: i64) -> libc::user_regs_struct {
        // SAFETY: every pattern of bits is one.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        registers.orig_rax = orig_rax;
        registers.rax = rax.cast_unsigned();
        registers.rip = 0x1000;
        registers
    }

    #[test]
    fn a_call_that_was_interrupted_is_made_anew() {
        let way = |orig_rax, rax| {
            let way = Way::to(&registers(orig_rax, rax), 7);
            (way.rax, way.rip)
        };
        for anew in [-512, -513, -514] {
            assert_eq!(way(230, anew), (230, 0xffe));
        }
        assert_eq!(way(230, -516), (219, 0xffe));
        // Over, with a result or an error.
        assert_eq!(way(0, 12), (12, 0x1000));
        assert_eq!(way(0, -4), ((-4_i64).cast_unsigned(), 0x1000));
        // In no call: what looks like one is a number of its own.
        assert_eq!(way(u64::MAX, -512), ((-512_i64).cast_unsigned(), 0x1000));
    }

    #[test]
    fn the_room_is_told_from_an_empty_one() {
        let used = bytes(&registers(u64::MAX, 0), 0);
        assert_eq!(used.len(), ROOM);
        assert!(is_used(&used));
        assert!(!is_used(&[0; ROOM]));
        assert!(!is_used(&[1; ROOM]));
        for written in (WORD..ROOM).step_by(WORD) {
            let mut part = used.clone();
            part[written..].fill(0);
            assert!(is_used(&part), "{written} bytes");
        }
        assert_eq!(&used[..2], [0x0f, 0x05], "it begins with the call");
        let mut image = vec![1; 2 * ROOM];
        assert_eq!(room(&mut image).map(|room| room.len()), Some(ROOM));
        assert_eq!(room(&mut [0; 8]), None);
    }
}
