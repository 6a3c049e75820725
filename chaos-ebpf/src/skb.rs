//! The bytes of a packet, read and changed where they are.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, bpf_hdr_start_off::BPF_HDR_START_NET},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_skb_store_bytes,
    },
};
use chaos_common::PacketFacts;

use crate::subject::Packet;

/// Of Ethernet, which a packet may have in front of its header of IP, or nothing.
const ETHERNET_BYTES: u32 = 14;

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

/// Puts a byte into the place of another, and makes the checksum right again where there is one. Which half of a word
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

/// Puts some words into their place.
#[inline(always)]
pub(crate) fn store<W, const N: usize>(skb: *mut __sk_buff, at: u32, words: &[W; N]) -> Option<()> {
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
