//! What an answer of a DNS server is about (RFC 1035, 4), who gets it, and how it is changed.

mod receiver;
mod rewrite;

use core::{ffi::c_void, ptr::null_mut};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_loop, bpf_skb_load_bytes},
    macros::map,
    maps::{PerCpuArray, lpm_trie::Key},
};
use chaos_common::{
    Filtered, NameKey, PacketFacts, RuleConfig,
    dns::{ANSWER, small},
    flags,
};

use crate::{
    bounds::masked,
    maps::{NAMES, RULES_DNS},
    packet::load,
    skb::{self, network},
    subject::Packet,
};

pub use receiver::{Receiver, find_receiver};
pub use rewrite::{answer, fail};

/// Where DNS servers are (RFC 1035, 4.2; RFC 7766).
const PORT: u32 = 53;

/// Bytes of the header.
const HEADER: u32 = 12;
/// Behind the labels of a question: their end, its type and its class.
const QUESTION_END: u64 = 5;
/// Of the flags: it is an answer, of a server to a plain question, and not to one that is of another kind.
const IS_ANSWER: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
/// A name on the wire is not longer, its end included.
const NAME: usize = 255;
/// Of what follows the header so much is looked at: a name, and the type of the question.
const LOOKED_AT: u32 = NAME as u32 + 2;
/// Bytes of the room for it: a power of two, because programs bound their offsets by masking.
const ROOM: usize = 512;
/// A name has no more labels.
const LABELS: u32 = 128;

/// Room for the records of an answer of ours. A power of two.
const RECORDS: usize = 64;

/// Types have 16 bits.
const NO_QUESTION: u64 = u64::MAX;

/// The answer that is being decided. Nothing else runs on this processor until that is done: what arrives is
/// looked at with softirqs off.
#[repr(C)]
pub struct Answer {
    key: Key<NameKey>,
    question: [u8; ROOM],
    /// Bytes of the question's name without its end, and how many bytes there are of all of it.
    name_len: u64,
    looked_at: u64,
    /// The type that is asked for, or [`NO_QUESTION`].
    kind: u64,
    /// Where the message begins, in bytes from the header of IP on.
    message: u64,
    /// Bytes of it behind its question, and how many of them are in this packet.
    behind: u64,
    behind_here: u64,
    /// What is to stand behind the question.
    records: [u8; RECORDS],
    /// The address of the cgroup of the socket that gets it, or 0.
    cgroup: u64,
}

#[map]
static ANSWERS: PerCpuArray<Answer> = PerCpuArray::with_max_entries(1, 0);

/// Finds out whether a packet that arrives is an answer, and to which question. It is known then until the next one.
#[inline(always)]
pub fn learn(packet: &Packet<'_>, facts: &PacketFacts) -> bool {
    let Some(answer) = ANSWERS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a map's value.
    unsafe {
        (&raw mut (*answer).kind).write_volatile(NO_QUESTION);
        (&raw mut (*answer).cgroup).write_volatile(0);
    }
    look_at(packet, facts, answer).is_some()
}

#[inline(always)]
fn look_at(packet: &Packet<'_>, facts: &PacketFacts, answer: *mut Answer) -> Option<()> {
    if facts.has_ports == 0 || facts.peer_port != PORT {
        return None;
    }
    let message = match facts.proto {
        PacketFacts::UDP => facts.transport + 8,
        PacketFacts::TCP => {
            let [offset]: [u8; 1] = load(packet, facts.transport + 12)?;
            // Behind the length (RFC 1035, 4.2.2). What is none, because the message goes on there that an
            // earlier segment began with, does not look like a header.
            facts.transport + u32::from(offset >> 4) * 4 + 2
        }
        _ => return None,
    };
    // Not from the header of IP on, which only reaches what lies in one piece, as what TCP sends does not.
    let skb = packet.0.skb;
    let network = network(skb)?;
    let [_, flags, questions, ..]: [u16; 6] = skb::load(skb, network + message)?;
    let flags = u16::from_be(flags);
    if flags & IS_ANSWER == 0 || flags & OPERATION != 0 || u16::from_be(questions) != 1 {
        return None;
    }
    // SAFETY: a map's value.
    unsafe { (&raw mut (*answer).message).write_volatile(message.into()) };
    let at = network + message + HEADER;
    let rest = packet.0.len().saturating_sub(at);
    if rest == 0 {
        return None;
    }
    let bytes = if rest < LOOKED_AT { rest } else { LOOKED_AT };
    // At least one, and no more than there is room for, as the verifier sees it as well.
    let bytes = masked::<{ ROOM - 1 }>((bytes - 1) as usize) as u32 + 1;
    // SAFETY: the program's own context, and a map's value with room for all of it.
    unsafe {
        (&raw mut (*answer).looked_at).write_volatile(bytes.into());
        let place = (&raw mut (*answer).question).cast::<c_void>();
        if bpf_skb_load_bytes(skb.cast(), at, place, bytes) != 0 {
            return None;
        }
        (&raw mut (*answer).name_len).write_volatile(0);
        bpf_loop(LABELS, label as *mut c_void, null_mut(), 0);
        // The name has not come to its end.
        if (&raw const (*answer).kind).read_volatile() == NO_QUESTION {
            return None;
        }
        let start =
            u64::from(HEADER) + (&raw const (*answer).name_len).read_volatile() + QUESTION_END;
        let length = length(skb, network, message, facts)?;
        let here = packet.0.len().saturating_sub(network + message);
        let here = if here < length { here } else { length };
        (&raw mut (*answer).behind).write_volatile(u64::from(length).saturating_sub(start));
        (&raw mut (*answer).behind_here).write_volatile(u64::from(here).saturating_sub(start));
        bpf_loop(NAME as u32, letter as *mut c_void, null_mut(), 0);
    }
    Some(())
}

/// Bytes of a message.
#[inline(always)]
fn length(skb: *mut __sk_buff, network: u32, message: u32, facts: &PacketFacts) -> Option<u32> {
    if facts.proto == PacketFacts::TCP {
        let [bytes]: [u16; 1] = skb::load(skb, network + message - 2)?;
        return Some(u16::from_be(bytes).into());
    }
    let [bytes]: [u16; 1] = skb::load(skb, network + facts.transport + 4)?;
    Some(u32::from(u16::from_be(bytes)).saturating_sub(8))
}

/// Goes on by one label; 1 at the end of the name.
unsafe extern "C" fn label(_index: u64, _nothing: *mut c_void) -> i64 {
    // Looked up again: a program can hand a callback nothing but what is on its stack.
    let Some(answer) = ANSWERS.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: a map's value, and each place is masked.
    unsafe {
        let question = (&raw const (*answer).question).cast::<u8>();
        let byte = |at: u64| {
            question
                .add(masked::<{ ROOM - 1 }>(at as usize))
                .read_volatile()
        };
        let at = (&raw const (*answer).name_len).read_volatile();
        let looked_at = (&raw const (*answer).looked_at).read_volatile();
        // What ends here, and its type.
        if at + 3 > looked_at {
            return 1;
        }
        let length = byte(at);
        if length == 0 {
            let kind = u64::from(byte(at + 1)) << 8 | u64::from(byte(at + 2));
            (&raw mut (*answer).kind).write_volatile(kind);
            return 1;
        }
        // A pointer: a question has none.
        if length > 63 {
            return 1;
        }
        (&raw mut (*answer).name_len).write_volatile(at + u64::from(length) + 1);
    }
    0
}

/// Puts one byte of the name into its key, from the end; 1 behind the last one.
unsafe extern "C" fn letter(index: u64, _nothing: *mut c_void) -> i64 {
    let Some(answer) = ANSWERS.get_ptr_mut(0) else {
        return 1;
    };
    if index >= NameKey::BYTES as u64 {
        return 1;
    }
    // SAFETY: a map's value, and the places are bound.
    unsafe {
        let len = (&raw const (*answer).name_len).read_volatile();
        let place = (&raw mut (*answer).key.data.bytes)
            .cast::<u8>()
            .add(index as usize);
        if index >= len {
            place.write_volatile(NameKey::BEGIN);
            return 1;
        }
        let question = (&raw const (*answer).question).cast::<u8>();
        let from = masked::<{ ROOM - 1 }>((len - 1 - index) as usize);
        place.write_volatile(small(question.add(from).read_volatile()));
    }
    0
}

/// Whether a rule wants the answer that was learnt of last.
#[inline(always)]
pub fn filter(number: u32, rule: &RuleConfig) -> Filtered {
    if rule.flags & flags::DNS == 0 {
        return Filtered::In;
    }
    let Some(answer) = ANSWERS.get_ptr_mut(0) else {
        return Filtered::Unknown;
    };
    // SAFETY: values are replaced whole, and the map is not preallocated; the answer is a map's value.
    unsafe {
        let Some(wanted) = RULES_DNS.get(number) else {
            return Filtered::Unknown;
        };
        let kind = (&raw const (*answer).kind).read_volatile();
        if kind == NO_QUESTION {
            return Filtered::Out;
        }
        let filtered = wanted.filter(kind as u32, || {
            (&raw mut (*answer).key.prefix_len).write_unaligned(NameKey::BITS);
            (&raw mut (*answer).key.data.rule).write_unaligned(number);
            NAMES.get(&(*answer).key).copied().unwrap_or(0)
        });
        let is_other = filtered == Filtered::In && rule.effect == ANSWER;
        if is_other && !rewrite::has_room(answer, number) {
            return Filtered::Unknown;
        }
        filtered
    }
}
