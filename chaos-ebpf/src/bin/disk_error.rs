//! `disk.error`: what is asked of a disk fails.
//!
//! `should_fail_bio(bio)` is asked before a request goes to its disk; an errno from it ends the request
//! with an I/O error, whichever errno it is (`submit_bio_noacct`, block/blk-core.c, 6.1 to 7.x).

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
use chaos_ebpf::{
    bounds::negative_errno,
    classes::is_about,
    disk::{Account, is_on, operations},
    evidence,
    plane::{decide_met, met_by},
    program,
    program::argument,
};

/// The [`chaos_common::Hook`] of the mechanism that this copy of the programs is loaded for.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);

/// What the request fails with, if it does.
#[inline(always)]
unsafe fn error(bio: u64) -> Option<i64> {
    let hook = HOOK.load();
    // SAFETY: reads are checked by a helper.
    let account = unsafe { Account::of(bio)? };
    let (scratch, gate) = met_by(&account, hook)?;
    // SAFETY: reads are checked by a helper.
    scratch.set_note(unsafe { operations(bio)? });
    let event = *scratch;
    let hit = decide_met(
        event,
        gate,
        account,
        move |rule| is_about(rule, event),
        // SAFETY: reads are checked by a helper.
        move |number, rule| unsafe { is_on(number, rule, bio) },
        |_| false,
    )?;
    // Whoever hands it in is in no system call of the target's, as far as can be told.
    evidence::injected(&hit, &account, hook, u64::MAX);
    Some(negative_errno(hit.rule.effect))
}

program!(
    /// `should_fail_bio(bio)`
    disk_error, "fentry/disk_error", 1, |context| {
        error(argument(context, 0)).unwrap_or(0)
    }
);

/// Where the same function begins, if the kernel lets a program return in its place.
#[unsafe(no_mangle)]
#[unsafe(link_section = "kprobe/disk_error_probe")]
pub extern "C" fn disk_error_probe(context: *mut c_void) -> i64 {
    let probe = ProbeContext::new(context);
    // SAFETY: the program's own context.
    unsafe {
        if let Some(bio) = probe.arg::<u64>(0)
            && let Some(error) = error(bio)
        {
            bpf_override_return(context.cast(), error.cast_unsigned());
        }
    }
    0
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
