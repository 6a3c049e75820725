//! `@name@`: @mark@: what happens, and on which functions of the kernel.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only the kernel calls the programs, with the context that the verifier knows"
)]

use chaos_common::{Filtered, Hook};
use chaos_ebpf::{
    evidence,
    plane::{decide_met, met_by_task},
    program,
    subject::Task,
};

const HOOK: u32 = Hook::@Type@ as u32;

/// One event. Whatever goes wrong lets it pass.
#[inline(always)]
fn event() -> i64 {
    let Some((scratch, gate)) = met_by_task(HOOK) else {
        return 0;
    };
    // @mark@: filters of the kind's own go into the last closure.
    let hit = decide_met(
        *scratch,
        gate,
        Task,
        |_| true,
        |_, _| Filtered::In,
        |_| false,
    );
    let Some(hit) = hit else { return 0 };
    evidence::injected(&hit, &Task, HOOK, u64::MAX);
    // @mark@: do it; `hit.rule.effect` is what chaos-userspace/src/fault/@stem@.rs makes of it.
    0
}

program!(
    /// @mark@: the function of the kernel, and how many arguments it has
    @stem@, "@section@", 1, |context| { _ = context; event() }
);

#[cfg(not(target_arch = "bpf"))]
fn main() {}
