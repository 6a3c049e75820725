//! `mem.slab`: the kernel's slab caches have no object to give.
//!
//! `should_failslab(cache, gfp)` is asked before each allocation from a cache, once for several that
//! are allocated together; an errno from it is an allocation that fails.

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

use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, generated::bpf_override_return},
    programs::ProbeContext,
};
use chaos_common::{AllocationFilter, Filtered};
use chaos_ebpf::{
    allocation::{class_of, wants},
    bounds::negative_errno,
    call::Call,
    classes::is_about,
    evidence,
    kernel::{OFF_CACHE_NAME, OFF_CACHE_OBJECT_SIZE, read},
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    subject::Task,
};

/// The [`chaos_common::Hook`] of the mechanism that this copy of the programs is loaded for.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);

/// What the allocation fails with, if it does.
#[inline(always)]
unsafe fn error(context: *mut c_void, cache: u64, gfp: u64) -> Option<i64> {
    let hook = HOOK.load();
    let (scratch, gate) = met_by_task(hook)?;
    // SAFETY: the program's own context.
    unsafe { class_of(*scratch, context, gfp)? };
    let event = *scratch;
    let hit = decide_met(
        event,
        gate,
        Task,
        move |rule| is_about(rule, event),
        move |number, _| {
            wants(
                number,
                // SAFETY: the read is checked by a helper.
                || unsafe { read::<u32>(cache, &OFF_CACHE_OBJECT_SIZE).map(u64::from) },
                // SAFETY: reads are checked by a helper.
                |filter| unsafe { is_named(filter, cache) },
            )
        },
        |_| false,
    )?;
    evidence::injected(&hit, &Task, hook, Call::number_now());
    Some(negative_errno(hit.rule.effect))
}

/// Whether the cache has the name that is wanted, if one is. Word by word, so that no name takes room
/// on the stack.
#[inline(always)]
unsafe fn is_named(filter: &AllocationFilter, cache: u64) -> Filtered {
    if filter.masks[0] == 0 {
        return Filtered::In;
    }
    // SAFETY: reads are checked by a helper.
    unsafe {
        let Some(name) = read::<u64>(cache, &OFF_CACHE_NAME) else {
            return Filtered::Unknown;
        };
        let mut index = 0;
        while index < filter.cache.len() && filter.masks[index] != 0 {
            let address = name + index as u64 * size_of::<u64>() as u64;
            let Ok(word) = bpf_probe_read_kernel(address as *const u64) else {
                return Filtered::Unknown;
            };
            if (word ^ filter.cache[index]) & filter.masks[index] != 0 {
                return Filtered::Out;
            }
            index += 1;
        }
    }
    Filtered::In
}

program!(
    /// `should_failslab(cache, gfp)`
    mem_slab, "fentry/mem_slab", 2, |context| {
        let (cache, gfp) = (argument(context, 0), argument(context, 1));
        error(context, cache, gfp).unwrap_or(0)
    }
);

/// Where the same function begins, if the kernel lets a program return in its place.
#[unsafe(no_mangle)]
#[unsafe(link_section = "kprobe/mem_slab_probe")]
pub extern "C" fn mem_slab_probe(context: *mut c_void) -> i64 {
    let probe = ProbeContext::new(context);
    // SAFETY: the program's own context.
    unsafe {
        if let (Some(cache), Some(gfp)) = (probe.arg::<u64>(0), probe.arg::<u64>(1))
            && let Some(error) = error(context, cache, gfp)
        {
            bpf_override_return(context.cast(), error.cast_unsigned());
        }
    }
    0
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
