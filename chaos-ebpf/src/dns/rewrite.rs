//! How an answer of a DNS server is changed, in place.

use core::ffi::c_void;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_loop};
use chaos_common::{DnsAnswer, PacketFacts};

use super::{ANSWERS, Answer, HEADER, QUESTION_END, RECORDS};
use crate::{
    bounds::masked,
    maps::RULES_ANSWER,
    skb::{self, network},
    subject::Packet,
};

/// The flags stand in the header from this byte on.
const FLAGS: u32 = 2;
/// What has become of the question.
const RCODE: u16 = 0x000f;
/// Bytes of a record with its name, which is a pointer or the root, and without what it says.
const RECORD: u32 = 12;
const PAD: u32 = 11;
/// A pointer to the name behind the header (RFC 1035, 4.1.4); a type that says nothing, for what is over; the Internet.
const NAME_OF_QUESTION: u16 = 0xc000 | HEADER as u16;
const NULL: u16 = 10;
const INTERNET: u16 = 1;
/// In the header behind the flags and the number of questions: those of answers, authorities, and others.
const ANSWER_COUNT: u32 = 6;
const AUTHORITY_COUNT: u32 = 8;
const OTHER_COUNT: u32 = 10;
/// Of the flags: there would be more.
const TRUNCATED: u16 = 0x0200;

/// Has the answer that was learnt of last say that this has become of the question. Its records stay: with an error
/// nobody looks at them.
#[inline(always)]
pub fn fail(packet: &Packet<'_>, facts: &PacketFacts, rcode: u32) -> Option<()> {
    let answer = ANSWERS.get_ptr_mut(0)?;
    // SAFETY: a map's value.
    let message = unsafe { (&raw const (*answer).message).read_volatile() } as u32;
    set(packet, facts, message + FLAGS, |flags| {
        flags & !RCODE | rcode as u16 & RCODE
    })
}

/// Has the answer that was learnt of last say what a rule wants. It stays as long as it is, so that no length and no
/// sequence number has to change: what is over becomes a record that says nothing.
/// `None` if there is no room in it, or it is not all in this packet.
#[inline(always)]
pub fn answer(packet: &Packet<'_>, facts: &PacketFacts, rule: u32) -> Option<()> {
    let answer = ANSWERS.get_ptr_mut(0)?;
    // SAFETY: values are replaced whole, and the map is not preallocated.
    let wanted = unsafe { RULES_ANSWER.get(rule) }?;
    let skb = packet.0.skb;
    let network = network(skb)?;
    // SAFETY: a map's value.
    let (message, name_len, kind) = unsafe {
        (
            (&raw const (*answer).message).read_volatile() as u32,
            (&raw const (*answer).name_len).read_volatile() as u32,
            (&raw const (*answer).kind).read_volatile() as u32,
        )
    };
    let start = HEADER + name_len + QUESTION_END as u32;
    let records = Records::of(answer, rule);
    let length = records.needed();
    if length == Records::NO_ROOM {
        return None;
    }
    let Records {
        has, data, rest, ..
    } = records;
    let (record, is_padded) = (records.record(), records.is_padded());
    if has {
        put(answer, 0, &NAME_OF_QUESTION.to_be_bytes());
        put(answer, 2, &(kind as u16).to_be_bytes());
        put(answer, 4, &INTERNET.to_be_bytes());
        put(answer, 6, &wanted.ttl.to_be_bytes());
        put(answer, 10, &(data as u16).to_be_bytes());
        if data == 4 {
            put(answer, RECORD, &wanted.v4);
        } else {
            put(answer, RECORD, &wanted.v6);
        }
    }
    if is_padded {
        put(answer, record, &[0]);
        put(answer, record + 1, &NULL.to_be_bytes());
        put(answer, record + 3, &INTERNET.to_be_bytes());
        put(answer, record + 5, &[0; 4]);
        put(answer, record + 9, &((rest - PAD) as u16).to_be_bytes());
    }
    let mut change = Change {
        skb,
        place: network + message + start,
        sum: skb::checksum(network, facts),
        flags: skb::flags(facts.proto),
    };
    // SAFETY: the callback casts the pointer back to what it was.
    unsafe {
        bpf_loop(length, byte as *mut c_void, (&raw mut change).cast(), 0);
    }
    let count = |offset, count: bool| set(packet, facts, message + offset, |_| u16::from(count));
    count(ANSWER_COUNT, has)?;
    count(AUTHORITY_COUNT, false)?;
    count(OTHER_COUNT, is_padded)?;
    set(packet, facts, message + FLAGS, |flags| {
        flags & !(RCODE | TRUNCATED)
    })
}

/// Whether what a rule's answers say finds room in the one that was learnt of last.
#[inline(always)]
pub(super) fn has_room(answer: *mut Answer, rule: u32) -> bool {
    Records::of(answer, rule).needed() != Records::NO_ROOM
}

/// What is to stand behind the question.
struct Records {
    /// Whether there is an address, and the bytes of one.
    has: bool,
    data: u32,
    /// Bytes that are over behind it, of the message; and of it in this packet, all of it.
    rest: u32,
    here: u32,
}

impl Records {
    const NO_ROOM: u32 = u32::MAX;

    /// For the answer that was learnt of last.
    #[inline(always)]
    fn of(answer: *mut Answer, rule: u32) -> Self {
        // SAFETY: a map's value.
        let (kind, behind, here) = unsafe {
            (
                (&raw const (*answer).kind).read_volatile() as u32,
                (&raw const (*answer).behind).read_volatile() as u32,
                (&raw const (*answer).behind_here).read_volatile() as u32,
            )
        };
        // SAFETY: values are replaced whole, and the map is not preallocated.
        let families = unsafe { RULES_ANSWER.get(rule) }.map_or(0, |wanted| wanted.families);
        let (bit, data) = if kind == DnsAnswer::A {
            (DnsAnswer::V4, 4)
        } else {
            (DnsAnswer::V6, 16)
        };
        let has = families & bit != 0;
        let record = if has { RECORD + data } else { 0 };
        Self {
            has,
            data,
            rest: if record > behind {
                Self::NO_ROOM
            } else {
                behind - record
            },
            here,
        }
    }

    #[inline(always)]
    fn record(&self) -> u32 {
        if self.has { RECORD + self.data } else { 0 }
    }

    #[inline(always)]
    fn is_padded(&self) -> bool {
        self.rest >= PAD
    }

    /// Bytes that change, or [`Self::NO_ROOM`].
    #[inline(always)]
    fn needed(&self) -> u32 {
        let needed = self.record() + if self.is_padded() { PAD } else { 0 };
        // A few bytes that no record can be made of would be no message any more to those who look closely.
        let is_loose = self.rest != 0 && !self.is_padded();
        if self.rest == Self::NO_ROOM || is_loose || needed > self.here {
            Self::NO_ROOM
        } else {
            needed
        }
    }
}

/// Puts some bytes of a record into their place.
#[inline(always)]
fn put<const N: usize>(answer: *mut Answer, at: u32, bytes: &[u8; N]) {
    let mut index = 0;
    while index < N {
        let place = masked::<{ RECORDS - 1 }>(at as usize + index);
        // SAFETY: a map's value, and the place is masked.
        unsafe {
            (&raw mut (*answer).records)
                .cast::<u8>()
                .add(place)
                .write_volatile(bytes[index]);
        }
        index += 1;
    }
}

/// Bytes of a packet that become others.
struct Change {
    skb: *mut __sk_buff,
    /// Where they begin, and where the checksum is.
    place: u32,
    sum: u32,
    /// As [`skb::flags`] has them.
    flags: u64,
}

/// Puts one of [`Answer::records`] into the packet; 1 if it can't.
unsafe extern "C" fn byte(index: u64, change: *mut c_void) -> i64 {
    // SAFETY: the caller passes one, and waits for the end of the loop.
    let change = unsafe { &*change.cast::<Change>() };
    let Some(answer) = ANSWERS.get_ptr_mut(0) else {
        return 1;
    };
    let from = masked::<{ RECORDS - 1 }>(index as usize);
    // SAFETY: a map's value, and the place is masked.
    let after = unsafe {
        (&raw const (*answer).records)
            .cast::<u8>()
            .add(from)
            .read_volatile()
    };
    let place = change.place + index as u32;
    // Which half of a word of the checksum it is.
    let is_first = (place - change.sum) & 1 == 0;
    skb::replace_byte(change.skb, change.sum, place, after, is_first, change.flags)
        .map_or(1, |()| 0)
}

/// Makes something else of two bytes of the message.
#[inline(always)]
fn set(
    packet: &Packet<'_>,
    facts: &PacketFacts,
    offset: u32,
    make: impl FnOnce(u16) -> u16,
) -> Option<()> {
    let skb = packet.0.skb;
    let [before]: [u16; 1] = skb::load(skb, network(skb)? + offset)?;
    let after = make(u16::from_be(before)).to_be();
    skb::replace(packet, facts, offset, before, after)
}
