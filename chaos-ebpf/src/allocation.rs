//! Whether an allocation of the kernel may be made to fail, and what rules want of it.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_task;
use chaos_common::{AllocationFilter, Filtered, GfpClass};

use crate::{
    kernel::{
        GFP_DIRECT_RECLAIM, GFP_FS, GFP_HIGHMEM, GFP_IO, GFP_NOFAIL, OFF_TASK_FLAGS,
        OFF_TASK_STACK, read,
    },
    maps::RULES_ALLOCATION,
    scratch::Scratch,
};

/// `task_struct::flags` (include/linux/sched.h, the same from 4.12 to 7.x): it is on its way out.
const PF_EXITING: u32 = 0x4;
/// Every allocation of the task is one of a file system, or of a disk, in what it does now.
const PF_MEMALLOC_NOFS: u32 = 0x0004_0000;
const PF_MEMALLOC_NOIO: u32 = 0x0008_0000;
/// A thread of the kernel's own.
const PF_KTHREAD: u32 = 0x0020_0000;

/// `THREAD_SIZE` without KASAN (`arch/x86/include/asm/page_64_types.h`, since 3.15). With KASAN a
/// stack is twice as long, and what runs in its upper half is let pass.
const STACK_BYTES: u64 = 16 << 10;

/// The class of an allocation that the current task may see fail; `None` for every other one: what
/// must not fail, what a thread of the kernel or an exiting task asks for, and what an interrupt does
/// while the task waits for it to end.
///
/// Kept in `scratch` as well, as [`crate::classes::is_about`] wants it.
///
/// # Safety
/// The context is the program's own.
#[inline(always)]
pub unsafe fn class_of(scratch: Scratch, context: *mut c_void, gfp: u64) -> Option<GfpClass> {
    // A register's other half is not the argument's.
    let gfp = gfp as u32;
    // SAFETY: no pointer of ours is passed, and reads are checked by a helper.
    let (flags, stack) = unsafe {
        let task = bpf_get_current_task();
        (
            read::<u32>(task, &OFF_TASK_FLAGS)?,
            read::<u64>(task, &OFF_TASK_STACK)?,
        )
    };
    // Interrupts of x86-64 have stacks of their own, and the context lies on the stack that the
    // hooked function runs on. The map in between makes a number of the pointer.
    scratch.set_note(context as u64);
    if scratch.note().wrapping_sub(stack) >= STACK_BYTES
        || flags & (PF_EXITING | PF_KTHREAD) != 0
        || gfp & GFP_NOFAIL.load() != 0
    {
        return None;
    }
    let class = if gfp & GFP_DIRECT_RECLAIM.load() == 0 {
        GfpClass::Atomic
    } else if gfp & GFP_IO.load() == 0
        || gfp & GFP_FS.load() == 0
        || flags & (PF_MEMALLOC_NOFS | PF_MEMALLOC_NOIO) != 0
    {
        GfpClass::Nofs
    } else if gfp & GFP_HIGHMEM.load() != 0 {
        GfpClass::User
    } else {
        GfpClass::Kernel
    };
    scratch.set_note(class.bit());
    Some(class)
}

/// Whether a rule wants an allocation of this size, and whatever else is asked then.
#[inline(always)]
pub fn wants(
    rule: u32,
    size: impl FnOnce() -> Option<u64>,
    more: impl FnOnce(&AllocationFilter) -> Filtered,
) -> Filtered {
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let Some(filter) = (unsafe { RULES_ALLOCATION.get(rule) }) else {
        return Filtered::Unknown;
    };
    match size() {
        None => Filtered::Unknown,
        Some(size) if size < filter.least => Filtered::Out,
        Some(_) => more(filter),
    }
}
