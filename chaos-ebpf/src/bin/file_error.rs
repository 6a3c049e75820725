//! `file.error`: file operations fail with an errno.
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
use chaos_common::{FileEvent, Filtered, Gate, RuleConfig, flags};
use chaos_ebpf::{
    bounds::negative_errno,
    call::Call,
    evidence,
    kernel::{
        OFF_DENTRY_SB, OFF_FILE_FLAGS, OFF_FILE_MODE, OFF_FILE_PATH, OFF_MOUNT_MNT, OFF_MOUNT_NS,
        OFF_PATH_DENTRY, OFF_PATH_MNT, OFF_SB_FLAGS, OFF_TASK_CRED, OFF_TASK_REAL_CRED, read,
    },
    maps::{CALL_SETS, RULES_PATH},
    path,
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    scratch::Scratch,
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
/// `MNT_NS_INTERNAL` (fs/mount.h): the namespace of mounts that the kernel keeps to itself. There
/// overlayfs has its layers, which it goes through for every operation on a directory, and there are
/// pipes, sockets and memory files, which nobody reaches by a name.
const INTERNAL: u64 = (-22_i64).cast_unsigned();
/// `SB_NOUSER` (include/linux/fs.h): the file system of such a mount.
const SB_NOUSER: u64 = 1 << 31;
/// What `file_permission` is asked for (include/linux/fs.h).
const MAY_WRITE: u64 = 2;
const MAY_READ: u64 = 4;

// What a program is asked about is one word: the kinds of event that it is, a `FileEvent::bit` each,
// and what follows.
/// execve does it.
const BY_EXEC: u64 = 1 << 63;
/// All names that it is about have been resolved.
const PATHS_KNOWN: u64 = 1 << 62;
const KINDS: u64 = PATHS_KNOWN - 1;

/// Where a name is: a mount, and a dentry on it, which need not exist yet.
#[derive(Clone, Copy)]
struct Name {
    mnt: u64,
    dentry: u64,
}

impl Name {
    /// What a `struct path` says.
    #[inline(always)]
    unsafe fn of_path(path: u64) -> Option<Self> {
        // SAFETY: reads are checked by a helper.
        unsafe {
            Some(Self {
                mnt: read(path, &OFF_PATH_MNT)?,
                dentry: read(path, &OFF_PATH_DENTRY)?,
            })
        }
    }

    /// A name in the directory that a `struct path` says.
    #[inline(always)]
    unsafe fn in_directory(directory: u64, dentry: u64) -> Option<Self> {
        // SAFETY: reads are checked by a helper.
        let mnt = unsafe { read(directory, &OFF_PATH_MNT)? };
        Some(Self { mnt, dentry })
    }

    /// Whether its path could be resolved.
    #[inline(always)]
    unsafe fn resolve(self, scratch: &Scratch) -> bool {
        // SAFETY: reads are checked by a helper.
        unsafe { path::resolve(scratch, self.mnt, self.dentry) }
    }

    /// Whether the kernel keeps the mount to itself.
    #[inline(always)]
    unsafe fn is_internal(self) -> bool {
        let mount = self.mnt - u64::from(OFF_MOUNT_MNT.load());
        // SAFETY: reads are checked by a helper.
        unsafe { read(mount, &OFF_MOUNT_NS) == Some(INTERNAL) }
    }
}

/// What is done to an open file, or by opening it.
#[inline(always)]
unsafe fn on_file(
    scratch: &Scratch,
    gate: &Gate,
    file: u64,
    skip: u32,
    kinds: impl FnOnce(u32) -> u64,
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
        let by = if file_flags & FMODE_EXEC == 0 {
            0
        } else {
            BY_EXEC
        };
        let event = kinds(mode) | by;
        let name = Name::of_path(file + u64::from(OFF_FILE_PATH.load()));
        named(scratch, gate, event, name)
    }
}

/// A created file was decided about before it was created.
#[inline(always)]
unsafe fn opened(file: u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    // SAFETY: the caller's file.
    unsafe {
        on_file(&scratch, gate, file, FMODE_CREATED, |_| {
            FileEvent::Open.bit()
        })
    }
}

/// What is read and written, of directories as well.
#[inline(always)]
unsafe fn used(file: impl FnOnce() -> u64, mask: impl FnOnce() -> u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    let Some(call) = Call::current() else {
        return 0;
    };
    let kind = match mask() & (MAY_READ | MAY_WRITE) {
        MAY_READ if call.lists() => FileEvent::Readdir,
        MAY_READ if !call.moves_data() => FileEvent::Read,
        MAY_WRITE if !call.moves_data() => FileEvent::Write,
        _ => return 0,
    };
    // What is read late, or kept in the scratch, takes no room on the stack until then.
    scratch.set_note(kind.bit());
    // SAFETY: the caller's file.
    unsafe { on_file(&scratch, gate, file(), 0, |_| scratch.note()) }
}

/// A length is changed by ftruncate, or by an open with `O_TRUNC`.
#[inline(always)]
unsafe fn cut(file: u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    // SAFETY: the caller's file.
    unsafe { on_file(&scratch, gate, file, 0, |_| FileEvent::Truncate.bit()) }
}

/// Something is asked of, or done to, what a `struct path` says. overlayfs asks for the attributes of
/// its own files while it lists a directory.
#[inline(always)]
unsafe fn on_path(kind: FileEvent, path: u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    // SAFETY: the caller's path.
    unsafe {
        if !acts_for_itself() {
            return 0;
        }
        named(&scratch, gate, kind.bit(), Name::of_path(path))
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
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    // SAFETY: the caller's name.
    unsafe { named(&scratch, gate, kind.bit(), name()) }
}

/// A name that does not exist is about to be made. The open that makes it is asked here, because
/// when `file_open` is asked the file is there already, and an error would leave it behind.
#[inline(always)]
unsafe fn made(name: impl FnOnce() -> Option<Name>) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    let Some(call) = Call::current() else {
        return 0;
    };
    let event = if call.makes_nodes() {
        FileEvent::Mknod.bit()
    } else {
        FileEvent::Open.bit() | FileEvent::Create.bit()
    };
    // SAFETY: the caller's name.
    unsafe { named(&scratch, gate, event, name()) }
}

/// A name becomes another one, or a file gets one more. Both are on one mount, but for those of a
/// rename, which says them both.
#[inline(always)]
unsafe fn on_two(
    kind: FileEvent,
    from: impl FnOnce() -> Option<Name>,
    to: impl FnOnce() -> Option<Name>,
) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
        return 0;
    };
    let Some(from) = from() else {
        return 0;
    };
    // SAFETY: the caller's names.
    unsafe {
        if from.is_internal() {
            return 0;
        }
        let known = gate.paths != 0 && from.resolve(&scratch) && {
            // Read late as well.
            to().is_some_and(|to| to.resolve(&scratch))
        };
        decide(
            &scratch,
            gate,
            kind.bit() | if known { PATHS_KNOWN } else { 0 },
        )
    }
}

/// An extended attribute: the hook does not say on which mount, so that no path can be told.
///
/// overlayfs keeps its own notes in attributes of its layers, and asks there for what it is asked
/// for.
#[inline(always)]
unsafe fn attribute(kind: FileEvent, dentry: u64) -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK.load()) else {
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
    decide(&scratch, gate, kind.bit())
}

/// Resolves the name if a rule wants to know, and decides.
#[inline(always)]
unsafe fn named(scratch: &Scratch, gate: &Gate, event: u64, name: Option<Name>) -> i64 {
    let Some(name) = name else {
        return 0;
    };
    // SAFETY: reads are checked by a helper.
    let known = unsafe {
        if name.is_internal() {
            return 0;
        }
        gate.paths != 0 && name.resolve(scratch)
    };
    decide(scratch, gate, event | if known { PATHS_KNOWN } else { 0 })
}

/// The filters read the event from the scratch: what they would hold of it otherwise takes room on
/// the stack, which is scarce.
#[inline(always)]
fn decide(scratch: &Scratch, gate: &Gate, event: u64) -> i64 {
    scratch.set_note(event);
    let hit = decide_met(
        scratch,
        gate,
        &Task,
        |rule| {
            let wanted = CALL_SETS.get(rule.calls.into());
            wanted.is_some_and(|wanted| wanted.has_one_of(scratch.note() & KINDS))
        },
        |number, rule| filter(number, rule, scratch),
        |_| false,
    );
    let Some(hit) = hit else { return 0 };
    evidence::injected(
        &hit,
        &Task,
        HOOK.load(),
        Call::current().map_or(u64::MAX, |call| call.number),
    );
    negative_errno(hit.rule.effect)
}

/// Of two names one is enough.
#[inline(always)]
fn filter(number: u32, rule: &RuleConfig, scratch: &Scratch) -> Filtered {
    if scratch.note() & BY_EXEC != 0 && rule.flags & flags::INCLUDE_EXEC == 0 {
        return Filtered::Out;
    }
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
