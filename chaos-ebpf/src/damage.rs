//! Changes a bit of a packet, as a bad cable would, or a bad switch.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, bpf_hdr_start_off::BPF_HDR_START_NET},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_skb_store_bytes,
    },
};
use chaos_common::PacketFacts;

use crate::subject::Packet;

/// `ETH_P_IP` and `ETH_P_IPV6` (`include/uapi/linux/if_ether.h`), as a packet has them.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Of Ethernet, which a packet may have in front of its header of IP, or nothing.
const ETHERNET_BYTES: u32 = 14;

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

/// Puts two bytes into the place of others, at an even offset from the header of IP on, and makes the checksum of TCP
/// or UDP right again where there is one.
#[inline(always)]
pub fn replace(
    packet: &Packet<'_>,
    facts: &PacketFacts,
    offset: u32,
    before: u16,
    after: u16,
) -> Option<()> {
    let skb = packet.0.skb;
    let network = network(skb)?;
    store(skb, network + offset, &[after])?;
    adjust(
        skb,
        checksum(network, facts),
        before,
        after,
        flags(facts.proto),
    );
    Some(())
}

/// Puts a byte into the place of another, and makes that checksum right again where there is one. Which half of a word
/// the byte is does the checksum have to know.
#[inline(always)]
pub fn replace_byte(
    skb: *mut __sk_buff,
    sum: u32,
    place: u32,
    after: u8,
    is_first: bool,
    flags: u64,
) -> Option<()> {
    let [before]: [u8; 1] = load(skb, place)?;
    store(skb, place, &[after])?;
    let word = |byte: u8| {
        if is_first {
            u16::from_ne_bytes([byte, 0])
        } else {
            u16::from_ne_bytes([0, byte])
        }
    };
    adjust(skb, sum, word(before), word(after), flags);
    Some(())
}

/// What `bpf_l4_csum_replace` has to know: that a checksum of 0 is none. To TCP it is one like any other.
#[inline(always)]
pub fn flags(proto: u32) -> u64 {
    if proto == PacketFacts::TCP {
        0
    } else {
        BPF_F_MARK_MANGLED_0.into()
    }
}

/// Where the checksum of TCP or UDP is.
#[inline(always)]
pub fn checksum(network: u32, facts: &PacketFacts) -> u32 {
    let within = match facts.proto {
        PacketFacts::TCP => 16,
        _ => 6,
    };
    network + facts.transport + within
}

#[inline(always)]
fn adjust(skb: *mut __sk_buff, sum: u32, before: u16, after: u16, flags: u64) {
    // SAFETY: the program's own context. Where the checksum is still to be made this changes nothing.
    unsafe { bpf_l4_csum_replace(skb, sum, before.into(), after.into(), flags | 2) };
}

/// Where the header of IP begins, if that is one of the places that are known here.
#[inline(always)]
pub fn network(skb: *mut __sk_buff) -> Option<u32> {
    let mut head = [0_u32; 3];
    // SAFETY: the program's own context, and room for all of it.
    let read = unsafe {
        bpf_skb_load_bytes_relative(
            skb.cast(),
            0,
            head.as_mut_ptr().cast::<c_void>(),
            size_of_val(&head) as u32,
            BPF_HDR_START_NET,
        )
    };
    if read != 0 {
        return None;
    }
    let behind: Option<[u32; 3]> = load(skb, ETHERNET_BYTES);
    if behind == Some(head) {
        return Some(ETHERNET_BYTES);
    }
    let front: Option<[u32; 3]> = load(skb, 0);
    (front == Some(head)).then_some(0)
}

/// Some words of the packet, in whatever pieces it lies.
#[inline(always)]
pub fn load<W: Copy + Default, const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[W; N]> {
    let mut words = [W::default(); N];
    // SAFETY: the program's own context, and room for all of them.
    let read = unsafe {
        bpf_skb_load_bytes(
            skb.cast(),
            at,
            words.as_mut_ptr().cast::<c_void>(),
            size_of::<[W; N]>() as u32,
        )
    };
    (read == 0).then_some(words)
}

#[inline(always)]
fn store<W, const N: usize>(skb: *mut __sk_buff, at: u32, words: &[W; N]) -> Option<()> {
    // SAFETY: the program's own context, and as many bytes as are said.
    let stored = unsafe {
        bpf_skb_store_bytes(
            skb,
            at,
            words.as_ptr().cast::<c_void>(),
            size_of::<[W; N]>() as u32,
            0,
        )
    };
    (stored == 0).then_some(())
}
