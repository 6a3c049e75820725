//! `mem.page`: the kernel's page allocator has no pages to give.
//!
//! `should_fail_alloc_page(gfp, order)` is asked before each allocation of pages, once for several
//! that are allocated together; true is an allocation that fails.

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

use aya_ebpf::{Global, helpers::generated::bpf_override_return, programs::ProbeContext};
use chaos_common::Filtered;
use chaos_ebpf::{
    allocation::{class_of, wants},
    call::Call,
    classes::is_about,
    evidence,
    plane::{decide_met, met_by_task},
    program,
    program::argument,
    subject::Task,
};

/// The [`chaos_common::Hook`] of the mechanism that this copy of the programs is loaded for.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);

/// The function's true.
const FAILS: i64 = 1;

/// Whether the allocation fails.
#[inline(always)]
unsafe fn fails(context: *mut c_void, gfp: u64, order: u64) -> Option<()> {
    let hook = HOOK.load();
    // A register's other half is not the argument's.
    let order = order & u64::from(u32::MAX);
    let (scratch, gate) = met_by_task(hook)?;
    // SAFETY: the program's own context.
    unsafe { class_of(*scratch, context, gfp)? };
    let event = *scratch;
    let hit = decide_met(
        event,
        gate,
        Task,
        move |rule| is_about(rule, event),
        move |number, _| wants(number, || Some(order), |_| Filtered::In),
        |_| false,
    )?;
    evidence::injected(&hit, &Task, hook, Call::number_now());
    Some(())
}

program!(
    /// `should_fail_alloc_page(gfp, order)`
    mem_page, "fentry/mem_page", 2, |context| {
        let (gfp, order) = (argument(context, 0), argument(context, 1));
        fails(context, gfp, order).map_or(0, |()| FAILS)
    }
);

/// Where the same function begins, if the kernel lets a program return in its place.
#[unsafe(no_mangle)]
#[unsafe(link_section = "kprobe/mem_page_probe")]
pub extern "C" fn mem_page_probe(context: *mut c_void) -> i64 {
    let probe = ProbeContext::new(context);
    // SAFETY: the program's own context.
    unsafe {
        if let (Some(gfp), Some(order)) = (probe.arg::<u64>(0), probe.arg::<u64>(1))
            && fails(context, gfp, order).is_some()
        {
            bpf_override_return(context.cast(), FAILS.cast_unsigned());
        }
    }
    0
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
