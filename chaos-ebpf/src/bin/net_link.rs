//! `net.link`: packets are lost, late, doubled or held up on their way.
//!
//! `net_link_out` and `net_link_in` stand as filters on the devices of the target's network namespace, and
//! decide. What they pick is taken to a device of our own by the filter's action (`act_mirred`), where
//! `net_link_shape` carries out what was decided, a queue (`sch_fq`) holds each packet for as long as it is
//! told, and the device (`ifb`) gives it back to where it was taken from. Delays are stamps, so several links
//! add up, and nothing is set up anew when they change.
//!
//! By `act_mirred` and not by `bpf_redirect`: only the former tells the device where a packet came from
//! (`skb->skb_iif`; `net/sched/act_mirred.c`, `drivers/net/ifb.c`). What goes through it is a clone that belongs to
//! no socket: who has sent it counts it as sent, and TCP is not held up by what waits here.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over by value"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "what does not fit was never put in"
)]
#![expect(
    clippy::inline_always,
    reason = "the verifier walks a function again at every call, and a call spills what it knows"
)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    Global,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_clone_redirect, bpf_set_hash, bpf_set_hash_invalid, bpf_skb_set_tstamp},
    },
    macros::{classifier, map},
    maps::PerCpuArray,
    programs::TcContext,
};
use chaos_common::{Filtered, Hook, LinkConfig, flags};
use chaos_ebpf::{
    damage, dns, evidence,
    link::{Ticket, passage},
    maps::{LINKS_STATE, RULES_LINK},
    packet::{End, facts, filter, first_time, has_left, learn},
    plane::{Hit, decide_met, met_by_namespace, met_by_packet},
    subject::Packet,
};

/// Which network namespace this copy of the programs runs in, by its inode.
#[unsafe(no_mangle)]
static NETNS: Global<u32> = Global::new(0);

/// The number of our own device there.
#[unsafe(no_mangle)]
static DEVICE: Global<u32> = Global::new(0);

/// The filter is not meant, or is (`cls_bpf_classify`, `net/sched/cls_bpf.c`).
const OTHER: i32 = 0;
const PICKED: i32 = -1;
/// The next program is asked; the packet is ours now, and is freed (`TC_ACT_*`, `include/uapi/linux/pkt_cls.h`).
const NEXT: i32 = -1;
const STOLEN: i32 = 4;

/// A stamp in nanoseconds of the monotonic clock (`BPF_SKB_TSTAMP_DELIVERY_MONO`).
const MONOTONIC: u32 = 1;

/// What the links have made of the packet that is being decided. Nothing else runs on this processor until it
/// is read: both hooks run with softirqs off.
#[repr(C)]
struct Journey {
    /// By the monotonic clock: what programs take from here on is part of the delay.
    began_ns: u64,
    delay_ns: u64,
    what: u64,
    bit: u64,
}

#[map]
static JOURNEY: PerCpuArray<Journey> = PerCpuArray::with_max_entries(1, 0);

/// A packet on its way out of a network device.
#[classifier]
fn net_link_out(context: TcContext) -> i32 {
    out(&context).map_or(OTHER, |()| PICKED)
}

#[inline(always)]
fn out(context: &TcContext) -> Option<()> {
    let packet = Packet(&context.skb);
    let skb = context.skb.skb;
    // SAFETY: the program's own context. The device leaves its number on what it gives back.
    if unsafe { (*skb).ingress_ifindex } == DEVICE.load() {
        return None;
    }
    let hook = Hook::NetLink as u32;
    let netns = NETNS.load();
    let (claim, gate) = met_by_packet(&packet, hook, netns)?;
    if !first_time(&packet, netns, claim.note() != 0) {
        return None;
    }
    // SAFETY: the program's own context. With the headers of each segment that it will become.
    let bytes = unsafe { (*skb).wire_len };
    let scratch = *claim;
    learn(scratch, &packet, End::Source);
    begin()?;
    decide_met(
        scratch,
        gate,
        packet,
        |_| true,
        move |number, rule| filter(number, rule, scratch),
        move |hit| goes_on(hit, &packet, hook, bytes),
    );
    give(&packet, 0)
}

/// A packet that our own device has given back, behind everybody else's filters: the action of this one does nothing,
/// but clears the note that the device has made on the packet, that no action and, where it arrives next, no filter at
/// all is to see it again (`tc_skip_classify`; `drivers/net/ifb.c`, `tcf_action_exec`, `__netif_receive_skb_core`).
#[classifier]
fn net_link_back(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: the program's own context.
    if unsafe { (*skb).ingress_ifindex } != DEVICE.load() {
        return OTHER;
    }
    // SAFETY: the program's own context. The stamp for the queue is still there.
    let due = unsafe { (&raw const (*skb).tstamp).read_volatile() };
    // Nothing is known of one that somebody has taken it from.
    if due != 0 {
        // SAFETY: no pointer is passed.
        evidence::late(unsafe { bpf_ktime_get_ns() }.saturating_sub(due));
    }
    // SAFETY: the program's own context. What it was given for the queue is nobody's flow.
    unsafe { bpf_set_hash_invalid(skb) };
    PICKED
}

/// A packet that arrives at a network device.
#[classifier]
fn net_link_in(context: TcContext) -> i32 {
    into(&context).map_or(OTHER, |()| PICKED)
}

#[inline(always)]
fn into(context: &TcContext) -> Option<()> {
    let packet = Packet(&context.skb);
    let hook = Hook::NetLinkIn as u32;
    let facts = facts(&packet, End::Destination);
    let (claim, gate) = met_by_namespace(hook, NETNS.load())?;
    let is_answer = dns::learn(&packet, &facts);
    let bytes = packet.0.len();
    let scratch = *claim;
    scratch.set_packet(facts);
    begin()?;
    decide_met(
        scratch,
        gate,
        packet,
        // What is no answer is no event of a rule about answers.
        move |rule| is_answer || rule.flags & flags::DNS == 0,
        move |number, rule| match filter(number, rule, scratch) {
            Filtered::In => dns::filter(number, rule),
            other => other,
        },
        move |hit| goes_on(hit, &packet, hook, bytes),
    );
    give(&packet, Ticket::ARRIVES)
}

#[inline(always)]
fn begin() -> Option<()> {
    let journey = JOURNEY.get_ptr_mut(0)?;
    // SAFETY: a map's value, and no pointer is passed.
    unsafe {
        (&raw mut (*journey).began_ns).write_volatile(bpf_ktime_get_ns());
        (&raw mut (*journey).delay_ns).write_volatile(0);
        (&raw mut (*journey).what).write_volatile(0);
    }
    Some(())
}

/// Adds what one link does; whether the packet reaches the next one.
#[inline(always)]
fn goes_on(hit: &Hit, packet: &Packet<'_>, hook: u32, bytes: u32) -> bool {
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let Some(link) = (unsafe { RULES_LINK.get(hit.number) }) else {
        return true;
    };
    let Some(state) = LINKS_STATE.get_ptr_mut(hit.number) else {
        return true;
    };
    let Some(journey) = JOURNEY.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: a map's value.
    let now_ns = unsafe { (&raw const (*journey).began_ns).read_volatile() };
    let travel = passage(hit, link, state, now_ns, bytes);
    evidence::injected(hit, packet, hook, 0);
    // SAFETY: a map's value.
    unsafe {
        let delay = &raw mut (*journey).delay_ns;
        delay.write_volatile(delay.read_volatile().saturating_add(travel.delay_ns));
        let what = &raw mut (*journey).what;
        let mut now = what.read_volatile();
        if travel.lost {
            now |= u64::from(Ticket::LOST);
        }
        if travel.duplicate {
            now |= u64::from(Ticket::TWICE);
        }
        if travel.corrupt {
            now |= u64::from(if link.flags & LinkConfig::SILENT != 0 {
                Ticket::CHANGED
            } else {
                Ticket::DAMAGED
            });
            (&raw mut (*journey).bit).write_volatile(travel.bit.into());
        }
        what.write_volatile(now);
    }
    !travel.lost
}

/// What was decided goes with the packet; `None` if there is nothing to do.
#[inline(always)]
fn give(packet: &Packet<'_>, way: u32) -> Option<()> {
    let journey = JOURNEY.get_ptr_mut(0)?;
    // SAFETY: a map's value.
    let (began_ns, what, delay_ns, bit) = unsafe {
        (
            (&raw const (*journey).began_ns).read_volatile(),
            (&raw const (*journey).what).read_volatile(),
            (&raw const (*journey).delay_ns).read_volatile(),
            (&raw const (*journey).bit).read_volatile(),
        )
    };
    if what == 0 && delay_ns == 0 {
        return None;
    }
    let leaves_ns = if way & Ticket::ARRIVES == 0 {
        leaves(packet, began_ns)
    } else {
        began_ns
    };
    Ticket {
        what: what as u32 | way,
        due_ns: leaves_ns + delay_ns,
        bit: bit as u32,
    }
    .give(packet);
    Some(())
}

/// A packet that was picked, in front of the queue of our own device.
#[classifier]
fn net_link_shape(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    let packet = Packet(&context.skb);
    let Some(ticket) = Ticket::of(&packet) else {
        return NEXT;
    };
    if ticket.what & Ticket::LOST != 0 {
        return STOLEN;
    }
    if ticket.what & Ticket::DAMAGED != 0 && !damage::noticed(&packet, ticket.bit) {
        return STOLEN;
    }
    if ticket.what & Ticket::CHANGED != 0 {
        damage::unnoticed(&packet, ticket.bit);
    }
    if ticket.what & Ticket::ARRIVES == 0 {
        has_left(&packet, NETNS.load());
    }
    let due = ticket.due_ns;
    // SAFETY: the program's own context. Each packet is a flow of its own to the queue.
    unsafe { bpf_set_hash(skb, (due ^ due >> 32) as u32) };
    // SAFETY: the program's own context. What is of no family of IP takes no stamp this way, and none that
    // anybody else would read.
    unsafe {
        if bpf_skb_set_tstamp(skb, due, MONOTONIC) != 0 {
            (&raw mut (*skb).tstamp).write_volatile(due);
        }
    }
    if ticket.what & Ticket::TWICE != 0 {
        Ticket {
            what: ticket.what & Ticket::ARRIVES,
            ..ticket
        }
        .give(&packet);
        // SAFETY: the program's own context. The clone comes by here again, with what is left of the ticket.
        unsafe { bpf_clone_redirect(skb, DEVICE.load(), 0) };
    }
    NEXT
}

/// When a packet would leave without us, in nanoseconds of the monotonic clock: now, or when its sender wants it
/// to, as TCP does that is paced.
#[inline(always)]
fn leaves(packet: &Packet<'_>, now: u64) -> u64 {
    /// What is further ahead is no stamp of this clock.
    const AHEAD_NS: u64 = 10_000_000_000;
    // SAFETY: the program's own context.
    let stamp = unsafe { (&raw const (*packet.0.skb).tstamp).read_volatile() };
    if stamp > now && stamp - now < AHEAD_NS {
        stamp
    } else {
        now
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
