//! The path of a file as the current task sees it.
//!
//! `bpf_d_path` is allowed on some hooks of some kernels only and can't name a file that does not
//! exist yet, so this walks the dentries itself, from the file up to the task's root, across mounts.

use aya_ebpf::{
    helpers::{bpf_get_current_task, generated::bpf_probe_read_kernel as probe_read},
    macros::map,
    maps::PerCpuArray,
};
use chaos_common::{
    PathFilter,
    limits::{PATH_BYTES, PATH_COMPONENTS, PATH_FILTER_BYTES},
};

use crate::{
    atomics,
    bounds::masked,
    kernel::{
        OFF_DENTRY_NAME, OFF_DENTRY_NAME_LEN, OFF_DENTRY_PARENT, OFF_FS_ROOT, OFF_MOUNT_MNT,
        OFF_MOUNT_MOUNTPOINT, OFF_MOUNT_PARENT, OFF_PATH_DENTRY, OFF_PATH_MNT, OFF_TASK_FS,
        OFF_VFSMOUNT_ROOT, read,
    },
};

/// The longest name of one component (`NAME_MAX`); a power of two less one, because lengths are
/// bounded by masking.
const NAME_BYTES: usize = 255;

/// How many tasks may be preempted on one CPU while each of them holds a buffer.
const BUFFERS: u32 = 4;

/// A path, written from its end to its start.
#[repr(C)]
pub struct Buffer {
    /// Not zero while a program uses the buffer: a program may be preempted on a preemptible kernel,
    /// and the next task on this CPU then runs it as well.
    busy: u64,
    /// The path stands in the last bytes before [`PATH_BYTES`]; what follows is room for whole
    /// names and whole words.
    bytes: [u8; PATH_BYTES + NAME_BYTES + 9],
}

#[map]
static PATH_BUFFERS: PerCpuArray<Buffer> = PerCpuArray::with_max_entries(BUFFERS, 0);

/// A resolved path; gives its buffer back when it is dropped.
pub struct Resolved {
    buffer: *mut Buffer,
    /// Where the path starts, at most [`PATH_BYTES`].
    start: usize,
}

impl Drop for Resolved {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the buffer is a map's value, and this program holds it.
        unsafe { atomics::swap(&raw mut (*self.buffer).busy, 0) };
    }
}

/// Resolves the path of `dentry` on `mnt`, followed by the name of nothing: for a name that does
/// not exist yet the dentry is the new, still negative one.
///
/// `None` when something can't be read, the path is too long or too deep, or no buffer is free.
#[inline(always)]
pub unsafe fn resolve(mnt: u64, dentry: u64) -> Option<Resolved> {
    let buffer = claim()?;
    let mut path = Resolved { buffer, start: PATH_BYTES };
    // SAFETY: addresses that the kernel handed to the program; every read is checked.
    unsafe { walk(&mut path, mnt, dentry) }?;
    Some(path)
}

#[inline(always)]
fn claim() -> Option<*mut Buffer> {
    let mut index = 0;
    while index < BUFFERS {
        let buffer = PATH_BUFFERS.get_ptr_mut(index)?;
        // SAFETY: a map's value.
        if unsafe { atomics::swap(&raw mut (*buffer).busy, 1) } == 0 {
            return Some(buffer);
        }
        index += 1;
    }
    None
}

#[inline(always)]
unsafe fn walk(path: &mut Resolved, mnt: u64, dentry: u64) -> Option<()> {
    // SAFETY: every read in this function goes through a helper that checks the address.
    unsafe {
        let task = bpf_get_current_task();
        let fs: u64 = read(task, &OFF_TASK_FS)?;
        let root = fs + u64::from(OFF_FS_ROOT.load());
        let root_mnt: u64 = read(root, &OFF_PATH_MNT)?;
        let root_dentry: u64 = read(root, &OFF_PATH_DENTRY)?;

        let mut mnt = mnt;
        let mut dentry = dentry;
        let mut steps = 0;
        while steps < PATH_COMPONENTS {
            steps += 1;
            if dentry == root_dentry && mnt == root_mnt {
                return finish(path);
            }
            let mount_root: u64 = read(mnt, &OFF_VFSMOUNT_ROOT)?;
            if dentry == mount_root {
                let mount = mnt - u64::from(OFF_MOUNT_MNT.load());
                let parent: u64 = read(mount, &OFF_MOUNT_PARENT)?;
                if parent == mount {
                    // The root of the mount tree: the task's root lies elsewhere (a detached mount,
                    // a file that was passed in from outside). Said as d_path says it, from here.
                    return finish(path);
                }
                dentry = read(mount, &OFF_MOUNT_MOUNTPOINT)?;
                mnt = parent + u64::from(OFF_MOUNT_MNT.load());
                continue;
            }
            let parent: u64 = read(dentry, &OFF_DENTRY_PARENT)?;
            if parent == dentry {
                // No mount leads here: a pipe, a socket, a memory file.
                return None;
            }
            prepend(path, dentry)?;
            dentry = parent;
        }
        None
    }
}

/// Writes `/name` before what is there.
#[inline(always)]
unsafe fn prepend(path: &mut Resolved, dentry: u64) -> Option<()> {
    // SAFETY: reads are checked by helpers, and offsets are masked to the buffer.
    unsafe {
        let length: u32 = read(dentry, &OFF_DENTRY_NAME_LEN)?;
        let name: u64 = read(dentry, &OFF_DENTRY_NAME)?;
        let length = length as usize;
        if length > NAME_BYTES || length + 1 > path.start {
            return None;
        }
        let start = path.start - length - 1;
        let bytes = (&raw mut (*path.buffer).bytes).cast::<u8>();
        let at = masked::<{ PATH_BYTES - 1 }>(start);
        *bytes.add(at) = b'/';
        let copied = probe_read(
            bytes.add(at + 1).cast(),
            masked::<NAME_BYTES>(length) as u32,
            name as *const _,
        );
        if copied != 0 {
            return None;
        }
        path.start = start;
    }
    Some(())
}

#[inline(always)]
unsafe fn finish(path: &mut Resolved) -> Option<()> {
    if path.start == PATH_BYTES {
        path.start = PATH_BYTES - 1;
        // SAFETY: a constant offset in the buffer.
        unsafe { (*path.buffer).bytes[PATH_BYTES - 1] = b'/' };
    }
    Some(())
}

impl Resolved {
    /// Whether a rule wants this path.
    #[inline(always)]
    pub fn matches(&self, filter: &PathFilter) -> bool {
        let length = PATH_BYTES - (self.start & (PATH_BYTES - 1));
        let wanted = filter.len as usize;
        // The subtree `/d/` is also the directory `/d`.
        let exact = filter.kind == PathFilter::FILE && length == wanted;
        let below = filter.kind == PathFilter::SUBTREE && length + 1 >= wanted;
        if !(exact || below) {
            return false;
        }
        let compare = if length < wanted { length } else { wanted };
        let mut word = 0;
        while word < PATH_FILTER_BYTES / 8 {
            let done = word * 8;
            if done >= compare {
                break;
            }
            let at = masked::<{ PATH_BYTES - 1 }>(self.start + done);
            // SAFETY: the offset is masked, and a whole word fits behind every byte of the path.
            let have = unsafe {
                (&raw const (*self.buffer).bytes).cast::<u8>().add(at).cast::<u64>().read_unaligned()
            };
            let rest = compare - done;
            // The first byte of the path is the lowest of the word: bpfel is little-endian.
            let mask = if rest >= 8 { u64::MAX } else { (1 << (rest * 8)) - 1 };
            if (have ^ filter.words[word]) & mask != 0 {
                return false;
            }
            word += 1;
        }
        true
    }
}
