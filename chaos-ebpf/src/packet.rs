//! What a packet is: between whom, and what it carries.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_hdr_start_off::BPF_HDR_START_NET,
    helpers::generated::bpf_skb_load_bytes_relative, maps::lpm_trie::Key,
};
use chaos_common::{Address, Filtered, PacketFacts, PeerKey, RuleConfig, flags};

use crate::{
    maps::{PEERS, RULES_PACKET},
    scratch::Scratch,
    subject::Packet,
};

/// `ETH_P_IP` and `ETH_P_IPV6` (`include/uapi/linux/if_ether.h`), as a packet has them.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// So many headers may stand between that of IPv6 and what it carries; more is not looked for.
const EXTENSIONS: usize = 6;

/// "Next header" of RFC 8200, 4: hop-by-hop options, routing, fragment, authentication (RFC 4302),
/// destination options.
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION: u32 = 60;

/// Which end of a packet the target is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has sent it.
    Source,
    /// It gets it.
    Destination,
}

/// Whether a rule wants a packet of which [`learn`] has found out.
#[inline(always)]
pub fn filter(number: u32, rule: &RuleConfig, scratch: Scratch) -> Filtered {
    if rule.flags & flags::PACKET == 0 {
        return Filtered::In;
    }
    // SAFETY: values are replaced whole, and the map is not preallocated.
    match unsafe { RULES_PACKET.get(number) } {
        Some(wanted) => wanted.filter(scratch.packet(), || {
            let key = Key::new(PeerKey::BITS, PeerKey::of(number, &scratch.packet().peer));
            PEERS.get(&key).copied().unwrap_or(0)
        }),
        None => Filtered::Unknown,
    }
}

/// Whether the packet leaves by its first device: one that leaves by a bridge, a VLAN or a tunnel leaves by
/// another one afterwards, and keeps its socket on its way through a veth into another namespace, where a
/// rule of its target may have programs as well. What is a target's by the namespace alone is one anew in
/// the next. The mark says which namespace and which device that was, so that another kchaos's program on
/// the same device decides as well. `tc_index` is the mark of a packet that next to nothing in the kernel
/// reads any more (`sch_gred`; `sch_dsmark` and `cls_tcindex` went with Linux 6.3), and it goes with the packet.
#[inline(always)]
pub fn first_time(packet: &Packet<'_>, netns: u32, by_namespace: bool) -> bool {
    let skb = packet.0.skb;
    // SAFETY: the program's own context.
    let (device, index) = unsafe { ((*skb).ifindex, &raw mut (*skb).tc_index) };
    // Neither is 0, which is what a packet begins with, and the first is not 255: see `first_arrival`.
    let namespace = namespace_mark(netns);
    let mark = (device % 254 + 1) << 8 | namespace;
    // SAFETY: as above.
    let before = unsafe { index.read_volatile() };
    let elsewhere = before != 0 && before != mark;
    if elsewhere && (!by_namespace || before & 0xff == namespace) {
        return false;
    }
    // SAFETY: as above.
    unsafe { index.write_volatile(mark) };
    true
}

/// What is in a mark of a namespace.
#[inline(always)]
const fn namespace_mark(netns: u32) -> u32 {
    netns % 255 + 1
}

/// Whether the packet arrives at its first device of the namespace: one that arrives by a bridge or a VLAN arrives at
/// that one afterwards. The mark is none of [`first_time`]'s, with which a packet may come from where it was sent.
#[inline(always)]
pub fn first_arrival(packet: &Packet<'_>, netns: u32) -> bool {
    let mark = 0xff << 8 | namespace_mark(netns);
    let skb = packet.0.skb;
    // SAFETY: the program's own context.
    unsafe {
        let index = &raw mut (*skb).tc_index;
        if index.read_volatile() == mark {
            return false;
        }
        index.write_volatile(mark);
    }
    true
}

/// Marks a packet that has left by its first device, and comes back to it: [`first_time`] says no from now on,
/// on every device of the namespace.
#[inline(always)]
pub fn has_left(packet: &Packet<'_>, netns: u32) {
    let skb = packet.0.skb;
    // SAFETY: the program's own context.
    unsafe { (&raw mut (*skb).tc_index).write_volatile(namespace_mark(netns)) };
}

/// Finds out what can be told of a packet of which the target is this end.
#[inline(always)]
pub fn learn(scratch: Scratch, packet: &Packet<'_>, end: End) {
    scratch.set_packet(facts(packet, end));
}

/// The same, for whoever asks before the event has a buffer.
#[inline(always)]
pub fn facts(packet: &Packet<'_>, end: End) -> PacketFacts {
    let mut facts = PacketFacts::default();
    match packet.0.protocol() {
        IPV4 => ipv4(packet, end, &mut facts),
        IPV6 => ipv6(packet, end, &mut facts),
        _ => None,
    };
    facts
}

/// RFC 791
#[inline(always)]
fn ipv4(packet: &Packet<'_>, end: End, facts: &mut PacketFacts) -> Option<()> {
    let head: [u32; 5] = load(packet, 0)?;
    let [first, second, third, source, destination] = head.map(u32::from_be);
    let bytes = match end {
        End::Source => destination,
        End::Destination => source,
    };
    facts.peer = Address::ipv4(bytes.to_be());
    facts.proto = third >> 16 & 0xff;
    let is_later_fragment = second & 0x1fff != 0;
    if !is_later_fragment {
        ports(packet, (first >> 24 & 0xf) * 4, end, facts);
    }
    Some(())
}

/// RFC 8200
#[inline(always)]
fn ipv6(packet: &Packet<'_>, end: End, facts: &mut PacketFacts) -> Option<()> {
    let head: [u64; 5] = load(packet, 0)?;
    let words = match end {
        End::Source => [head[3], head[4]],
        End::Destination => [head[1], head[2]],
    };
    facts.peer = Address::ipv6(words);
    let mut next = (u64::from_be(head[0]) >> 8 & 0xff) as u32;
    let mut offset = 40;
    let mut seen = 0;
    while seen < EXTENSIONS {
        if !matches!(
            next,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
        ) {
            break;
        }
        let [word]: [u32; 1] = load(packet, offset)?;
        let word = u32::from_be(word);
        let length = word >> 16 & 0xff;
        if next == FRAGMENT && word & 0xfff8 != 0 {
            // Of a later fragment only this is known.
            facts.proto = carried(word >> 24);
            return None;
        }
        offset += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        next = word >> 24;
        seen += 1;
    }
    if matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    ) {
        return None;
    }
    facts.proto = carried(next);
    ports(packet, offset, end, facts);
    Some(())
}

/// A rule knows one ICMP.
#[inline(always)]
const fn carried(next: u32) -> u32 {
    match next {
        PacketFacts::ICMPV6 => PacketFacts::ICMP,
        other => other,
    }
}

#[inline(always)]
fn ports(packet: &Packet<'_>, offset: u32, end: End, facts: &mut PacketFacts) -> Option<()> {
    if !matches!(
        facts.proto,
        PacketFacts::TCP | PacketFacts::UDP | PacketFacts::SCTP | PacketFacts::UDPLITE
    ) {
        return None;
    }
    let [ports]: [u32; 1] = load(packet, offset)?;
    let ports = u32::from_be(ports);
    let (source, destination) = (ports >> 16, ports & 0xffff);
    (facts.local_port, facts.peer_port) = match end {
        End::Source => (source, destination),
        End::Destination => (destination, source),
    };
    facts.transport = offset;
    facts.has_ports = 1;
    Some(())
}

/// Some words from the header of IP on.
#[inline(always)]
pub fn load<W: Copy + Default, const N: usize>(packet: &Packet<'_>, offset: u32) -> Option<[W; N]> {
    let mut words = [W::default(); N];
    // SAFETY: the program's own context, and room for all of them.
    let result = unsafe {
        bpf_skb_load_bytes_relative(
            packet.0.skb.cast(),
            offset,
            words.as_mut_ptr().cast::<c_void>(),
            size_of::<[W; N]>() as u32,
            BPF_HDR_START_NET,
        )
    };
    (result == 0).then_some(words)
}
