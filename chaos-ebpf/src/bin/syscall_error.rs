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
use chaos_common::{Filtered, Gate, Hook, Pause, RuleConfig, arguments, flags};
use chaos_ebpf::{
    bounds::{masked, negative_errno},
    call::Call,
    evidence, facts,
    kernel::{OFF_FILE_MODE, read},
    maps::{CALL_SETS, GATES, RULES_CALL, RULES_PATH},
    name::Name,
    path,
    pause::{self, Outcome},
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    scratch::{Claim, Scratch},
    subject::Task,
};

/// The [`chaos_common::Hook`] of the mechanism that this copy of the programs is loaded for.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);

/// The highest value that a rule may have a call return: an `int`'s.
const MAX_VALUE: usize = 0x7fff_ffff;

/// The file was created by this very open (`include/linux/fs.h`, the same from 5.1 to 7.x).
const FMODE_CREATED: u32 = 1 << 20;
/// A file that the kernel has opened for itself: overlayfs opens the file behind its own one this
/// way, and what is done to the one is done to the other again.
const FMODE_NOACCOUNT: u32 = 1 << 29;

/// The name that the call is about is known, or that it has none.
const NAME_KNOWN: u64 = 1;

/// What the current call is to return in its place, if anything. `name` is what the hook knows of
/// the file, and is asked where the call's first argument is no descriptor. It is read late: until
/// then it would take room on the stack.
#[inline(always)]
fn result(name: impl FnOnce() -> Option<Name>) -> Option<i64> {
    let hook = HOOK.load();
    let (scratch, gate) = met_by_task(hook)?;
    let call = Call::current()?;
    let number = call.native()?;
    if let Some(outcome) = pause::decided(hook.into()) {
        return answer(outcome);
    }
    scratch.set_call(number);
    if gate.facts != 0 {
        learn_event(scratch.place());
    }
    scratch.set_note(0);
    if gate.paths != 0 && knows_name(*scratch, call, name) {
        scratch.set_note(NAME_KNOWN);
    }
    answer(Outcome::of(decide_event(scratch.hand_over())))
}

/// Learns of the call what rules want to know, for a claimed buffer. 0; the kernel wants to see a number
/// come back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn learn_event(place: u64) -> u32 {
    if let (Some(scratch), Some(call)) = (Scratch::at(place), Call::current()) {
        scratch.forget_facts();
        // i386's arguments lie elsewhere, and look otherwise in memory: of its calls nothing is known,
        // and rules that want to know count an error.
        if !call.compat {
            facts::learn(scratch);
        }
    }
    0
}

/// What the call comes to that a claimed buffer is about, as [`Outcome::word`]; gives the buffer back.
///
/// The verifier follows a global function once, by itself, and not again for each way of a program to
/// its call (kernel/bpf/verifier.c, `do_check_subprogs`, since Linux 5.6).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn decide_event(place: u64) -> u64 {
    match (Claim::taken(place), GATES.get(HOOK.load())) {
        (Some(scratch), Some(gate)) => decide(scratch, gate).word(),
        _ => 0,
    }
}

#[inline(always)]
fn decide(scratch: Claim, gate: &Gate) -> Outcome {
    let hook = HOOK.load();
    let event = *scratch;
    let hit = decide_met(
        event,
        gate,
        Task,
        move |rule| {
            let calls = CALL_SETS.get(rule.calls.into());
            calls.is_some_and(|calls| calls.contains(event.call()))
        },
        move |number, rule| filter(number, rule, event),
        move |hit| {
            if hit.rule.flags & flags::DELAY == 0 {
                return false;
            }
            evidence::injected(hit, &Task, hook, event.call());
            event.add_wait(hit.rule);
            true
        },
    );
    let mut outcome = Outcome {
        effect: 0,
        flags: 0,
    };
    if let Some(hit) = hit {
        evidence::injected(&hit, &Task, hook, event.call());
        outcome.effect = hit.rule.effect;
        outcome.flags = hit.rule.flags & flags::RETURN;
    }
    if pause::wait(scratch, hook.into(), outcome) {
        outcome.effect = Pause::AGAIN;
        outcome.flags = 0;
    }
    outcome
}

/// What the call returns; no errno is 0.
#[inline(always)]
fn answer(outcome: Outcome) -> Option<i64> {
    // Read again: the verifier has forgotten what the loop could have changed. It has to know the
    // hook, because of what security modules may say.
    if is_call(HOOK.load()) && outcome.flags & flags::RETURN != 0 {
        return Some(masked::<MAX_VALUE>(outcome.effect as usize).cast_signed() as i64);
    }
    (outcome.effect != 0).then(|| negative_errno(outcome.effect))
}

/// Resolves the name of the call's file. Whether it is known: a descriptor that is none has none.
#[inline(always)]
fn knows_name(scratch: Scratch, call: Call, name: impl FnOnce() -> Option<Name>) -> bool {
    // SAFETY: addresses of the kernel's, and reads are checked by a helper.
    unsafe {
        let name = if arguments::has_descriptor(scratch.call()) {
            if call.compat {
                return false;
            }
            match facts::file(scratch) {
                facts::NO_FILE => return true,
                facts::UNKNOWN => return false,
                file => Name::of_file(file),
            }
        } else {
            name()
        };
        facts::resolve(scratch, name)
    }
}

/// Whether a rule wants the call.
#[inline(always)]
fn filter(number: u32, rule: &RuleConfig, scratch: Scratch) -> Filtered {
    if rule.flags & flags::CALL != 0 {
        // SAFETY: values are replaced whole, and the map is not preallocated.
        let filtered = match unsafe { RULES_CALL.get(number) } {
            Some(wanted) => wanted.filter(scratch.facts()),
            None => Filtered::Unknown,
        };
        if filtered != Filtered::In {
            return filtered;
        }
    }
    if rule.flags & flags::PATH == 0 {
        return Filtered::In;
    }
    // SAFETY: as above.
    let Some(wanted) = (unsafe { RULES_PATH.get(number) }) else {
        return Filtered::Unknown;
    };
    if path::matches(scratch, wanted) {
        Filtered::In
    } else if scratch.note() & NAME_KNOWN != 0 {
        Filtered::Out
    } else {
        Filtered::Unknown
    }
}

/// Whether the hook is the call itself.
#[inline(always)]
fn is_call(hook: u32) -> bool {
    hook == Hook::SyscallFmodRet as u32 || hook == Hook::SyscallKprobe as u32
}

/// The same where 0 means that the call is done.
#[inline(always)]
fn verdict() -> i64 {
    result(|| None).unwrap_or(0)
}

/// The same on a hook that says what the call's name is.
#[inline(always)]
fn verdict_on_name(name: impl FnOnce() -> Option<Name>) -> i64 {
    result(name).unwrap_or(0)
}

/// The same, unless the file is one that the same call has been asked about already: which modes say so.
#[inline(always)]
fn verdict_on(file: u64, asked_before: u32) -> i64 {
    // SAFETY: the read is checked by a helper.
    match unsafe { read::<u32>(file, &OFF_FILE_MODE) } {
        Some(mode) if mode & asked_before == 0 => {
            // SAFETY: the caller's file.
            verdict_on_name(|| unsafe { Name::of_file(file) })
        }
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
    file_1, "fentry/file_1", 1,
    |context| verdict_on(argument(context, 0), FMODE_CREATED | FMODE_NOACCOUNT)
);
program!(
    /// `file_permission(file, mask)`: also of a file that was created by its open.
    file_2, "fentry/file_2", 2, |context| verdict_on(argument(context, 0), FMODE_NOACCOUNT)
);

// The hooks that say the name of a file in their first two arguments.
program!(
    /// `path_unlink(dir, dentry)` and `path_rmdir`
    name_2, "fentry/name_2", 2,
    |context| verdict_on_name(|| Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_mkdir(dir, dentry, mode)` and `path_symlink(dir, dentry, old_name)`
    name_3, "fentry/name_3", 3,
    |context| verdict_on_name(|| Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_mknod(dir, dentry, mode, dev)`
    name_4, "fentry/name_4", 4,
    |context| verdict_on_name(|| Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_truncate(path)`, `path_chroot(path)` and `inode_getattr(path)`
    path_1, "fentry/path_1", 1, |context| verdict_on_name(|| Name::of_path(argument(context, 0)))
);
program!(
    /// `path_chmod(path, mode)`
    path_2, "fentry/path_2", 2, |context| verdict_on_name(|| Name::of_path(argument(context, 0)))
);
program!(
    /// `path_chown(path, uid, gid)`
    path_3, "fentry/path_3", 3, |context| verdict_on_name(|| Name::of_path(argument(context, 0)))
);

/// Where system calls begin, if the kernel lets a program return in their place.
#[unsafe(no_mangle)]
#[unsafe(link_section = "kprobe/call_probe")]
pub extern "C" fn call_probe(context: *mut c_void) -> i64 {
    if let Some(result) = result(|| None) {
        // SAFETY: the program's own context.
        unsafe { bpf_override_return(context.cast(), result.cast_unsigned()) };
    }
    0
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
