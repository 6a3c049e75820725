//! `file.error`: file operations fail with an errno.
//!
//! The same two hooks by two mechanisms: BPF LSM programs, and `fmod_ret` programs on the
//! `security_*` functions for kernels where BPF LSM is not enabled.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "a conversion that can fail would be a branch to verify"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use chaos_common::{Filtered, Gate, Hook, RuleConfig, flags};
use chaos_ebpf::{
    bounds::negative_errno,
    evidence,
    kernel::{
        OFF_FILE_FLAGS, OFF_FILE_MODE, OFF_FILE_PATH, OFF_PATH_DENTRY, OFF_PATH_MNT, OFF_REGS_CS,
        OFF_REGS_ORIG_AX, read,
    },
    maps::RULES_PATH,
    path,
    plane::{decide_met, met_by_task},
    scratch::Scratch,
    subject::Task,
};

/// The file was created by this very open (`include/linux/fs.h`, the same from 5.1 to 7.x).
const FMODE_CREATED: u32 = 1 << 20;
/// An open that the kernel makes for itself: overlayfs opens the file behind its own one this way,
/// and asks `security_file_open` again. Set on 6.1 as well as with `FMODE_BACKING` on 6.8 and later.
const FMODE_NOACCOUNT: u32 = 1 << 29;
/// `__FMODE_EXEC` in `f_flags`: execve opens the program, its interpreter or its script.
const FMODE_EXEC: u32 = 1 << 5;

#[inline(always)]
fn file_open(hook: Hook, file: u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(hook) else {
        return 0;
    };
    // SAFETY: reads are checked by a helper.
    let (mode, file_flags) = unsafe {
        let Some(mode) = read::<u32>(file, &OFF_FILE_MODE) else {
            return 0;
        };
        let Some(file_flags) = read::<u32>(file, &OFF_FILE_FLAGS) else {
            return 0;
        };
        (mode, file_flags)
    };
    // A created file was decided about before it was created, and a backing file with its overlay.
    if mode & (FMODE_CREATED | FMODE_NOACCOUNT) != 0 {
        return 0;
    }
    // SAFETY: reads are checked by a helper.
    let path = gate.paths != 0
        && unsafe { resolve(&scratch, file + u64::from(OFF_FILE_PATH.load()), None) };
    decide(hook, &scratch, gate, path, file_flags & FMODE_EXEC != 0)
}

/// A name that does not exist is about to be made. The open that makes it is asked here, because
/// when `file_open` is asked the file is there already, and an error would leave it behind.
#[inline(always)]
fn path_mknod(hook: Hook, directory: u64, dentry: u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(hook) else {
        return 0;
    };
    if !by_open() {
        return 0;
    }
    // SAFETY: reads are checked by a helper.
    let path = gate.paths != 0 && unsafe { resolve(&scratch, directory, Some(dentry)) };
    decide(hook, &scratch, gate, path, false)
}

#[inline(always)]
unsafe fn resolve(scratch: &Scratch, path: u64, dentry: Option<u64>) -> bool {
    // SAFETY: reads are checked by a helper.
    unsafe {
        let Some(mnt) = read(path, &OFF_PATH_MNT) else {
            return false;
        };
        let dentry = match dentry {
            Some(dentry) => Some(dentry),
            None => read(path, &OFF_PATH_DENTRY),
        };
        let Some(dentry) = dentry else { return false };
        path::resolve(scratch, mnt, dentry)
    }
}

/// `path` says whether the scratch has the path.
#[inline(always)]
fn decide(hook: Hook, scratch: &Scratch, gate: &Gate, path: bool, exec: bool) -> i64 {
    let hit = decide_met(scratch, gate, |number, rule| {
        filter(number, rule, scratch, path, exec)
    });
    let Some(hit) = hit else { return 0 };
    evidence::injected(&hit, &Task, hook, current_call().unwrap_or(u64::MAX));
    negative_errno(hit.rule.effect)
}

#[inline(always)]
fn filter(number: u32, rule: &RuleConfig, scratch: &Scratch, path: bool, exec: bool) -> Filtered {
    if exec && rule.flags & flags::INCLUDE_EXEC == 0 {
        return Filtered::Out;
    }
    if rule.flags & flags::PATH == 0 {
        return Filtered::In;
    }
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let (true, Some(wanted)) = (path, unsafe { RULES_PATH.get(number) }) else {
        return Filtered::Unknown;
    };
    if path::matches(scratch, wanted) {
        Filtered::In
    } else {
        Filtered::Out
    }
}

/// Whether the current system call opens files: `mknod` and the `bind` of a unix socket make names
/// on the same hook. `io_uring` opens from other system calls and from workers, so this looks for
/// those two and takes everything else for an open.
#[inline(always)]
fn by_open() -> bool {
    /// `__USER32_CS` (`arch/x86/include/asm/segment.h`): the call came from 32-bit code.
    const USER32_CS: u64 = 0x23;
    let Some(call) = current_call() else {
        return false;
    };
    // SAFETY: the read is checked by a helper.
    let Some(cs) = (unsafe { read::<u64>(registers(), &OFF_REGS_CS) }) else {
        return false;
    };
    if cs & 0xffff == USER32_CS {
        // mknod, socketcall, mknodat, bind (arch/x86/entry/syscalls/syscall_32.tbl)
        !matches!(call as u32, 14 | 102 | 297 | 361)
    } else {
        // bind, mknod, mknodat (arch/x86/entry/syscalls/syscall_64.tbl)
        !matches!(call as u32, 49 | 133 | 259)
    }
}

/// The number of the current system call.
#[inline(always)]
fn current_call() -> Option<u64> {
    // SAFETY: the read is checked by a helper.
    unsafe { read::<u64>(registers(), &OFF_REGS_ORIG_AX) }
}

/// Where the current task's registers lie, as it entered the kernel.
#[inline(always)]
fn registers() -> u64 {
    // SAFETY: no pointer of ours is passed.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()).cast_unsigned() }
}

/// An argument of the hooked function.
#[inline(always)]
unsafe fn argument(context: *mut c_void, index: usize) -> u64 {
    // SAFETY: the verifier knows how many arguments the hooked function has.
    unsafe { *context.cast::<u64>().add(index) }
}

macro_rules! program {
    ($(#[$doc:meta])* $name:ident, $section:literal, $arguments:literal, |$context:ident| $body:expr) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = $section)]
        pub extern "C" fn $name($context: *mut c_void) -> i64 {
            // What an earlier program on the same hook returned comes last, and stands.
            // SAFETY: the verifier knows the hooked function.
            let earlier = unsafe { argument($context, $arguments) }.cast_signed();
            if earlier != 0 {
                return earlier;
            }
            // SAFETY: the verifier knows the hooked function.
            unsafe { $body }
        }
    };
}

program!(
    /// LSM: `file_open(file)`
    file_open_lsm, "lsm/file_open", 1,
    |context| file_open(Hook::FileOpenLsm, argument(context, 0))
);
program!(
    /// LSM: `path_mknod(dir, dentry, mode, dev)`
    file_make_lsm, "lsm/path_mknod", 4,
    |context| path_mknod(Hook::FileOpenLsm, argument(context, 0), argument(context, 1))
);
// aya-obj knows no section for fmod_ret; the loader turns these fentry sections into it.
program!(
    /// `fmod_ret`: `security_file_open(file)`
    file_open_fmod, "fentry/security_file_open", 1,
    |context| file_open(Hook::FileOpenFmodRet, argument(context, 0))
);
program!(
    /// `fmod_ret`: `security_path_mknod(dir, dentry, mode, dev)`
    file_make_fmod, "fentry/security_path_mknod", 4,
    |context| path_mknod(Hook::FileOpenFmodRet, argument(context, 0), argument(context, 1))
);

#[cfg(not(target_arch = "bpf"))]
fn main() {}
