//! `net.loss`, `net.partition` and `net.down`: packets that the target sends, or that reach its
//! sockets, are lost.
//!
//! What arrives is decided on the target's own cgroup, so nobody else's packets run the program. A
//! dropped ingress packet is a real loss: the sender is told nothing. What is sent is decided where it
//! leaves by a network device of its sender's namespace: there the socket is still known, and the
//! sender has counted it as sent.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "a verdict has 32 bits, whatever a helper returns it in"
)]
#![expect(
    deprecated,
    reason = "CGROUP_STORAGE belongs to an attachment; its successor needs Linux 6.2 and belongs to a cgroup"
)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    Global,
    helpers::generated::bpf_redirect,
    macros::{cgroup_skb, classifier, map},
    maps::CgroupStorage,
    programs::{SkBuffContext, TcContext},
};
use chaos_common::{Hook, RuleList, flags};
use chaos_ebpf::{
    evidence,
    packet::{End, filter, first_time, learn},
    plane::{Hit, decide_met, met_by_list, met_by_packet},
    subject::Packet,
};

/// The rules of the cgroup that the running attachment hangs on: a packet of a nested cgroup runs
/// the program once per attachment, and each run must see its own target's rules only.
#[map]
static HUNG_RULES: CgroupStorage<RuleList> = CgroupStorage::new();

/// Which network namespace this copy of the program runs in, by its inode.
#[unsafe(no_mangle)]
static NETNS: Global<u32> = Global::new(0);

const DROP: i32 = 0;
const PASS: i32 = 1;
/// Of what leaves a socket: the packet is dropped, and the sender learns of congestion and of no error
/// (`NET_XMIT_DROP`; `__cgroup_bpf_run_filter_skb`, kernel/bpf/cgroup.c).
const DROP_QUIETLY: i32 = 2;

/// The next program on the device is asked, or the packet goes its way (`TCX_NEXT`, and `TC_ACT_UNSPEC`
/// where the program is a filter).
const NEXT: i32 = -1;

/// No device has this number. What is redirected to it is freed, and its sender is told that it was sent
/// (`sch_handle_egress`, net/core/dev.c; `skb_do_redirect`, net/core/filter.c; 6.1 to 7.x). A link knows
/// no other answer with these two sides.
const NOWHERE: u32 = 0;

/// A packet on its way to a socket.
#[cgroup_skb]
fn net_loss_in(context: SkBuffContext) -> i32 {
    match of_socket(&context, End::Destination, Hook::NetIngress) {
        Some(_) => DROP,
        None => PASS,
    }
}

/// A packet on its way from a socket.
#[cgroup_skb]
fn net_loss_out(context: SkBuffContext) -> i32 {
    match of_socket(&context, End::Source, Hook::NetEgressSkb) {
        Some(hit) if hit.rule.flags & flags::VISIBLE != 0 => DROP,
        Some(_) => DROP_QUIETLY,
        None => PASS,
    }
}

#[inline(always)]
fn of_socket(context: &SkBuffContext, end: End, hook: Hook) -> Option<Hit> {
    // SAFETY: always there, and user space replaces it whole.
    let list = unsafe { &*HUNG_RULES.get_ptr_mut() };
    let packet = Packet(&context.skb);
    let (claim, gate) = met_by_list(list, hook as u32)?;
    let scratch = *claim;
    learn(scratch, &packet, end);
    let hit = decide_met(
        scratch,
        gate,
        packet,
        |_| true,
        move |number, rule| filter(number, rule, scratch),
        |_| false,
    )?;
    evidence::injected(&hit, &packet, hook as u32, 0);
    Some(hit)
}

/// A packet on its way out of a network device.
#[classifier]
fn net_loss_device(context: TcContext) -> i32 {
    match on_device(&context) {
        // SAFETY: takes two numbers.
        Some(()) => unsafe { bpf_redirect(NOWHERE, 0) as i32 },
        None => NEXT,
    }
}

#[inline(always)]
fn on_device(context: &TcContext) -> Option<()> {
    let packet = Packet(&context.skb);
    let hook = Hook::NetEgress as u32;
    let netns = NETNS.load();
    let (claim, gate) = met_by_packet(&packet, hook, netns)?;
    if !first_time(&packet, netns, claim.note() != 0) {
        return None;
    }
    let scratch = *claim;
    learn(scratch, &packet, End::Source);
    let hit = decide_met(
        scratch,
        gate,
        packet,
        |_| true,
        move |number, rule| filter(number, rule, scratch),
        |_| false,
    )?;
    evidence::injected(&hit, &packet, hook, 0);
    Some(())
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
