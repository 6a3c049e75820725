//! Changes a bit of a packet, as a bad cable would, or a bad switch.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_l4_csum_replace};
use chaos_common::PacketFacts;

use crate::{
    skb::{flags, load, network, store},
    subject::Packet,
};

/// `ETH_P_IP` and `ETH_P_IPV6` (`include/uapi/linux/if_ether.h`), as a packet has them.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Changes a bit so that the receiver's kernel drops the packet. Not one of the data: on a virtual device their
/// checksum is not there yet, and whoever gets the packet takes it for right. That of the header of IPv4 always
/// is, and is always looked at; a header of IPv6 has none, and it is the version that is. `false` for a packet
/// that the device is still to cut into segments, each with a header of its own: it is for the caller to drop.
#[inline(always)]
pub fn noticed(packet: &Packet<'_>, bit: u32) -> bool {
    let skb = packet.0.skb;
    // SAFETY: the program's own context.
    let (protocol, segments) = unsafe { ((*skb).protocol, (*skb).gso_segs) };
    if segments > 1 {
        return false;
    }
    let (offset, within) = match protocol {
        // Its checksum.
        IPV4 => (10 + (bit >> 3 & 1), bit & 7),
        // The upper half of the first byte.
        IPV6 => (0, 4 + (bit & 3)),
        // There is nobody to look.
        _ => return false,
    };
    flip(skb, offset, within).is_some()
}

#[inline(always)]
fn flip(skb: *mut __sk_buff, offset: u32, bit: u32) -> Option<()> {
    let at = network(skb)? + offset;
    let mut byte: [u8; 1] = load(skb, at)?;
    byte[0] ^= 1 << bit;
    store(skb, at, &byte)
}

/// Changes a bit of the data of TCP or UDP, and the checksum with it where there is one. Data of less than four
/// bytes stay as they are.
#[inline(always)]
pub fn unnoticed(packet: &Packet<'_>, bit: u32) -> Option<()> {
    let skb = packet.0.skb;
    let at = network(skb)?;
    // SAFETY: the program's own context.
    let protocol = unsafe { (*skb).protocol };
    // Not where the packet ends, which Ethernet may have filled up.
    let (carried, header, length) = match protocol {
        IPV4 => {
            let [first]: [u8; 1] = load(skb, at)?;
            let [carried]: [u8; 1] = load(skb, at + 9)?;
            let [_, length, _, fragment]: [u16; 4] = load(skb, at)?;
            if u16::from_be(fragment) & 0x1fff != 0 {
                return None;
            }
            (carried, u32::from(first & 0xf) * 4, u16::from_be(length))
        }
        IPV6 => {
            let [carried]: [u8; 1] = load(skb, at + 6)?;
            let [length]: [u16; 1] = load(skb, at + 4)?;
            (carried, 40, u16::from_be(length).saturating_add(40))
        }
        _ => return None,
    };
    let (start, end) = (at + header, at + u32::from(length));
    // Where the data begin, and where the checksum is.
    let (data, sum) = match u32::from(carried) {
        PacketFacts::TCP => {
            let [offset]: [u8; 1] = load(skb, start + 12)?;
            (start + u32::from(offset >> 4) * 4, start + 16)
        }
        PacketFacts::UDP => (start + 8, start + 6),
        _ => return None,
    };
    // Whole ones, as the checksum counts.
    let words = end.saturating_sub(data) / 4;
    if words == 0 {
        return None;
    }
    let word = bit % words;
    let at = data + word * 4;
    let before: [u32; 1] = load(skb, at)?;
    let after = [before[0] ^ 1 << (bit >> 27)];
    store(skb, at, &after)?;
    // SAFETY: the program's own context. Where the checksum is still to be made this changes nothing.
    unsafe {
        bpf_l4_csum_replace(
            skb,
            sum,
            before[0].into(),
            after[0].into(),
            flags(carried.into()) | 4,
        )
    };
    Some(())
}
