//! The filter itself, in classic BPF.

use std::{io, mem::offset_of};

use libc::{seccomp_data, sock_filter};

/// `AUDIT_ARCH_X86_64` (include/uapi/linux/audit.h): 64-bit, little endian, `EM_X86_64`.
const ARCH: u32 = 0xc000_003e;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Calls that carry it pass: those which the child makes before its exec. They need it because the
/// listener travels by calls that the filter may name. No call takes six arguments there, so it goes
/// where the kernel looks at nothing; nobody else draws the same 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) [u64; 2]);

impl Key {
    pub(super) fn draw() -> io::Result<Self> {
        let mut words = [0_u64; 2];
        let len = size_of_val(&words);
        // SAFETY: room for so many bytes.
        let got = unsafe { libc::getrandom(words.as_mut_ptr().cast(), len, 0) };
        if usize::try_from(got) == Ok(len) {
            Ok(Self(words))
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Asks the listener about these calls, unless they carry the key, and lets all others pass. Those
/// of other architectures pass too, and so do those of x32, whose numbers have a bit that none of
/// these has.
pub(super) fn program(calls: &[u32], key: Key) -> Vec<sock_filter> {
    let [arch, number] = [offset_of!(seccomp_data, arch), offset_of!(seccomp_data, nr)];
    let allow = || statement(RETURN, libc::SECCOMP_RET_ALLOW);
    let mut program = vec![load(arch), jump(ARCH, 1, 0), allow(), load(number)];
    // A conditional jump goes 255 instructions far at most, so each is followed by one that goes
    // anywhere. None of this is run for other calls: the kernel sees that they always pass.
    let mut left = u32::try_from(calls.len()).unwrap_or(u32::MAX);
    for call in calls {
        left = left.saturating_sub(1);
        program.push(jump(*call, 0, 1));
        program.push(statement(JUMP, 2 * left + 1));
    }
    program.push(allow());
    let notify = |program: &mut Vec<sock_filter>| {
        program.push(statement(RETURN, libc::SECCOMP_RET_USER_NOTIF));
    };
    for (index, word) in key.0.iter().enumerate() {
        let at = offset_of!(seccomp_data, args) + 8 * (4 + index);
        // Little endian: the lower half comes first.
        for (half, at) in [(*word & 0xffff_ffff, at), (*word >> 32, at + 4)] {
            program.push(load(at));
            program.push(jump(u32::try_from(half).unwrap_or(0), 1, 0));
            notify(&mut program);
        }
    }
    program.push(allow());
    program
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: 0,
        jf: 0,
        k,
    }
}

fn load(offset: usize) -> sock_filter {
    statement(LOAD, u32::try_from(offset).unwrap_or(0))
}

fn jump(value: u32, equal: u8, other: u8) -> sock_filter {
    sock_filter {
        jt: equal,
        jf: other,
        ..statement(JUMP_EQUAL, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([0x1111_2222_3333_4444, 0x5555_6666_7777_8888]);

    /// What the kernel does with such a program.
    fn run(program: &[sock_filter], call: u32, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(call.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0_u64.to_le_bytes());
        data.extend(args.iter().flat_map(|word| word.to_le_bytes()));
        let (mut at, mut a) = (0, 0);
        loop {
            let now = program[at];
            at += 1;
            match u32::from(now.code) {
                LOAD => {
                    let from = now.k as usize;
                    a = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                JUMP => at += now.k as usize,
                JUMP_EQUAL if a == now.k => at += usize::from(now.jt),
                JUMP_EQUAL => at += usize::from(now.jf),
                RETURN => return now.k,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_is_named_is_asked_about() {
        let calls: Vec<u32> = (0..900).filter(|call| call % 2 == 0).collect();
        let program = program(&calls, KEY);
        assert!(program.len() < 4096);
        for call in 0..900 {
            let wanted = if call % 2 == 0 {
                libc::SECCOMP_RET_USER_NOTIF
            } else {
                libc::SECCOMP_RET_ALLOW
            };
            assert_eq!(run(&program, call, ARCH, [0; 6]), wanted, "{call}");
            let i386 = run(&program, call, 0x4000_0003, [0; 6]);
            let x32 = run(&program, call | 0x4000_0000, ARCH, [0; 6]);
            assert_eq!([i386, x32], [libc::SECCOMP_RET_ALLOW; 2], "{call}");
        }
    }

    #[test]
    fn only_the_whole_key_opens() {
        let program = program(&[1], KEY);
        let with = |a, b| run(&program, 1, ARCH, [9, 9, 9, 9, a, b]);
        assert_eq!(with(KEY.0[0], KEY.0[1]), libc::SECCOMP_RET_ALLOW);
        for bit in 0..64 {
            let a = with(KEY.0[0] ^ (1 << bit), KEY.0[1]);
            let b = with(KEY.0[0], KEY.0[1] ^ (1 << bit));
            assert_eq!([a, b], [libc::SECCOMP_RET_USER_NOTIF; 2], "{bit}");
        }
    }
}
