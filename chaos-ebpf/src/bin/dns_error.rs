//! `dns.error` and `dns.answer`: answers of DNS servers say that a question has failed, or something else than they
//! did, or do not arrive.
//!
//! They are looked at where they arrive, on the devices of the target's network namespace, and stay as long as they
//! were: so it is the same over UDP and TCP, no name server and no file is changed, and sockets that the target has for
//! a long time are hit like new ones. Whose an answer is, tells the socket that it is for.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{Global, macros::classifier, programs::TcContext};
use chaos_common::{
    Filtered, Hook,
    dns::{ANSWER, TIMEOUT},
};
use chaos_ebpf::{
    dns::{self, Receiver},
    evidence,
    packet::{End, facts, filter, first_arrival},
    plane::{decide_met, met_by_arrival},
    subject::Packet,
};

/// Which network namespace this copy of the program runs in, by its inode.
#[unsafe(no_mangle)]
static NETNS: Global<u32> = Global::new(0);

/// The next program on the device is asked, or the packet goes its way (`TCX_NEXT`, and `TC_ACT_UNSPEC`
/// where the program is a filter).
const NEXT: i32 = -1;
/// The packet is dropped (`TCX_DROP`).
const DROP: i32 = 2;

/// A packet that arrives at a network device.
#[classifier]
fn dns_error(context: TcContext) -> i32 {
    arrives(&context).unwrap_or(NEXT)
}

#[inline(always)]
fn arrives(context: &TcContext) -> Option<i32> {
    let packet = Packet(&context.skb);
    let facts = facts(&packet, End::Destination);
    if !dns::learn(&packet, &facts) {
        return None;
    }
    let netns = NETNS.load();
    if !first_arrival(&packet, netns) {
        return None;
    }
    let hook = Hook::Dns as u32;
    let is_known = dns::find_receiver(&packet, &facts);
    let receiver = Receiver(packet);
    let (claim, gate) = met_by_arrival(&receiver, hook, netns, is_known)?;
    let scratch = *claim;
    scratch.set_packet(facts);
    let hit = decide_met(
        scratch,
        gate,
        receiver,
        |_| true,
        move |number, rule| match filter(number, rule, scratch) {
            Filtered::In => dns::filter(number, rule),
            other => other,
        },
        |_| false,
    )?;
    evidence::injected(&hit, &receiver, hook, 0);
    match hit.rule.effect {
        TIMEOUT => return Some(DROP),
        ANSWER => dns::answer(&packet, scratch.packet(), hit.number),
        rcode => dns::fail(&packet, scratch.packet(), rcode),
    };
    None
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
