//! `syscall.error`, `syscall.return` and `syscall.delay`: system calls fail with an errno, or return a
//! value, and are not done; or they wait, and are done then. One program asks the rules of all three:
//! the first error or value wins, after all delays.
//!
//! The programs are for functions with so many arguments; user space loads a copy for each function
//! that a rule needs: a system call itself, or what a system call asks the security modules. Either
//! way the number of the call that the task is in says which one it is.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use core::ffi::c_void;

use aya_ebpf::{Global, helpers::generated::bpf_override_return};
use chaos_common::{Filtered, Hook, RuleConfig, flags};
use chaos_ebpf::{
    bounds::{masked, negative_errno},
    call::Call,
    evidence,
    kernel::{OFF_FILE_MODE, read},
    maps::CALL_SETS,
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    subject::{Task, wait},
};

/// The [`chaos_common::Hook`] of the mechanism that this copy of the programs is loaded for.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);

const MICROSECOND_NS: u64 = 1000;

/// The highest value that a rule may have a call return: an `int`'s.
const MAX_VALUE: usize = 0x7fff_ffff;

/// The file was created by this very open (`include/linux/fs.h`, the same from 5.1 to 7.x).
const FMODE_CREATED: u32 = 1 << 20;
/// A file that the kernel has opened for itself: overlayfs opens the file behind its own one this
/// way, and what is done to the one is done to the other again.
const FMODE_NOACCOUNT: u32 = 1 << 29;

/// What the current call is to return in its place, if anything.
#[inline(always)]
fn result() -> Option<i64> {
    let hook = HOOK.load();
    let (scratch, gate) = met_by_task(hook)?;
    let call = Call::current()?;
    if call.compat {
        return None;
    }
    let concerns = |rule: &RuleConfig| {
        let calls = CALL_SETS.get(rule.calls.into());
        calls.is_some_and(|calls| calls.contains(call.number))
    };
    let hit = decide_met(
        &scratch,
        gate,
        &Task,
        concerns,
        |_, _| Filtered::In,
        |hit| {
            if hit.rule.flags & flags::DELAY == 0 {
                return false;
            }
            evidence::injected(hit, &Task, hook, call.number);
            scratch.add_wait(u64::from(hit.rule.effect) * MICROSECOND_NS);
            true
        },
    );
    let wait_ns = scratch.wait_ns();
    // Not while the processor is busy: who runs on it meanwhile may need the buffer.
    drop(scratch);
    wait(wait_ns);
    let hit = hit?;
    evidence::injected(&hit, &Task, hook, call.number);
    // Read again: the verifier has forgotten what the loop could have changed. It has to know the
    // hook, because of what security modules may say.
    if is_call(HOOK.load()) && hit.rule.flags & flags::RETURN != 0 {
        return Some(masked::<MAX_VALUE>(hit.rule.effect as usize).cast_signed() as i64);
    }
    Some(negative_errno(hit.rule.effect))
}

/// Whether the hook is the call itself.
#[inline(always)]
fn is_call(hook: u32) -> bool {
    hook == Hook::SyscallFmodRet as u32 || hook == Hook::SyscallKprobe as u32
}

/// The same where 0 means that the call is done.
#[inline(always)]
fn verdict() -> i64 {
    result().unwrap_or(0)
}

/// The same, unless the file is one that the same call has been asked about already.
#[inline(always)]
fn verdict_on(file: u64) -> i64 {
    // SAFETY: the read is checked by a helper.
    match unsafe { read::<u32>(file, &OFF_FILE_MODE) } {
        Some(mode) if mode & (FMODE_CREATED | FMODE_NOACCOUNT) == 0 => verdict(),
        _ => 0,
    }
}

// aya-obj knows no section for fmod_ret; the loader makes of fentry what it needs.
program!(
    /// On a function with one argument: every system call is one.
    call_1, "fentry/call_1", 1, |context| { _ = context; verdict() }
);
program!(
    /// With two.
    call_2, "fentry/call_2", 2, |context| { _ = context; verdict() }
);
program!(
    /// With three.
    call_3, "fentry/call_3", 3, |context| { _ = context; verdict() }
);
program!(
    /// With four.
    call_4, "fentry/call_4", 4, |context| { _ = context; verdict() }
);
program!(
    /// With five.
    call_5, "fentry/call_5", 5, |context| { _ = context; verdict() }
);
program!(
    /// `file_open(file)`
    file_1, "fentry/file_1", 1, |context| verdict_on(argument(context, 0))
);
program!(
    /// `file_permission(file, mask)`
    file_2, "fentry/file_2", 2, |context| verdict_on(argument(context, 0))
);

/// Where system calls begin, if the kernel lets a program return in their place.
#[unsafe(no_mangle)]
#[unsafe(link_section = "kprobe/call_probe")]
pub extern "C" fn call_probe(context: *mut c_void) -> i64 {
    if let Some(result) = result() {
        // SAFETY: the program's own context.
        unsafe { bpf_override_return(context.cast(), result.cast_unsigned()) };
    }
    0
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
