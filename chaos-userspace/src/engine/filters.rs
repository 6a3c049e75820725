//! What rules want of an event beyond its target: the maps that only some rules have entries in.

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use chaos_common::{
    AllocationFilter, CallFilter, DnsAnswer, DnsFilter, ExcludeKey, LinkConfig, LinkState,
    NO_DEPTH, NameKey, Narrowing, PacketFilter, PathFilter, PeerKey, ReplayKey, Room, RuleConfig,
    ThreadKey, flags,
    limits::{
        ALLOCATION_RULES, CALL_RULES, DEVICE_RULES, DNS_RULES, EXCLUDE_DEPTHS, LINK_RULES, NAMES,
        PACKET_RULES, PEER_NETWORKS, ROOMS,
    },
    link::distribution,
};

use super::{
    EngineError, Excluded, PeerNetwork, RuleNumber, RuleSpec, delays,
    maps::{Maps, failed},
};

/// These maps.
pub(super) struct Filters {
    path: HashMap<MapData, u32, PathFilter>,
    narrow: HashMap<MapData, u32, Narrowing>,
    allocation: HashMap<MapData, u32, AllocationFilter>,
    device: HashMap<MapData, u32, u32>,
    packet: HashMap<MapData, u32, PacketFilter>,
    peers: LpmTrie<MapData, PeerKey, u32>,
    link: HashMap<MapData, u32, LinkConfig>,
    link_state: HashMap<MapData, u32, LinkState>,
    delays: Array<MapData, [i16; distribution::ENTRIES]>,
    /// Whether these tables are written.
    has_delays: bool,
    dns: HashMap<MapData, u32, DnsFilter>,
    answer: HashMap<MapData, u32, DnsAnswer>,
    names: LpmTrie<MapData, NameKey, u32>,
    room: HashMap<MapData, u32, Room>,
    call: HashMap<MapData, u32, CallFilter>,
    exclude: HashMap<MapData, ExcludeKey, u32>,
    replay: HashMap<MapData, ReplayKey, u32>,
    threads: HashMap<MapData, ThreadKey, u64>,
}

impl Filters {
    pub(super) fn take(maps: &mut Maps) -> Result<Self, EngineError> {
        Ok(Self {
            path: maps.take("RULES_PATH", Map::HashMap)?,
            narrow: maps.take("RULES_NARROW", Map::HashMap)?,
            allocation: maps.take("RULES_ALLOCATION", Map::HashMap)?,
            device: maps.take("RULES_DEVICE", Map::HashMap)?,
            packet: maps.take("RULES_PACKET", Map::HashMap)?,
            peers: maps.take("PEERS", Map::LpmTrie)?,
            link: maps.take("RULES_LINK", Map::HashMap)?,
            link_state: maps.take("LINKS_STATE", Map::HashMap)?,
            delays: maps.take("DELAYS", Map::Array)?,
            has_delays: false,
            dns: maps.take("RULES_DNS", Map::HashMap)?,
            answer: maps.take("RULES_ANSWER", Map::HashMap)?,
            names: maps.take("NAMES", Map::LpmTrie)?,
            room: maps.take("RULES_ROOM", Map::HashMap)?,
            call: maps.take("RULES_CALL", Map::HashMap)?,
            exclude: maps.take("RULES_EXCLUDE", Map::HashMap)?,
            replay: maps.take("RULES_REPLAY", Map::HashMap)?,
            threads: maps.take("THREADS_ORDINAL", Map::HashMap)?,
        })
    }

    /// Writes what a rule has.
    pub(super) fn write(&mut self, number: RuleNumber, rule: &RuleSpec) -> Result<(), EngineError> {
        if let Some(path) = &rule.path {
            self.path
                .insert(number, path, 0)
                .map_err(|error| failed("RULES_PATH", &error))?;
        }
        if let Some(narrowing) = &rule.narrowing {
            self.narrow
                .insert(number, narrowing, 0)
                .map_err(|error| failed("RULES_NARROW", &error))?;
        }
        if let Some(allocation) = &rule.allocation {
            self.allocation
                .insert(number, allocation, 0)
                .map_err(|error| {
                    no_room("RULES_ALLOCATION", "of mem.*", ALLOCATION_RULES, &error)
                })?;
        }
        if let Some(device) = rule.device {
            self.device
                .insert(number, device, 0)
                .map_err(|error| no_room("RULES_DEVICE", "with a device", DEVICE_RULES, &error))?;
        }
        if let Some(packet) = &rule.packet {
            self.packet
                .insert(number, packet.filter, 0)
                .map_err(|error| {
                    no_room("RULES_PACKET", "about some packets", PACKET_RULES, &error)
                })?;
            for network in &packet.networks {
                self.peers
                    .insert(&peer_key(number, network), network.listed, 0)
                    .map_err(|error| trie_full("PEERS", "networks", PEER_NETWORKS, &error))?;
            }
        }
        if let Some(dns) = &rule.dns {
            self.dns
                .insert(number, dns.filter, 0)
                .map_err(|error| no_room("RULES_DNS", "of dns.*", DNS_RULES, &error))?;
            if let Some(answer) = &dns.answer {
                self.answer
                    .insert(number, answer, 0)
                    .map_err(|error| no_room("RULES_ANSWER", "of dns.*", DNS_RULES, &error))?;
            }
            for name in &dns.names {
                self.names
                    .insert(&name.key(number), name.listed, 0)
                    .map_err(|error| trie_full("NAMES", "names", NAMES, &error))?;
            }
        }
        if let Some(link) = &rule.link {
            self.write_link(number, link, &rule.config)?;
        }
        if let Some(bytes) = rule.room {
            let room = Room { bytes, asked: 0 };
            self.room
                .insert(number, room, 0)
                .map_err(|error| no_room("RULES_ROOM", "with bytes", ROOMS, &error))?;
        }
        if let Some(call) = &rule.call {
            self.call
                .insert(number, call, 0)
                .map_err(|error| no_room("RULES_CALL", "that filter calls", CALL_RULES, &error))?;
        }
        for excluded in &rule.exclude {
            self.exclude
                .insert(exclude_key(number, excluded), 1, 0)
                .map_err(|error| failed("RULES_EXCLUDE", &error))?;
        }
        for ordinal in rule.replay.iter().flatten() {
            self.replay
                .insert(replay_key(number, *ordinal), 1, 0)
                .map_err(|error| failed("RULES_REPLAY", &error))?;
        }
        Ok(())
    }

    fn write_link(
        &mut self,
        number: RuleNumber,
        link: &LinkConfig,
        rule: &RuleConfig,
    ) -> Result<(), EngineError> {
        if !self.has_delays {
            for (index, table) in delays::tables() {
                self.delays
                    .set(index, table, 0)
                    .map_err(|error| failed("DELAYS", &error))?;
            }
            self.has_delays = true;
        }
        self.link_state
            .insert(number, LinkState::begin(rule.seed, rule.identity), 0)
            .map_err(|error| no_room("LINKS_STATE", "of net.link", LINK_RULES, &error))?;
        self.link
            .insert(number, link, 0)
            .map_err(|error| no_room("RULES_LINK", "of net.link", LINK_RULES, &error))
    }

    /// Forgets it, and what threads have counted for the rule.
    pub(super) fn erase(&mut self, number: RuleNumber, rule: &RuleSpec) {
        if rule.path.is_some() {
            gone("RULES_PATH", self.path.remove(&number));
        }
        if rule.narrowing.is_some() {
            gone("RULES_NARROW", self.narrow.remove(&number));
        }
        if rule.allocation.is_some() {
            gone("RULES_ALLOCATION", self.allocation.remove(&number));
        }
        if rule.device.is_some() {
            gone("RULES_DEVICE", self.device.remove(&number));
        }
        if let Some(packet) = &rule.packet {
            gone("RULES_PACKET", self.packet.remove(&number));
            for network in &packet.networks {
                gone("PEERS", self.peers.remove(&peer_key(number, network)));
            }
        }
        if let Some(dns) = &rule.dns {
            gone("RULES_DNS", self.dns.remove(&number));
            if dns.answer.is_some() {
                gone("RULES_ANSWER", self.answer.remove(&number));
            }
            for name in &dns.names {
                gone("NAMES", self.names.remove(&name.key(number)));
            }
        }
        if rule.link.is_some() {
            gone("RULES_LINK", self.link.remove(&number));
            gone("LINKS_STATE", self.link_state.remove(&number));
        }
        if rule.room.is_some() {
            gone("RULES_ROOM", self.room.remove(&number));
        }
        if rule.call.is_some() {
            gone("RULES_CALL", self.call.remove(&number));
        }
        for excluded in &rule.exclude {
            let key = exclude_key(number, excluded);
            gone("RULES_EXCLUDE", self.exclude.remove(&key));
        }
        for ordinal in rule.replay.iter().flatten() {
            let key = replay_key(number, *ordinal);
            gone("RULES_REPLAY", self.replay.remove(&key));
        }
        if rule.config.flags & flags::SCOPE_THREAD != 0 {
            let threads: Vec<ThreadKey> = self
                .threads
                .keys()
                .flatten()
                .filter(|key| key.rule == number)
                .collect();
            for thread in threads {
                gone("THREADS_ORDINAL", self.threads.remove(&thread));
            }
        }
    }
}

/// A rule that was only half written lacks some entries, and that is fine.
pub(super) fn gone(map: &str, removed: Result<(), MapError>) {
    if let Err(error) = removed {
        tracing::debug!(map, %error, "nothing to remove");
    }
}

/// What a rule has found no place for.
fn no_room(map: &'static str, which: &str, most: u32, error: &MapError) -> EngineError {
    match error {
        MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::E2BIG) => {
            EngineError::Full(format!("a node can have {most} rules {which} at a time"))
        }
        other => failed(map, other),
    }
}

/// What a trie has no room for.
fn trie_full(map: &'static str, what: &str, most: u32, error: &MapError) -> EngineError {
    match error {
        // Its own word for it (`trie_update_elem`, kernel/bpf/lpm_trie.c).
        MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::ENOSPC) => {
            EngineError::Full(format!(
                "the rules of a node can name {most} {what} at a time"
            ))
        }
        other => failed(map, other),
    }
}

/// The depths at which excluded cgroups lie, as a rule has them.
///
/// # Errors
/// [`EngineError::Full`] when there are too many.
pub(super) fn exclude_depths(exclude: &[Excluded]) -> Result<[u8; EXCLUDE_DEPTHS], EngineError> {
    let mut depths = [NO_DEPTH; EXCLUDE_DEPTHS];
    let mut used = 0;
    for excluded in exclude {
        let depth = u8::try_from(excluded.level)
            .ok()
            .filter(|depth| *depth != NO_DEPTH)
            .ok_or_else(|| {
                EngineError::Full("an excluded cgroup lies 255 levels deep".to_owned())
            })?;
        if depths[..used].contains(&depth) {
            continue;
        }
        *depths.get_mut(used).ok_or_else(|| {
            EngineError::Full(format!(
                "the excluded cgroups of a fault can lie at {EXCLUDE_DEPTHS} different depths"
            ))
        })? = depth;
        used += 1;
    }
    Ok(depths)
}

fn peer_key(rule: RuleNumber, network: &PeerNetwork) -> Key<PeerKey> {
    Key::new(
        PeerKey::FIXED_BITS + u32::from(network.prefix),
        PeerKey::of(rule, &network.address),
    )
}

const fn exclude_key(rule: RuleNumber, excluded: &Excluded) -> ExcludeKey {
    ExcludeKey {
        id: excluded.id,
        rule,
        padding: 0,
    }
}

const fn replay_key(rule: RuleNumber, ordinal: u64) -> ReplayKey {
    ReplayKey {
        ordinal,
        rule,
        padding: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_depth_is_named_once_and_too_many_are_refused() {
        let at = |level| Excluded { id: 1, level };
        let depths = exclude_depths(&[at(3), at(5), at(3)]).unwrap();
        assert_eq!(depths[..3], [3, 5, NO_DEPTH]);
        let nine: Vec<Excluded> = (1..=9).map(at).collect();
        assert!(exclude_depths(&nine[..8]).is_ok());
        assert!(exclude_depths(&nine).is_err());
        assert!(exclude_depths(&[at(255)]).is_err());
    }
}
