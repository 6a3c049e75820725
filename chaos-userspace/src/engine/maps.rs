//! The maps that all objects of a node share; the programs' side is `chaos-ebpf/src/maps.rs`.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::maps::{Map, MapData, MapError, lpm_trie::Key};
use aya_obj::generated::bpf_map_type;
use chaos_common::{
    AllocationFilter, CallFilter, CallSet, Counters, DnsAnswer, DnsFilter, ExcludeKey, Gate,
    LinkConfig, LinkState, NameKey, Narrowing, PacketFilter, PathFilter, Pause, PeerKey, ReplayKey,
    Room, RuleConfig, RuleList, RuleState, TargetKey, ThreadKey,
    limits::{
        ALLOCATION_RULES, CALL_RULES, CALL_SETS, COUNTER_POOL_BYTES, DEVICE_RULES, DNS_RULES,
        EVENT_RING_BYTES, HOOKS, LINK_RULES, NAMES, PACKET_RULES, PAUSE_RING_BYTES, PAUSES,
        PEER_NETWORKS, PLANS, RECORD_ORDINALS, RECORDS, REMEMBERED, REPLAY_ORDINALS, ROOMS,
        THREADS,
    },
    link::{distribution, late},
};

use super::{EngineError, chain};

/// What the names of everything that kchaos loads begin with, maps and programs: so that others can
/// tell. The kernel keeps 15 bytes of a name.
pub const NAME_PREFIX: &str = "kc_";

/// `BPF_F_NO_PREALLOC`: memory follows the entries that there are.
const NO_PREALLOC: u32 = 1;

#[derive(Clone, Copy, Debug)]
struct Definition {
    name: &'static str,
    kind: bpf_map_type,
    key: usize,
    value: usize,
    entries: u32,
    flags: u32,
}

const fn array<V>(name: &'static str, entries: u32) -> Definition {
    Definition {
        name,
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY,
        key: size_of::<u32>(),
        value: size_of::<V>(),
        entries,
        flags: 0,
    }
}

const fn per_cpu_array<V>(name: &'static str, entries: u32) -> Definition {
    Definition {
        kind: bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
        ..array::<V>(name, entries)
    }
}

const fn hash<K, V>(name: &'static str, entries: u32) -> Definition {
    Definition {
        name,
        kind: bpf_map_type::BPF_MAP_TYPE_HASH,
        key: size_of::<K>(),
        value: size_of::<V>(),
        entries,
        flags: NO_PREALLOC,
    }
}

/// The key begins with how many bits of it count.
const fn longest_prefix<K, V>(name: &'static str, entries: u32) -> Definition {
    Definition {
        name,
        kind: bpf_map_type::BPF_MAP_TYPE_LPM_TRIE,
        key: size_of::<Key<K>>(),
        value: size_of::<V>(),
        entries,
        flags: NO_PREALLOC,
    }
}

const fn ring(name: &'static str, bytes: u32) -> Definition {
    Definition {
        name,
        kind: bpf_map_type::BPF_MAP_TYPE_RINGBUF,
        key: 0,
        value: 0,
        entries: bytes,
        flags: 0,
    }
}

fn definitions(rules: u32, counters: u32) -> [Definition; 32] {
    [
        array::<u64>("PLANS_HELD", PLANS),
        array::<Gate>("GATES", HOOKS),
        array::<[u64; REMEMBERED]>("REMEMBERED", HOOKS),
        hash::<TargetKey, RuleList>("TARGETS", rules),
        hash::<u32, RuleConfig>("RULES_CONFIG", rules),
        hash::<u32, RuleState>("RULES_STATE", rules),
        per_cpu_array::<Counters>("RULES_COUNT", counters),
        hash::<u32, PathFilter>("RULES_PATH", rules),
        array::<CallSet>("CALL_SETS", CALL_SETS),
        hash::<u32, Narrowing>("RULES_NARROW", rules),
        hash::<u32, AllocationFilter>("RULES_ALLOCATION", ALLOCATION_RULES),
        hash::<u32, u32>("RULES_DEVICE", DEVICE_RULES),
        hash::<u32, PacketFilter>("RULES_PACKET", PACKET_RULES),
        hash::<u32, LinkConfig>("RULES_LINK", LINK_RULES),
        hash::<u32, LinkState>("LINKS_STATE", LINK_RULES),
        per_cpu_array::<u64>("LINKS_LATE", late::PLACES),
        array::<[i16; distribution::ENTRIES]>("DELAYS", 4),
        longest_prefix::<PeerKey, u32>("PEERS", PEER_NETWORKS),
        hash::<u32, DnsFilter>("RULES_DNS", DNS_RULES),
        hash::<u32, DnsAnswer>("RULES_ANSWER", DNS_RULES),
        longest_prefix::<NameKey, u32>("NAMES", NAMES),
        hash::<u32, Room>("RULES_ROOM", ROOMS),
        hash::<u32, CallFilter>("RULES_CALL", CALL_RULES),
        hash::<ExcludeKey, u32>("RULES_EXCLUDE", rules),
        hash::<ReplayKey, u32>("RULES_REPLAY", REPLAY_ORDINALS),
        hash::<ThreadKey, u64>("THREADS_ORDINAL", THREADS),
        array::<u64>("RECORD", RECORDS * RECORD_ORDINALS),
        ring("EVENTS", EVENT_RING_BYTES),
        per_cpu_array::<u64>("EVENTS_LOST", 1),
        hash::<u64, Pause>("PAUSES", PAUSES),
        ring("PAUSES_ASKED", PAUSE_RING_BYTES),
        per_cpu_array::<u64>("UNCOUNTED", HOOKS),
    ]
}

/// How many rules can have counters of their own per CPU on this machine.
pub(super) fn counter_slots() -> Result<u32, EngineError> {
    let cpus = aya::util::nr_cpus().map_err(|(file, source)| EngineError::Io {
        what: format!("read {file}"),
        source,
    })?;
    let each = u32::try_from(cpus * size_of::<Counters>()).unwrap_or(u32::MAX);
    Ok((COUNTER_POOL_BYTES / each).max(1))
}

/// One set of maps, freshly made.
#[derive(Debug)]
pub(super) struct Maps {
    made: HashMap<&'static str, MapData>,
    /// For objects that are loaded later, when the maps themselves have been handed out.
    fds: HashMap<&'static str, (Definition, OwnedFd)>,
}

impl Maps {
    /// Makes all of them, for so many rules.
    pub(super) fn create(rules: u32) -> Result<Self, EngineError> {
        let mut maps = Self {
            made: HashMap::new(),
            fds: HashMap::new(),
        };
        for definition in definitions(rules, counter_slots()?) {
            let name = definition.name;
            let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
            let map = aya_obj::Map::new_from_params(
                definition.kind as u32,
                size(definition.key),
                size(definition.value),
                definition.entries,
                definition.flags,
            );
            let data = MapData::create(map, &format!("{NAME_PREFIX}{name}"), None)
                .map_err(|error| failed(name, &error))?;
            let fd = data
                .fd()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|source| EngineError::Io {
                    what: format!("keep map {name}"),
                    source,
                })?;
            maps.fds.insert(name, (definition, fd));
            maps.made.insert(name, data);
        }
        Ok(maps)
    }

    /// The descriptor of a shared map for an object that defines it in the same way; `None` when it
    /// is the object's own.
    pub(super) fn shared(
        &self,
        name: &str,
        wanted: &aya_obj::Map,
    ) -> Result<Option<BorrowedFd<'_>>, EngineError> {
        let Some((name, (definition, fd))) = self.fds.get_key_value(name) else {
            return Ok(None);
        };
        let same = wanted.map_type() == definition.kind as u32
            && wanted.key_size() as usize == definition.key
            && wanted.value_size() as usize == definition.value;
        if !same {
            return Err(EngineError::Map {
                map: name,
                reason: "the object's definition is another one".to_owned(),
            });
        }
        Ok(Some(fd.as_fd()))
    }

    /// The descriptor of a shared map.
    pub(super) fn fd(&self, name: &'static str) -> Result<BorrowedFd<'_>, EngineError> {
        let found = self.fds.get(name).map(|(_, fd)| fd.as_fd());
        found.ok_or(EngineError::Map {
            map: name,
            reason: "there is none of this name".to_owned(),
        })
    }

    /// Hands a map out, once.
    pub(super) fn take<M>(
        &mut self,
        name: &'static str,
        wrap: fn(MapData) -> Map,
    ) -> Result<M, EngineError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let data = self.made.remove(name).ok_or(EngineError::Map {
            map: name,
            reason: "there is none of this name".to_owned(),
        })?;
        M::try_from(wrap(data)).map_err(|error| failed(name, &error))
    }

    /// Kernel memory of all maps in bytes, as their fdinfo has it.
    pub(super) fn memory(&self) -> u64 {
        use std::os::fd::AsRawFd as _;
        self.fds
            .values()
            .filter_map(|(_, fd)| {
                let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
                let text = std::fs::read_to_string(path).ok()?;
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix("memlock:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
    }
}

/// A map that could not be made, written or read.
pub(super) fn failed(name: &'static str, error: &MapError) -> EngineError {
    EngineError::Map {
        map: name,
        reason: chain(error),
    }
}
