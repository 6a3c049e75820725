//! What an answer of a DNS server is about (RFC 1035, 4), and how it is changed.

use core::{ffi::c_void, ptr::null_mut};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{
        bpf_loop, bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release, bpf_skb_load_bytes,
    },
    macros::map,
    maps::{PerCpuArray, lpm_trie::Key},
};
use chaos_common::{
    DnsAnswer, Filtered, NameKey, PacketFacts, RuleConfig,
    dns::{ANSWER, small},
    flags,
};

use crate::{
    bounds::masked,
    damage::{self, network},
    disk::Account,
    kernel::{OFF_SOCK_CGROUP, read},
    maps::{NAMES, RULES_ANSWER, RULES_DNS},
    packet::load,
    subject::{By, Packet, Subject},
};

/// Where DNS servers are (RFC 1035, 4.2; RFC 7766).
const PORT: u32 = 53;

/// Bytes of the header, which has the flags from the third one on.
const HEADER: u32 = 12;
/// Behind the labels of a question: their end, its type and its class.
const QUESTION_END: u64 = 5;
const FLAGS: u32 = 2;
/// Of the flags: it is an answer, of a server to a plain question, and not to one that is of another kind.
const IS_ANSWER: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
/// What has become of the question.
const RCODE: u16 = 0x000f;

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

/// Types have 16 bits.
const NO_QUESTION: u64 = u64::MAX;

/// In the namespace of the device (`BPF_F_CURRENT_NETNS`).
const HERE: u64 = u64::MAX;

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
    let [_, flags, questions, ..]: [u16; 6] = damage::load(skb, network + message)?;
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
        let [bytes]: [u16; 1] = damage::load(skb, network + message - 2)?;
        return Some(u16::from_be(bytes).into());
    }
    let [bytes]: [u16; 1] = damage::load(skb, network + facts.transport + 4)?;
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
        if is_other && Records::of(answer, number).needed() == Records::NO_ROOM {
            return Filtered::Unknown;
        }
        filtered
    }
}

/// Who gets the answer that was learnt of last: by the cgroup of its socket. Nobody, where there is none.
#[derive(Clone, Copy)]
pub struct Receiver<'a>(pub Packet<'a>);

impl Receiver<'_> {
    #[inline(always)]
    fn account() -> Account {
        // SAFETY: a map's value.
        Account::at(ANSWERS.get_ptr(0).map_or(0, |answer| unsafe {
            (&raw const (*answer).cgroup).read_volatile()
        }))
    }
}

impl Subject for Receiver<'_> {
    const TASK: bool = false;

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        Self::account().cgroup()
    }

    #[inline(always)]
    fn ancestor(&self, depth: u32) -> u64 {
        Self::account().ancestor(depth)
    }

    /// Not the packet's own socket, which can still be its sender's.
    #[inline(always)]
    fn describe(&self, detail: u64) -> By {
        By {
            cgroup: self.cgroup(),
            ..self.0.describe(detail)
        }
    }

    #[inline(always)]
    unsafe fn head(&self, place: *mut c_void) {
        // SAFETY: the caller has made room.
        unsafe { self.0.head(place) };
    }
}

/// Looks up who gets the answer that was learnt of last; whether there is a socket for it here. The packet is not given
/// the socket: whoever forwards it, or keeps it waiting, would do wrong by that.
#[inline(always)]
pub fn find_receiver(packet: &Packet<'_>, facts: &PacketFacts) -> bool {
    look_up(packet, facts).is_some()
}

#[inline(always)]
fn look_up(packet: &Packet<'_>, facts: &PacketFacts) -> Option<()> {
    let [ports]: [u32; 1] = load(packet, facts.transport)?;
    if facts.peer.family == chaos_common::Address::IPV4 {
        let [source, destination]: [u32; 2] = load(packet, 12)?;
        find(packet, facts.proto, [source, destination, ports])
    } else {
        let ends: [u32; 8] = load(packet, 8)?;
        let tuple = [
            ends[0], ends[1], ends[2], ends[3], ends[4], ends[5], ends[6], ends[7], ports,
        ];
        find(packet, facts.proto, tuple)
    }
}

/// The tuple is as `struct bpf_sock_tuple` has it: addresses and ports as on the wire.
#[inline(always)]
fn find<const N: usize>(packet: &Packet<'_>, proto: u32, mut tuple: [u32; N]) -> Option<()> {
    let answer = ANSWERS.get_ptr_mut(0)?;
    let skb = packet.0.skb.cast::<c_void>();
    let place = tuple.as_mut_ptr().cast();
    let size = size_of::<[u32; N]>() as u32;
    // SAFETY: the program's own context and its own tuple; what was found is given back; a map's value; reads are
    // checked by a helper.
    unsafe {
        let socket = if proto == PacketFacts::TCP {
            bpf_sk_lookup_tcp(skb, place, size, HERE, 0)
        } else {
            bpf_sk_lookup_udp(skb, place, size, HERE, 0)
        };
        if socket.is_null() {
            return None;
        }
        // By way of memory: the verifier lets nobody count with such a pointer. No helper tells programs on devices the
        // cgroup of a socket that is not the packet's (tc_cls_act_func_proto, net/core/filter.c).
        let word = &raw mut (*answer).cgroup;
        word.write_volatile(socket as u64);
        let address = word.read_volatile();
        let cgroup = read::<u64>(address, &OFF_SOCK_CGROUP).unwrap_or(0);
        word.write_volatile(cgroup);
        bpf_sk_release(socket.cast());
    }
    Some(())
}

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
        sum: damage::checksum(network, facts),
        flags: damage::flags(facts.proto),
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
    /// As [`damage::flags`] has them.
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
    damage::replace_byte(change.skb, change.sum, place, after, is_first, change.flags)
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
    let [before]: [u16; 1] = damage::load(skb, network(skb)? + offset)?;
    let after = make(u16::from_be(before)).to_be();
    damage::replace(packet, facts, offset, before, after)
}
