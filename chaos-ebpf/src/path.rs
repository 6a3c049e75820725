//! The path of a file as the current task sees it.
//!
//! `bpf_d_path` is allowed on some hooks of some kernels only and can't name a file that does not
//! exist yet, so this walks the dentries itself, from the file up to the task's root, across mounts.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_get_current_task,
    generated::{bpf_loop, bpf_probe_read_kernel as probe_read},
};
use chaos_common::{
    PathFilter,
    limits::{PATH_BYTES, PATH_CHUNK_BYTES, PATH_COMPONENTS, PATH_FILTER_BYTES},
};

use crate::{
    bounds::masked,
    kernel::{
        OFF_DENTRY_NAME, OFF_DENTRY_NAME_LEN, OFF_DENTRY_PARENT, OFF_FS_ROOT, OFF_MOUNT_MNT,
        OFF_MOUNT_MOUNTPOINT, OFF_MOUNT_PARENT, OFF_PATH_DENTRY, OFF_PATH_MNT, OFF_TASK_FS,
        OFF_VFSMOUNT_ROOT, read,
    },
    scratch::{NAME_BYTES, PATHS, Scratch},
};

/// Resolves the path of `dentry` on `mnt` into the event's scratch, behind those that are there; at
/// most [`PATHS`]. For a name that does not exist yet that is the new, still negative dentry.
///
/// `false` when something can't be read, or the path is too long or too deep.
#[inline(always)]
pub unsafe fn resolve(scratch: Scratch, mnt: u64, dentry: u64) -> bool {
    let path = scratch.paths();
    scratch.begin_path(path);
    // SAFETY: addresses that the kernel handed to the program; every read is checked.
    if unsafe { walk(scratch, mnt, dentry) }.is_none() {
        return false;
    }
    scratch.set_paths(path + 1);
    true
}

/// Where a walk is, and where it ends.
struct Walk {
    scratch: Scratch,
    mnt: u64,
    dentry: u64,
    root_mnt: u64,
    root_dentry: u64,
    /// 1 once the path is complete.
    complete: u64,
}

/// The kernel does the loop: its verifier then follows one step instead of [`PATH_COMPONENTS`].
#[inline(always)]
unsafe fn walk(scratch: Scratch, mnt: u64, dentry: u64) -> Option<()> {
    // SAFETY: every read goes through a helper that checks the address, and the callback casts the
    // pointer back to what it was.
    unsafe {
        let fs: u64 = read(bpf_get_current_task(), &OFF_TASK_FS)?;
        let root = fs + u64::from(OFF_FS_ROOT.load());
        let mut walk = Walk {
            scratch,
            mnt,
            dentry,
            root_mnt: read(root, &OFF_PATH_MNT)?,
            root_dentry: read(root, &OFF_PATH_DENTRY)?,
            complete: 0,
        };
        bpf_loop(
            PATH_COMPONENTS as u32,
            step_up as *mut c_void,
            (&raw mut walk).cast(),
            0,
        );
        (walk.complete != 0).then_some(())
    }
}

/// One step towards the root; 1 ends the walk.
unsafe extern "C" fn step_up(_index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: the caller passes a walk, and waits for the end of the loop.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: every read goes through a helper that checks the address.
    match unsafe { up(walk) } {
        Some(()) if walk.complete == 0 => 0,
        _ => 1,
    }
}

#[inline(always)]
unsafe fn up(walk: &mut Walk) -> Option<()> {
    // SAFETY: as above.
    unsafe {
        if walk.dentry == walk.root_dentry && walk.mnt == walk.root_mnt {
            finish(walk.scratch);
            walk.complete = 1;
            return Some(());
        }
        let mount_root: u64 = read(walk.mnt, &OFF_VFSMOUNT_ROOT)?;
        if walk.dentry == mount_root {
            let mount = walk.mnt - u64::from(OFF_MOUNT_MNT.load());
            let parent: u64 = read(mount, &OFF_MOUNT_PARENT)?;
            if parent == mount {
                // The root of the mount tree: the task's root lies elsewhere (a detached mount, a
                // file that was passed in from outside). Said as d_path says it, from here.
                finish(walk.scratch);
                walk.complete = 1;
                return Some(());
            }
            walk.dentry = read(mount, &OFF_MOUNT_MOUNTPOINT)?;
            walk.mnt = parent + u64::from(OFF_MOUNT_MNT.load());
            return Some(());
        }
        let parent: u64 = read(walk.dentry, &OFF_DENTRY_PARENT)?;
        if parent == walk.dentry {
            // No mount leads here: a pipe, a socket, a memory file.
            return None;
        }
        prepend(walk.scratch, walk.dentry)?;
        walk.dentry = parent;
        Some(())
    }
}

/// Writes `/name` before what is there.
#[inline(always)]
unsafe fn prepend(scratch: Scratch, dentry: u64) -> Option<()> {
    // SAFETY: reads are checked by helpers, and offsets are masked to the buffer.
    unsafe {
        let length: u32 = read(dentry, &OFF_DENTRY_NAME_LEN)?;
        let name: u64 = read(dentry, &OFF_DENTRY_NAME)?;
        let length = length as usize;
        let path = scratch.paths();
        let start = scratch.path_start(path);
        if length > NAME_BYTES || length + 1 > start {
            return None;
        }
        let start = start - length - 1;
        scratch.set_path_start(path, start);
        let slash = scratch.path_byte(path, start);
        *slash = b'/';
        let copied = probe_read(
            slash.add(1).cast(),
            masked::<NAME_BYTES>(length) as u32,
            name as *const _,
        );
        (copied == 0).then_some(())
    }
}

/// The root itself is `/`.
#[inline(always)]
fn finish(scratch: Scratch) {
    let path = scratch.paths();
    if scratch.path_start(path) == PATH_BYTES {
        scratch.set_path_start(path, PATH_BYTES - 1);
        // SAFETY: inside the buffer.
        unsafe { *scratch.path_byte(path, PATH_BYTES - 1) = b'/' };
    }
}

/// Whether a rule wants one of the resolved paths.
#[inline(always)]
pub fn matches(scratch: Scratch, filter: &PathFilter) -> bool {
    let mut path = 0;
    while path < PATHS {
        if path >= scratch.paths() {
            break;
        }
        if is_wanted(scratch, path, filter) {
            return true;
        }
        path += 1;
    }
    false
}

const _: () = assert!(PATH_CHUNK_BYTES <= NAME_BYTES + 9);

/// A word from anywhere. Written as an instruction, because rustc makes eight loads of bytes out of
/// an unaligned read (LLVM 22). Kernels of processors that can read so let programs do it.
///
/// # Safety
/// Eight bytes can be read there.
#[inline(always)]
unsafe fn load(from: *const u8) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let word;
        // SAFETY: the verifier has proved that the bytes lie in a map's value.
        unsafe {
            core::arch::asm!(
                "{word} = *(u64 *)({from} + 0)",
                from = in(reg) from,
                word = lateout(reg) word,
                options(readonly, nostack),
            );
        }
        word
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: see above.
    unsafe {
        from.cast::<u64>().read_unaligned()
    }
}

#[inline(always)]
fn is_wanted(scratch: Scratch, path: usize, filter: &PathFilter) -> bool {
    let start = scratch.path_start(path);
    if start >= PATH_BYTES {
        return false;
    }
    let length = PATH_BYTES - start;
    let wanted = filter.len as usize;
    // The subtree `/d/` is also the directory `/d`: a slash stands behind every path.
    let exact = filter.kind == PathFilter::FILE && length == wanted;
    let below = filter.kind == PathFilter::SUBTREE && length + 1 >= wanted;
    if !(exact || below) {
        return false;
    }
    let mut chunk = 0;
    while chunk < PATH_FILTER_BYTES / PATH_CHUNK_BYTES {
        let done = chunk * PATH_CHUNK_BYTES;
        if done >= wanted {
            break;
        }
        let have = scratch.path_byte(path, start + done);
        let mut different = 0;
        let mut word = 0;
        while word < PATH_CHUNK_BYTES / 8 {
            // SAFETY: a whole chunk fits behind every byte of the path.
            let have = unsafe { load(have.add(word * 8)) };
            let wanted = done / 8 + word;
            different |= (have ^ filter.words[wanted]) & filter.masks[wanted];
            word += 1;
        }
        if different != 0 {
            return false;
        }
        chunk += 1;
    }
    true
}
