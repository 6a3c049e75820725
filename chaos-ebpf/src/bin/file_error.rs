//! `file.error` and `file.delay`: file operations fail with an errno, or wait, and are done then.
//! `disk.full`, `disk.readonly` and `disk.quota`: all of those fail that such a disk would have fail. One
//! program asks the rules of all of them: the first error wins, after all delays.
//!
//! One program per hook of the security modules that has something to say of files; user space loads
//! those that rules need, as BPF LSM programs, or as `fmod_ret` on the `security_*` function of the
//! same name where BPF LSM is not enabled.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use aya_ebpf::{Global, helpers::bpf_get_current_task};
use chaos_common::{FileEvent, Filtered, Gate, Pause, RuleConfig, flags};
use chaos_ebpf::{
    amount, atomics,
    bounds::negative_errno,
    call::Call,
    evidence,
    kernel::{
        OFF_DENTRY_INODE, OFF_DENTRY_SB, OFF_FILE_FLAGS, OFF_FILE_MODE, OFF_INODE_MODE,
        OFF_SB_FLAGS, OFF_SB_IFLAGS, OFF_TASK_CRED, OFF_TASK_REAL_CRED, read,
    },
    maps::{CALL_SETS, GATES, RULES_PATH, RULES_ROOM},
    name::Name,
    path,
    pause::{self, Outcome},
    plane::{Hit, decide_met, met_by_task},
    program,
    program::argument,
    scratch::{Claim, Scratch},
    subject::Task,
};

/// The [`chaos_common::Hook`] of the mechanism that this copy of the programs is loaded for.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);

/// The file was created by this very open (`include/linux/fs.h`, the same from 5.1 to 7.x).
const FMODE_CREATED: u32 = 1 << 20;
/// An open that the kernel makes for itself: overlayfs opens the file behind its own one this way,
/// and what is done to the one is done to the other again. Set on 6.1 as well as with
/// `FMODE_BACKING` on 6.8 and later.
const FMODE_NOACCOUNT: u32 = 1 << 29;
/// `__FMODE_EXEC` in `f_flags`: execve opens the program, its interpreter or its script.
const FMODE_EXEC: u32 = 1 << 5;
/// `SB_NOUSER` (include/linux/fs.h): the file system of a mount that the kernel keeps to itself.
const SB_NOUSER: u64 = 1 << 31;
/// `SB_I_NOEXEC` (include/linux/fs.h, since 4.3): nothing is executed from there, whatever the
/// mount says. proc, sysfs, cgroups and devpts have it, and nothing that lies on a disk.
const SB_I_NOEXEC: u64 = 1 << 1;
/// `FMODE_WRITE` in `f_mode`.
const FMODE_WRITE: u32 = 1 << 1;
/// The type in `i_mode`, and those of it that a disk holds the contents of.
const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFDIR: u16 = 0o040_000;
/// What `file_permission` is asked for (include/linux/fs.h).
const MAY_WRITE: u64 = 2;
const MAY_READ: u64 = 4;

// What a program is asked about is one word: the kinds of event that it is, a `FileEvent::bit` each,
// and what follows.
/// execve does it.
const BY_EXEC: u64 = 1 << 63;
/// All names that it is about have been resolved.
const PATHS_KNOWN: u64 = 1 << 62;
/// It is on a disk, as far as rules want to know.
const ON_DISK: u64 = 1 << 61;
const KINDS: u64 = ON_DISK - 1;
/// In an event's identity the hook stands above its kinds.
const HOOK_SHIFT: u32 = 40;
/// Those that are about what is in a file, and not about its name.
const CONTENTS: u64 = FileEvent::OpenWrite.bit()
    | FileEvent::Write.bit()
    | FileEvent::Fill.bit()
    | FileEvent::Punch.bit();

/// The rules that the task meets, and the call that it is in, whose number is kept for samples.
#[inline(always)]
fn met() -> Option<(Claim, &'static Gate, Call)> {
    let (scratch, gate) = met_by_task(HOOK.load())?;
    let call = Call::current()?;
    scratch.set_call(call.native().unwrap_or(Call::NONE));
    Some((scratch, gate, call))
}

/// What is done to an open file, or by opening it.
#[inline(always)]
unsafe fn on_file(
    scratch: Claim,
    gate: &Gate,
    file: u64,
    skip: u32,
    kinds: impl FnOnce(Scratch, u32) -> u64,
) -> i64 {
    // SAFETY: reads are checked by a helper.
    unsafe {
        let Some(mode) = read::<u32>(file, &OFF_FILE_MODE) else {
            return 0;
        };
        let Some(file_flags) = read::<u32>(file, &OFF_FILE_FLAGS) else {
            return 0;
        };
        if mode & (skip | FMODE_NOACCOUNT) != 0 {
            return 0;
        }
        // Without branches: a verifier would follow the ways behind each of them.
        let by_exec = u64::from(file_flags & FMODE_EXEC) * (BY_EXEC / u64::from(FMODE_EXEC));
        let event = kinds(*scratch, mode) | by_exec;
        let name = Name::of_file(file);
        named(scratch, gate, event, name)
    }
}

/// A created file was decided about before it was created.
#[inline(always)]
unsafe fn opened(file: u64) -> i64 {
    let Some((scratch, gate, _)) = met() else {
        return 0;
    };
    // SAFETY: the caller's file.
    unsafe {
        on_file(scratch, gate, file, FMODE_CREATED, |_, mode| {
            let writes = u64::from(mode & FMODE_WRITE) / u64::from(FMODE_WRITE);
            FileEvent::Open.bit() | (writes * FileEvent::OpenWrite.bit())
        })
    }
}

/// What is read and written, of directories as well.
#[inline(always)]
unsafe fn used(file: impl FnOnce() -> u64, mask: impl FnOnce() -> u64) -> i64 {
    let Some((scratch, gate, call)) = met() else {
        return 0;
    };
    let kind = match mask() & (MAY_READ | MAY_WRITE) {
        MAY_READ if call.lists() => FileEvent::Readdir,
        MAY_READ if !call.moves_data() => FileEvent::Read,
        MAY_WRITE if !call.moves_data() => FileEvent::Write,
        MAY_WRITE if call.takes_room() => FileEvent::Punch,
        MAY_WRITE => FileEvent::Fill,
        _ => return 0,
    };
    // What is read late, or kept in the scratch, takes no room on the stack until then.
    scratch.set_note(kind.bit());
    // SAFETY: the caller's file.
    unsafe { on_file(scratch, gate, file(), 0, |scratch, _| scratch.note()) }
}

/// A length is changed by ftruncate, or by an open with `O_TRUNC`.
#[inline(always)]
unsafe fn cut(file: u64) -> i64 {
    let Some((scratch, gate, _)) = met() else {
        return 0;
    };
    // SAFETY: the caller's file.
    unsafe { on_file(scratch, gate, file, 0, |_, _| FileEvent::Truncate.bit()) }
}

/// Something is asked of, or done to, what a `struct path` says. overlayfs asks for the attributes of
/// its own files while it lists a directory.
#[inline(always)]
unsafe fn on_path(kind: FileEvent, path: u64) -> i64 {
    let Some((scratch, gate, _)) = met() else {
        return 0;
    };
    // SAFETY: the caller's path.
    unsafe {
        if !acts_for_itself() {
            return 0;
        }
        named(scratch, gate, kind.bit(), Name::of_path(path))
    }
}

/// Whether the task has the credentials that are its own. overlayfs works with those of whoever has
/// mounted it.
#[inline(always)]
unsafe fn acts_for_itself() -> bool {
    // SAFETY: no pointer is passed, and reads are checked by a helper.
    unsafe {
        let task = bpf_get_current_task();
        let own = read::<u64>(task, &OFF_TASK_REAL_CRED);
        own.is_some() && own == read(task, &OFF_TASK_CRED)
    }
}

/// A name in a directory is made or removed. It is read late: until then it would take room on the
/// stack.
#[inline(always)]
unsafe fn on_name(kind: FileEvent, name: impl FnOnce() -> Option<Name>) -> i64 {
    let Some((scratch, gate, _)) = met() else {
        return 0;
    };
    // SAFETY: the caller's name.
    unsafe { named(scratch, gate, kind.bit(), name()) }
}

/// A name that does not exist is about to be made. The open that makes it is asked here, because
/// when `file_open` is asked the file is there already, and an error would leave it behind.
#[inline(always)]
unsafe fn made(name: impl FnOnce() -> Option<Name>) -> i64 {
    let Some((scratch, gate, call)) = met() else {
        return 0;
    };
    let event = if call.makes_nodes() {
        FileEvent::Mknod.bit()
    } else {
        FileEvent::Open.bit() | FileEvent::Create.bit()
    };
    // SAFETY: the caller's name.
    unsafe { named(scratch, gate, event, name()) }
}

/// A name becomes another one, or a file gets one more. Both are on one mount, but for those of a
/// rename, which says them both.
#[inline(always)]
unsafe fn on_two(
    kind: FileEvent,
    from: impl FnOnce() -> Option<Name>,
    to: impl FnOnce() -> Option<Name>,
) -> i64 {
    let Some((scratch, gate, _)) = met() else {
        return 0;
    };
    let Some(from) = from() else {
        return 0;
    };
    scratch.set_dentry(from.dentry());
    // SAFETY: the caller's names.
    unsafe {
        if from.is_internal() {
            return 0;
        }
        scratch.set_note(kind.bit());
        // The second one is read late as well.
        if gate.paths != 0 && from.resolve(*scratch) && to().is_some_and(|to| to.resolve(*scratch))
        {
            scratch.set_note(scratch.note() | PATHS_KNOWN);
        }
        decide(scratch)
    }
}

/// Times are set. Everything else that changes attributes comes by here as well, also for what a
/// write or a truncate does besides.
#[inline(always)]
unsafe fn timed(dentry: u64) -> i64 {
    if Call::current().is_some_and(Call::sets_times) {
        // SAFETY: the caller's dentry.
        unsafe { attribute(FileEvent::Utimes, dentry) }
    } else {
        0
    }
}

/// An extended attribute, or times: the hook does not say on which mount, so that no path can be
/// told.
///
/// overlayfs keeps its own notes in attributes of its layers, and asks there for what it is asked
/// for.
#[inline(always)]
unsafe fn attribute(kind: FileEvent, dentry: u64) -> i64 {
    let Some((scratch, ..)) = met() else {
        return 0;
    };
    // SAFETY: no pointer is passed, and reads are checked by a helper.
    unsafe {
        let Some(super_block) = read::<u64>(dentry, &OFF_DENTRY_SB) else {
            return 0;
        };
        let Some(its_flags) = read::<u64>(super_block, &OFF_SB_FLAGS) else {
            return 0;
        };
        if its_flags & SB_NOUSER != 0 || !acts_for_itself() {
            return 0;
        }
    }
    scratch.set_dentry(dentry);
    scratch.set_note(kind.bit());
    decide(scratch)
}

/// Resolves the name if a rule wants to know, and decides.
#[inline(always)]
unsafe fn named(scratch: Claim, gate: &Gate, event: u64, name: Option<Name>) -> i64 {
    let Some(name) = name else {
        return 0;
    };
    scratch.set_dentry(name.dentry());
    scratch.set_note(event);
    // SAFETY: reads are checked by a helper.
    unsafe {
        if name.is_internal() {
            return 0;
        }
        if gate.paths != 0 && name.resolve(*scratch) {
            scratch.set_note(scratch.note() | PATHS_KNOWN);
        }
    }
    decide(scratch)
}

/// Decides about the event whose kinds are the scratch's note. What filters would hold of it otherwise
/// takes room on the stack, which is scarce.
#[inline(always)]
fn decide(scratch: Claim) -> i64 {
    negative_errno(decide_event(scratch.hand_over()))
}

/// The effect on the event that a claimed buffer is about, 0 if there is none; gives the buffer back.
///
/// The verifier follows a global function once, by itself, and not again for each way of a program to
/// its call (kernel/bpf/verifier.c, `do_check_subprogs`, since Linux 5.6).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn decide_event(place: u64) -> u32 {
    match (Claim::taken(place), GATES.get(HOOK.load())) {
        (Some(scratch), Some(gate)) => effect(scratch, gate),
        _ => 0,
    }
}

#[inline(always)]
fn effect(scratch: Claim, gate: &Gate) -> u32 {
    if let Some(outcome) = pause::decided(identity(*scratch)) {
        return outcome.effect;
    }
    if gate.facts != 0 {
        learn_event(scratch.place());
    }
    let event = *scratch;
    let hit = decide_met(
        event,
        gate,
        Task,
        move |rule| {
            let wanted = CALL_SETS.get(rule.calls.into());
            wanted.is_some_and(|wanted| wanted.has_one_of(event.note() & KINDS))
        },
        move |number, rule| filter(number, rule, event),
        move |hit| {
            if hit.rule.flags & flags::DELAY == 0 {
                return false;
            }
            injected(hit, event);
            event.add_wait(hit.rule);
            true
        },
    );
    let mut effect = 0;
    if let Some(hit) = hit {
        injected(&hit, event);
        effect = hit.rule.effect;
    }
    let event = identity(*scratch);
    if pause::wait(scratch, event, Outcome { effect, flags: 0 }) {
        return Pause::AGAIN;
    }
    effect
}

/// Which event of its call it is: one call may be several, and rules come and go while it waits.
#[inline(always)]
fn identity(scratch: Scratch) -> u64 {
    scratch.note() & !(PATHS_KNOWN | ON_DISK) | u64::from(HOOK.load()) << HOOK_SHIFT
}

#[inline(always)]
fn injected(hit: &Hit, scratch: Scratch) {
    evidence::injected(hit, &Task, HOOK.load(), scratch.call());
}

/// Of two names one is enough.
#[inline(always)]
fn filter(number: u32, rule: &RuleConfig, scratch: Scratch) -> Filtered {
    if scratch.note() & BY_EXEC != 0 && rule.flags & flags::INCLUDE_EXEC == 0 {
        return Filtered::Out;
    }
    if rule.flags & flags::DISK != 0 && scratch.note() & ON_DISK == 0 {
        return Filtered::Out;
    }
    let found = filter_path(number, rule, scratch);
    // Last, because it counts.
    if found == Filtered::In && rule.flags & flags::ROOM != 0 && fits(number, scratch) {
        return Filtered::Out;
    }
    found
}

#[inline(always)]
fn filter_path(number: u32, rule: &RuleConfig, scratch: Scratch) -> Filtered {
    if rule.flags & flags::PATH == 0 {
        return Filtered::In;
    }
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let Some(wanted) = (unsafe { RULES_PATH.get(number) }) else {
        return Filtered::Unknown;
    };
    if path::matches(scratch, wanted) {
        Filtered::In
    } else if scratch.note() & PATHS_KNOWN != 0 {
        Filtered::Out
    } else {
        Filtered::Unknown
    }
}

/// What rules about disks want to know, for a claimed buffer. 0; the kernel wants to see a number come
/// back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn learn_event(place: u64) -> u32 {
    if let Some(scratch) = Scratch::at(place) {
        learn(scratch);
    }
    0
}

#[inline(always)]
fn learn(scratch: Scratch) {
    scratch.set_amount(0);
    if scratch.note() & FileEvent::Write.bit() != 0
        && let Some(call) = Call::current()
    {
        amount::learn(scratch, call);
    }
    // SAFETY: reads are checked by a helper.
    if unsafe { is_on_disk(scratch) } {
        scratch.set_note(scratch.note() | ON_DISK);
    }
}

/// Whether it is kept on a disk: what is written to a device or a pipe is not, though its name is.
#[inline(always)]
unsafe fn is_on_disk(scratch: Scratch) -> bool {
    let dentry = scratch.dentry();
    // SAFETY: reads are checked by a helper.
    unsafe {
        let Some(super_block) = read::<u64>(dentry, &OFF_DENTRY_SB) else {
            return false;
        };
        let Some(its_flags) = read::<u64>(super_block, &OFF_SB_IFLAGS) else {
            return false;
        };
        if its_flags & SB_I_NOEXEC != 0 {
            return false;
        }
        if scratch.note() & CONTENTS == 0 {
            return true;
        }
        let inode = read::<u64>(dentry, &OFF_DENTRY_INODE);
        let mode = inode.and_then(|inode| read::<u16>(inode, &OFF_INODE_MODE));
        mode.is_some_and(|mode| matches!(mode & S_IFMT, S_IFREG | S_IFDIR))
    }
}

/// Whether there is room left, of which a write takes what it asks for. What does not fit leaves no
/// room: the next one, however small, finds none.
#[inline(always)]
fn fits(number: u32, scratch: Scratch) -> bool {
    let Some(room) = RULES_ROOM.get_ptr_mut(number) else {
        return true;
    };
    // SAFETY: a map's value.
    unsafe {
        let bytes = (*room).bytes;
        if (&raw const (*room).asked).read_volatile() >= bytes {
            return false;
        }
        let amount = scratch.amount();
        if amount == 0 {
            return true;
        }
        let before = atomics::fetch_add(&raw mut (*room).asked, amount);
        before < bytes && amount <= bytes - before
    }
}

// aya-obj knows no section for fmod_ret; the loader makes of fentry what it needs.
program!(
    /// `file_open(file)`
    file_open, "fentry/file_open", 1, |context| opened(argument(context, 0))
);
program!(
    /// `file_permission(file, mask)`
    file_permission, "fentry/file_permission", 2,
    |context| used(|| argument(context, 0), || argument(context, 1))
);
program!(
    /// `file_truncate(file)`, Linux 6.2
    file_truncate, "fentry/file_truncate", 1, |context| cut(argument(context, 0))
);
program!(
    /// `path_truncate(path)`
    path_truncate, "fentry/path_truncate", 1,
    |context| on_path(FileEvent::Truncate, argument(context, 0))
);
program!(
    /// `inode_getattr(path)`
    inode_getattr, "fentry/inode_getattr", 1,
    |context| on_path(FileEvent::Getattr, argument(context, 0))
);
program!(
    /// `path_chmod(path, mode)`
    path_chmod, "fentry/path_chmod", 2,
    |context| on_path(FileEvent::Setattr, argument(context, 0))
);
program!(
    /// `path_chown(path, uid, gid)`
    path_chown, "fentry/path_chown", 3,
    |context| on_path(FileEvent::Setattr, argument(context, 0))
);
program!(
    /// `path_mknod(dir, dentry, mode, dev)`
    path_mknod, "fentry/path_mknod", 4,
    |context| made(|| Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_mkdir(dir, dentry, mode)`
    path_mkdir, "fentry/path_mkdir", 3,
    |context| on_name(FileEvent::Mkdir, || Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_unlink(dir, dentry)`
    path_unlink, "fentry/path_unlink", 2,
    |context| on_name(FileEvent::Unlink, || Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_rmdir(dir, dentry)`
    path_rmdir, "fentry/path_rmdir", 2,
    |context| on_name(FileEvent::Rmdir, || Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_symlink(dir, dentry, old_name)`
    path_symlink, "fentry/path_symlink", 3,
    |context| on_name(FileEvent::Symlink, || Name::in_directory(argument(context, 0), argument(context, 1)))
);
program!(
    /// `path_rename(old_dir, old_dentry, new_dir, new_dentry, flags)`
    path_rename, "fentry/path_rename", 5,
    |context| on_two(
        FileEvent::Rename,
        || Name::in_directory(argument(context, 0), argument(context, 1)),
        || Name::in_directory(argument(context, 2), argument(context, 3)),
    )
);
program!(
    /// `path_link(old_dentry, new_dir, new_dentry)`
    path_link, "fentry/path_link", 3,
    |context| on_two(
        FileEvent::Link,
        || Name::in_directory(argument(context, 1), argument(context, 0)),
        || Name::in_directory(argument(context, 1), argument(context, 2)),
    )
);
program!(
    /// `inode_setattr(idmap, dentry, attr)`
    inode_setattr, "fentry/inode_setattr", 3, |context| timed(argument(context, 1))
);
program!(
    /// `inode_getxattr(dentry, name)`
    inode_getxattr, "fentry/inode_getxattr", 2,
    |context| attribute(FileEvent::Getxattr, argument(context, 0))
);
program!(
    /// `inode_get_acl(idmap, dentry, name)`, Linux 6.2
    inode_get_acl, "fentry/inode_get_acl", 3,
    |context| attribute(FileEvent::Getxattr, argument(context, 1))
);
program!(
    /// `inode_setxattr(idmap, dentry, name, value, size, flags)`
    inode_setxattr, "fentry/inode_setxattr", 6,
    |context| attribute(FileEvent::Setxattr, argument(context, 1))
);
program!(
    /// `inode_set_acl(idmap, dentry, name, acl)`, Linux 6.2
    inode_set_acl, "fentry/inode_set_acl", 4,
    |context| attribute(FileEvent::Setxattr, argument(context, 1))
);
program!(
    /// `inode_listxattr(dentry)`
    inode_listxattr, "fentry/inode_listxattr", 1,
    |context| attribute(FileEvent::Listxattr, argument(context, 0))
);
program!(
    /// `inode_removexattr(idmap, dentry, name)`
    inode_removexattr, "fentry/inode_removexattr", 3,
    |context| attribute(FileEvent::Removexattr, argument(context, 1))
);
program!(
    /// `inode_remove_acl(idmap, dentry, name)`, Linux 6.2
    inode_remove_acl, "fentry/inode_remove_acl", 3,
    |context| attribute(FileEvent::Removexattr, argument(context, 1))
);

#[cfg(not(target_arch = "bpf"))]
fn main() {}
