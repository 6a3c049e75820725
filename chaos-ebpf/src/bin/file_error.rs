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
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use chaos_common::{Filtered, Gate, Hook, RuleConfig, flags};
use chaos_ebpf::{
    bounds::negative_errno,
    call::Call,
    evidence,
    kernel::{OFF_FILE_FLAGS, OFF_FILE_MODE, OFF_FILE_PATH, OFF_PATH_DENTRY, OFF_PATH_MNT, read},
    maps::RULES_PATH,
    path,
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    scratch::Scratch,
    subject::Task,
};

const FILE_OPEN_LSM: u32 = Hook::FileOpenLsm as u32;
const FILE_OPEN_FMOD: u32 = Hook::FileOpenFmodRet as u32;

/// The file was created by this very open (`include/linux/fs.h`, the same from 5.1 to 7.x).
const FMODE_CREATED: u32 = 1 << 20;
/// An open that the kernel makes for itself: overlayfs opens the file behind its own one this way,
/// and asks `security_file_open` again. Set on 6.1 as well as with `FMODE_BACKING` on 6.8 and later.
const FMODE_NOACCOUNT: u32 = 1 << 29;
/// `__FMODE_EXEC` in `f_flags`: execve opens the program, its interpreter or its script.
const FMODE_EXEC: u32 = 1 << 5;

#[inline(always)]
fn file_open(hook: u32, file: u64) -> i64 {
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
fn path_mknod(hook: u32, directory: u64, dentry: u64) -> i64 {
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
fn decide(hook: u32, scratch: &Scratch, gate: &Gate, path: bool, exec: bool) -> i64 {
    let hit = decide_met(
        scratch,
        gate,
        &Task,
        |_| true,
        |number, rule| filter(number, rule, scratch, path, exec),
        |_| false,
    );
    let Some(hit) = hit else { return 0 };
    evidence::injected(
        &hit,
        &Task,
        hook,
        Call::current().map_or(u64::MAX, |call| call.number),
    );
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
    let Some(call) = Call::current() else {
        return false;
    };
    if call.compat {
        // mknod, socketcall, mknodat, bind (arch/x86/entry/syscalls/syscall_32.tbl)
        !matches!(call.number, 14 | 102 | 297 | 361)
    } else {
        // bind, mknod, mknodat (arch/x86/entry/syscalls/syscall_64.tbl)
        !matches!(call.number, 49 | 133 | 259)
    }
}

program!(
    /// LSM: `file_open(file)`
    file_open_lsm, "lsm/file_open", 1,
    |context| file_open(FILE_OPEN_LSM, argument(context, 0))
);
program!(
    /// LSM: `path_mknod(dir, dentry, mode, dev)`
    file_make_lsm, "lsm/path_mknod", 4,
    |context| path_mknod(FILE_OPEN_LSM, argument(context, 0), argument(context, 1))
);
// aya-obj knows no section for fmod_ret; the loader turns these fentry sections into it.
program!(
    /// `fmod_ret`: `security_file_open(file)`
    file_open_fmod, "fentry/security_file_open", 1,
    |context| file_open(FILE_OPEN_FMOD, argument(context, 0))
);
program!(
    /// `fmod_ret`: `security_path_mknod(dir, dentry, mode, dev)`
    file_make_fmod, "fentry/security_path_mknod", 4,
    |context| path_mknod(FILE_OPEN_FMOD, argument(context, 0), argument(context, 1))
);

#[cfg(not(target_arch = "bpf"))]
fn main() {}
