//! `net.loss`: packets that reach a socket of the target are lost.
//!
//! Attached to the target's own cgroup, so nobody else's packets run it. A dropped ingress packet
//! is a real loss: the sender is told nothing.

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

/// The rules of the cgroup that the running attachment hangs on: a packet of a nested cgroup runs
/// the program once per attachment, and each run must see its own target's rules only.
#[map]
static HUNG_RULES: CgroupStorage<RuleList> = CgroupStorage::new();

const DROP: i32 = 0;
const PASS: i32 = 1;

/// A packet on its way to a socket.
#[cgroup_skb]
fn net_loss_in(context: SkBuffContext) -> i32 {
    // SAFETY: always there, and user space replaces it whole.
    let list = unsafe { &*HUNG_RULES.get_ptr_mut() };
    let packet = Packet(&context.skb);
    match decide_list(list, &packet, |_, _| Filtered::In) {
        Some(hit) => {
            evidence::injected(&hit, &packet, Hook::NetIngress as u32, 0);
            DROP
        }
        None => PASS,
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
