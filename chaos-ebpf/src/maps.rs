//! The maps of the fault plane. User space makes one set of them for all objects of a node, in
//! `chaos-userspace/src/engine/maps.rs`, which must agree with these definitions; how many entries
//! there are is decided there.
//!
//! Hashes are not preallocated, so that memory follows the rules that there are. Configuration and
//! state are apart: replacing a hash value drops what was stored in it.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf},
};
use chaos_common::{
    AllocationFilter, CallFilter, CallSet, Counters, DnsAnswer, DnsFilter, ExcludeKey, Gate,
    LinkConfig, LinkState, NameKey, Narrowing, PacketFilter, PathFilter, Pause, PeerKey, ReplayKey,
    Room, RuleConfig, RuleList, RuleState, TargetKey, ThreadKey,
    limits::{
        self, ALLOCATION_RULES, EVENT_RING_BYTES, HOOKS, PAUSE_RING_BYTES, PLANS, RECORD_ORDINALS,
        RECORDS, REPLAY_ORDINALS, RULES, THREADS,
    },
    link::{distribution, late},
};

/// One word per plan: the boot time in nanoseconds until which it is held, 0 while it is not armed.
/// Arming, holding on to and disarming a plan are one store each.
#[map]
pub static PLANS_HELD: Array<u64> = Array::with_max_entries(PLANS, 0);

/// Indexed by [`chaos_common::Hook`].
#[map]
pub static GATES: Array<Gate> = Array::with_max_entries(HOOKS, 0);

/// Indexed by [`chaos_common::Hook`]: what is remembered of cgroups ([`chaos_common::remembered`]).
#[map]
pub static REMEMBERED: Array<[u64; limits::REMEMBERED]> = Array::with_max_entries(HOOKS, 0);

/// Target to its rules, for hooks that run for every task of the machine.
#[map]
pub static TARGETS: HashMap<TargetKey, RuleList> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to its configuration.
#[map]
pub static RULES_CONFIG: HashMap<u32, RuleConfig> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to its state.
#[map]
pub static RULES_STATE: HashMap<u32, RuleState> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Counters of the rules that have a place here, and further places.
#[map]
pub static RULES_COUNT: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Rule number to the paths that it wants.
#[map]
pub static RULES_PATH: HashMap<u32, PathFilter> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// The system calls that rules are about, shared by those that are about the same ones.
#[map]
pub static CALL_SETS: Array<CallSet> = Array::with_max_entries(limits::CALL_SETS, 0);

/// Rule number to the tasks that it wants.
#[map]
pub static RULES_NARROW: HashMap<u32, Narrowing> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Rule number to the allocations that it wants.
#[map]
pub static RULES_ALLOCATION: HashMap<u32, AllocationFilter> =
    HashMap::with_max_entries(ALLOCATION_RULES, BPF_F_NO_PREALLOC);

/// Rule number to the block device that it is about ([`chaos_common::disk::device_number`]).
#[map]
pub static RULES_DEVICE: HashMap<u32, u32> =
    HashMap::with_max_entries(limits::DEVICE_RULES, BPF_F_NO_PREALLOC);

/// Rule number to the packets that it is about.
#[map]
pub static RULES_PACKET: HashMap<u32, PacketFilter> =
    HashMap::with_max_entries(limits::PACKET_RULES, BPF_F_NO_PREALLOC);

/// Rule number to what its link does.
#[map]
pub static RULES_LINK: HashMap<u32, LinkConfig> =
    HashMap::with_max_entries(limits::LINK_RULES, BPF_F_NO_PREALLOC);

/// Rule number to what its link remembers.
#[map]
pub static LINKS_STATE: HashMap<u32, LinkState> =
    HashMap::with_max_entries(limits::LINK_RULES, BPF_F_NO_PREALLOC);

/// How late packets come off links: by [`chaos_common::link::late::place`].
#[map]
pub static LINKS_LATE: PerCpuArray<u64> = PerCpuArray::with_max_entries(late::PLACES, 0);

/// The tables of [`chaos_common::link::distribution`]s, by their number.
#[map]
pub static DELAYS: Array<[i16; distribution::ENTRIES]> = Array::with_max_entries(4, 0);

/// Networks of rules to what they are to them: [`PeerKey::IN`] or [`PeerKey::OUT`].
#[map]
pub static PEERS: LpmTrie<PeerKey, u32> = LpmTrie::with_max_entries(limits::PEER_NETWORKS, 0);

/// Rule number to the answers of DNS servers that it is about.
#[map]
pub static RULES_DNS: HashMap<u32, DnsFilter> =
    HashMap::with_max_entries(limits::DNS_RULES, BPF_F_NO_PREALLOC);

/// Rule number to what its answers say.
#[map]
pub static RULES_ANSWER: HashMap<u32, DnsAnswer> =
    HashMap::with_max_entries(limits::DNS_RULES, BPF_F_NO_PREALLOC);

/// Names of rules to what they are to them: [`NameKey::IN`] and others.
#[map]
pub static NAMES: LpmTrie<NameKey, u32> = LpmTrie::with_max_entries(limits::NAMES, 0);

/// Rule number to what may still be written.
#[map]
pub static RULES_ROOM: HashMap<u32, Room> =
    HashMap::with_max_entries(limits::ROOMS, BPF_F_NO_PREALLOC);

/// Rule number to what it wants of a system call.
#[map]
pub static RULES_CALL: HashMap<u32, CallFilter> =
    HashMap::with_max_entries(limits::CALL_RULES, BPF_F_NO_PREALLOC);

/// Cgroups that rules leave out.
#[map]
pub static RULES_EXCLUDE: HashMap<ExcludeKey, u32> =
    HashMap::with_max_entries(RULES, BPF_F_NO_PREALLOC);

/// Ordinals that replays hit.
#[map]
pub static RULES_REPLAY: HashMap<ReplayKey, u32> =
    HashMap::with_max_entries(REPLAY_ORDINALS, BPF_F_NO_PREALLOC);

/// Events of a thread so far, for rules that count per thread.
#[map]
pub static THREADS_ORDINAL: HashMap<ThreadKey, u64> =
    HashMap::with_max_entries(THREADS, BPF_F_NO_PREALLOC);

/// Ordinals of injections, one block per recorded rule. Complete, unlike [`EVENTS`].
#[map]
pub static RECORD: Array<u64> = Array::with_max_entries(RECORDS * RECORD_ORDINALS, 0);

/// Indexed by [`chaos_common::Hook`]: what passed without that a rule could count it. One for each
/// rule that an event had no room for, and one for an event that had no buffer.
#[map]
pub static UNCOUNTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(HOOKS, 0);

/// Sampled events.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);

/// Sampled events that found no room in [`EVENTS`].
#[map]
pub static EVENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Calls whose threads sleep, by the thread.
#[map]
pub static PAUSES: HashMap<u64, Pause> =
    HashMap::with_max_entries(limits::PAUSES, BPF_F_NO_PREALLOC);

/// Threads that shall sleep ([`chaos_common::PauseRequest`]).
#[map]
pub static PAUSES_ASKED: RingBuf = RingBuf::with_byte_size(PAUSE_RING_BYTES, 0);
