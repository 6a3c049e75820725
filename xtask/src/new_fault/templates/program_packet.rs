//! `@name@`: @mark@: what happens to which packets.
//!
//! Attached to the target's own cgroup, so nobody else's packets run it.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]
#![expect(
    deprecated,
    reason = "CGROUP_STORAGE belongs to an attachment; its successor needs Linux 6.2 and belongs to a cgroup"
)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    macros::{cgroup_skb, map},
    maps::CgroupStorage,
    programs::SkBuffContext,
};
use chaos_common::{Filtered, Hook, RuleList};
use chaos_ebpf::{evidence, plane::decide_list, subject::Packet};

/// The rules of the cgroup that the running attachment hangs on.
#[map]
static HUNG_RULES: CgroupStorage<RuleList> = CgroupStorage::new();

const PASS: i32 = 1;

/// @mark@: packets on their way to a socket, or from one.
#[cgroup_skb]
fn @stem@(context: SkBuffContext) -> i32 {
    // SAFETY: always there, and user space replaces it whole.
    let list = unsafe { &*HUNG_RULES.get_ptr_mut() };
    let packet = Packet(&context.skb);
    // @mark@: filters of the kind's own go into the closure.
    if let Some(hit) = decide_list(list, &packet, |_, _| Filtered::In) {
        evidence::injected(&hit, &packet, Hook::@Type@ as u32, 0);
        // @mark@: do it; `hit.rule.effect` is what chaos-userspace/src/fault/@stem@.rs makes of it.
    }
    PASS
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
