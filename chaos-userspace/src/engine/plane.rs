//! The fault plane of a node: rules, their places, and what the kernel tells of them.

use std::{collections::HashMap as Table, fmt, time::Duration};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use chaos_common::{
    AllocationFilter, CallFilter, CallSet, Counters as KernelCounters, Gate, Hook, LinkConfig,
    NO_PLACE, NO_SLOT, Narrowing, PathFilter, RuleConfig, RuleList, RuleState, TargetKey, flags,
    limits::{RECORD_ORDINALS, RECORDS, RULES_MAX, RULES_PER_TARGET},
};

use super::{
    EngineError,
    call_sets::CallSets,
    dns::DnsSpec,
    events::{Events, Sampled},
    filters::{Filters, exclude_depths, gone},
    gate::GateUse,
    lateness::{Late, Lateness},
    lease::Leases,
    maps::{Maps, counter_slots, failed},
    packet::PacketSpec,
    pool::Pool,
};
use crate::{node::Counters, pause::PauseMaps};

/// A rule's number on this node.
pub type RuleNumber = u32;

/// What the kernel is told about one fault for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Where it decides.
    pub hook: Hook,
    /// Where else it does.
    pub also: Option<Hook>,
    /// How it decides. The plane fills in what it manages itself: its pools, exclusions, and the
    /// flags of what follows here.
    pub config: RuleConfig,
    /// Which paths it wants.
    pub path: Option<PathFilter>,
    /// Which system calls, events of files, classes of allocations, or operations of a disk it is
    /// about, on hooks that many of them come by.
    pub calls: Option<Calls>,
    /// Which tasks it wants.
    pub narrowing: Option<Narrowing>,
    /// Which allocations it wants.
    pub allocation: Option<AllocationFilter>,
    /// The only block device that it wants ([`chaos_common::disk::device_number`]).
    pub device: Option<u32>,
    /// How many bytes it lets the target write before it injects.
    pub room: Option<u64>,
    /// What it wants of a system call beyond its number.
    pub call: Option<CallFilter>,
    /// What its link does to packets.
    pub link: Option<LinkConfig>,
    /// Which packets it wants.
    pub packet: Option<PacketSpec>,
    /// Which answers of DNS servers it wants.
    pub dns: Option<DnsSpec>,
    /// Which cgroups of the target it leaves out.
    pub exclude: Vec<Excluded>,
    /// The ordinals that it hits, instead of `when` and chance.
    pub replay: Option<Vec<u64>>,
}

impl RuleSpec {
    /// Every place where it decides.
    pub(super) fn hooks(&self) -> impl Iterator<Item = Hook> + use<> {
        [Some(self.hook), self.also].into_iter().flatten()
    }
}

/// System calls that a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Every one of them.
    pub all: CallSet,
    /// Those that it can't be without. The others are hit where the mechanism can hit them.
    pub named: CallSet,
}

/// A cgroup that a rule leaves out, with its subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Its id.
    pub id: u64,
    /// Its depth in the tree; the root is 0.
    pub level: u32,
}

/// Where a rule applies, as a program looks it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RulePlace {
    /// A cgroup with its subtree.
    Cgroup {
        /// Its id.
        id: u64,
        /// Its depth in the tree; the root is 0.
        level: u32,
    },
    /// A process: see [`TargetKey::process`].
    Process(u64),
    /// A network namespace: what leaves it and is no target's by its socket.
    Netns(u32),
}

/// The ordinals that a rule has injected on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// In the order in which places in the record were given, which is that of injection but for
    /// events that ran at the same moment on two CPUs.
    pub ordinals: Vec<u64>,
    /// So many more are not here: there were more than are kept, or more rules than are recorded, or
    /// they are just being written.
    pub missing: u64,
}

/// One set of maps, for all objects of a node.
pub struct Plane {
    pub(super) maps: Maps,
    leases: Leases,
    gates: Array<MapData, Gate>,
    targets: HashMap<MapData, TargetKey, RuleList>,
    config: HashMap<MapData, u32, RuleConfig>,
    state: HashMap<MapData, u32, RuleState>,
    count: PerCpuArray<MapData, KernelCounters>,
    filters: Filters,
    call_sets: CallSets,
    record: Array<MapData, u64>,
    events: Events,
    uncounted: PerCpuArray<MapData, u64>,
    /// What it had said of a rule's hook when the rule was written.
    uncounted_before: Table<RuleNumber, (Hook, u64)>,
    late: Late,
    /// Free places in `count` and blocks in `record`.
    counter_slots: Pool,
    records: Pool,
    /// What the maps hold: the rules, and the lists by place and hook.
    rules: Table<RuleNumber, RuleSpec>,
    lists: Table<(RulePlace, Hook), Vec<RuleNumber>>,
    gate_uses: Table<Hook, GateUse>,
    limit: u32,
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane")
            .field("leases", &self.leases)
            .field("lists", &self.lists)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Plane {
    /// Makes the maps, for at most so many rules ([`RULES_MAX`] of them at most).
    ///
    /// # Errors
    /// When the kernel refuses a map.
    pub fn create(rules: u32) -> Result<Self, EngineError> {
        let limit = rules.clamp(1, RULES_MAX);
        let mut maps = Maps::create(limit)?;
        Ok(Self {
            leases: Leases::new(maps.take("PLANS_HELD", Map::Array)?)?,
            gates: maps.take("GATES", Map::Array)?,
            targets: maps.take("TARGETS", Map::HashMap)?,
            config: maps.take("RULES_CONFIG", Map::HashMap)?,
            state: maps.take("RULES_STATE", Map::HashMap)?,
            count: maps.take("RULES_COUNT", Map::PerCpuArray)?,
            filters: Filters::take(&mut maps)?,
            call_sets: CallSets::new(maps.take("CALL_SETS", Map::Array)?),
            record: maps.take("RECORD", Map::Array)?,
            events: Events::new(
                maps.take("EVENTS", Map::RingBuf)?,
                maps.take("EVENTS_LOST", Map::PerCpuArray)?,
            ),
            uncounted: maps.take("UNCOUNTED", Map::PerCpuArray)?,
            uncounted_before: Table::new(),
            late: Late::new(maps.take("LINKS_LATE", Map::PerCpuArray)?),
            counter_slots: Pool::new(counter_slots()?),
            records: Pool::new(RECORDS),
            rules: Table::new(),
            lists: Table::new(),
            gate_uses: Table::new(),
            limit,
            maps,
        })
    }

    /// From the next event on, the rules of this plan inject, for as long as this process runs: it
    /// has to come to raise the lease in time.
    ///
    /// # Errors
    /// A map write failed.
    pub fn arm(&self, plan: u32, lease: Duration) -> Result<(), EngineError> {
        self.leases.arm(plan, lease)
    }

    /// After this returns no event that starts later is hit.
    ///
    /// # Errors
    /// A map write failed.
    pub fn disarm(&self, plan: u32) -> Result<(), EngineError> {
        self.leases.disarm(plan)
    }

    /// Whether the plan has ended because this process did not run for longer than its lease.
    pub fn lapsed(&self, plan: u32) -> bool {
        self.leases.lapsed(plan)
    }

    /// What a process needs that has threads sleep.
    pub(crate) fn pause_maps(&self) -> Result<PauseMaps<'_>, EngineError> {
        Ok(PauseMaps {
            asked: self.maps.fd("PAUSES_ASKED")?,
            pauses: self.maps.fd("PAUSES")?,
            plans: self.maps.fd("PLANS_HELD")?,
        })
    }

    /// Kernel memory of the maps in bytes.
    pub fn memory(&self) -> u64 {
        self.maps.memory()
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Writes a rule, with fresh state and counters, but no way that leads to it yet.
    ///
    /// # Errors
    /// [`EngineError::Full`] beyond the limit, or when the kernel refuses; [`Self::erase`] takes back
    /// what was written.
    pub fn write(&mut self, number: RuleNumber, mut rule: RuleSpec) -> Result<(), EngineError> {
        if self.rules.len() >= self.limit as usize {
            return Err(EngineError::Full(format!(
                "this node's policy allows {} rules at a time (--max-rules)",
                self.limit
            )));
        }
        self.complete(&mut rule)?;
        let config = rule.config;
        self.uncounted_before
            .insert(number, (rule.hook, self.uncounted_on(rule.hook)?));
        // A delay of answers is one of what arrives, which no program sees again.
        if rule.link.is_some() && rule.dns.is_none() {
            self.late.begin(number)?;
        }
        self.rules.insert(number, rule.clone());
        if config.counters != NO_SLOT {
            let cpus = aya::util::nr_cpus().map_err(|(file, source)| EngineError::Io {
                what: format!("read {file}"),
                source,
            })?;
            let zero = PerCpuValues::try_from(vec![KernelCounters::default(); cpus]).map_err(
                |source| EngineError::Io {
                    what: "count CPUs".to_owned(),
                    source,
                },
            )?;
            self.count
                .set(config.counters, zero, 0)
                .map_err(|error| failed("RULES_COUNT", &error))?;
        }
        self.state
            .insert(number, RuleState::default(), 0)
            .map_err(|error| failed("RULES_STATE", &error))?;
        self.filters.write(number, &rule)?;
        self.config
            .insert(number, config, 0)
            .map_err(|error| failed("RULES_CONFIG", &error))
    }

    /// Fills in what the plane manages itself.
    fn complete(&mut self, rule: &mut RuleSpec) -> Result<(), EngineError> {
        let config = &mut rule.config;
        config.exclude_depths = exclude_depths(&rule.exclude)?;
        for (flag, wanted) in [
            (flags::PATH, rule.path.is_some()),
            (flags::NARROW, rule.narrowing.is_some()),
            (flags::DEVICE, rule.device.is_some()),
            (flags::ROOM, rule.room.is_some()),
            (flags::CALL, rule.call.is_some()),
            (flags::PACKET, rule.packet.is_some()),
            (flags::DNS, rule.dns.is_some()),
            (flags::REPLAY, rule.replay.is_some()),
        ] {
            if wanted {
                config.flags |= flag;
            }
        }
        if let Some(calls) = &rule.calls {
            config.calls = self.call_sets.take(&calls.all)?;
        }
        config.counters = self.counter_slots.take().unwrap_or(NO_SLOT);
        config.record = self
            .records
            .take()
            .and_then(|block| u16::try_from(block).ok())
            .unwrap_or(NO_PLACE);
        Ok(())
    }

    /// Forgets a rule that no place leads to any more.
    pub fn erase(&mut self, number: RuleNumber) {
        let Some(rule) = self.rules.remove(&number) else {
            return;
        };
        self.uncounted_before.remove(&number);
        self.late.forget(number);
        gone("RULES_CONFIG", self.config.remove(&number));
        gone("RULES_STATE", self.state.remove(&number));
        self.filters.erase(number, &rule);
        if rule.config.counters != NO_SLOT {
            self.counter_slots.give_back(rule.config.counters);
        }
        if rule.config.record != NO_PLACE {
            let block = u32::from(rule.config.record);
            self.clear_record(block);
            self.records.give_back(block);
        }
        if let Some(calls) = &rule.calls {
            self.call_sets.give_back(&calls.all);
        }
    }

    /// Makes a block all zeros again, which is how it tells that a place is not written yet. It is
    /// filled from its start.
    fn clear_record(&mut self, block: u32) {
        let first = block * RECORD_ORDINALS;
        for index in first..first + RECORD_ORDINALS {
            match self.record.get(&index, 0) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return tracing::warn!(index, %error, "the record is not cleared"),
            }
            if let Err(error) = self.record.set(index, 0, 0) {
                return tracing::warn!(index, %error, "the record is not cleared");
            }
        }
    }

    /// What a written rule is about ([`RuleSpec::calls`]).
    pub(super) fn calls(&self, number: RuleNumber) -> Option<&Calls> {
        self.rules.get(&number)?.calls.as_ref()
    }

    /// The rules of one place on one hook, as a program reads them: those of them that are wanted.
    pub(super) fn list_of(
        &self,
        place: RulePlace,
        hook: Hook,
        wanted: impl Fn(RuleNumber, &RuleSpec) -> bool,
    ) -> RuleList {
        let mut list = RuleList::default();
        let rules = self
            .lists
            .get(&(place, hook))
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter(|number| {
                self.rules
                    .get(number)
                    .is_some_and(|rule| wanted(**number, rule))
            });
        for (to, from) in list.rules.iter_mut().zip(rules) {
            *to = *from;
            list.len += 1;
        }
        list
    }

    /// Makes a written rule the last one of a place. Rules of hooks that hang on a cgroup are handed
    /// to their attachment by the caller.
    ///
    /// # Errors
    /// [`EngineError::Full`] when the place has all the rules that it can have, or the hook has
    /// targets at all the depths that it can have.
    pub fn place(
        &mut self,
        number: RuleNumber,
        place: RulePlace,
        hook: Hook,
    ) -> Result<(), EngineError> {
        let list = self.lists.entry((place, hook)).or_default();
        if list.len() >= RULES_PER_TARGET {
            return Err(EngineError::Full(format!(
                "a target can have {RULES_PER_TARGET} faults on one hook at a time"
            )));
        }
        // What hangs on cgroups has no gate, and may lie at any depth.
        if let Some(rule) = self.rules.get(&number).filter(|_| !hook.hangs_on_cgroup()) {
            self.gate_uses.entry(hook).or_default().enter(place, rule)?;
        }
        list.push(number);
        self.publish(place, hook)
    }

    /// Undoes [`Self::place`].
    pub(super) fn displace(
        &mut self,
        number: RuleNumber,
        place: RulePlace,
        hook: Hook,
    ) -> Result<(), EngineError> {
        let Some(list) = self.lists.get_mut(&(place, hook)) else {
            return Ok(());
        };
        let before = list.len();
        list.retain(|rule| *rule != number);
        let was_placed = list.len() != before;
        if list.is_empty() {
            self.lists.remove(&(place, hook));
        }
        if !was_placed {
            return Ok(());
        }
        if let (Some(rule), Some(gate)) = (self.rules.get(&number), self.gate_uses.get_mut(&hook)) {
            gate.leave(place, rule);
        }
        self.publish(place, hook)
    }

    /// Writes the list of a place, then the gate, and then the gate's epoch, for hooks that run for
    /// every task.
    fn publish(&mut self, place: RulePlace, hook: Hook) -> Result<(), EngineError> {
        if hook.hangs_on_cgroup() {
            return Ok(());
        }
        let (id, scope) = match place {
            RulePlace::Cgroup { id, .. } => (id, TargetKey::CGROUP),
            RulePlace::Process(id) => (id, TargetKey::PROCESS),
            RulePlace::Netns(id) => (id.into(), TargetKey::NETNS),
        };
        let key = TargetKey {
            id,
            hook: hook as u32,
            scope,
        };
        let list = self.list_of(place, hook, |_, _| true);
        if list.len == 0 {
            self.targets
                .remove(&key)
                .map_err(|error| failed("TARGETS", &error))?;
        } else {
            self.targets
                .insert(key, list, 0)
                .map_err(|error| failed("TARGETS", &error))?;
        }
        self.open_gate(hook)
    }

    fn open_gate(&mut self, hook: Hook) -> Result<(), EngineError> {
        let gate = self.gate_uses.entry(hook).or_default();
        for value in [gate.value(), gate.renewed()] {
            self.gates
                .set(hook as u32, value, 0)
                .map_err(|error| failed("GATES", &error))?;
        }
        Ok(())
    }

    /// What the kernel counted for a rule, over all CPUs.
    ///
    /// # Errors
    /// A map read failed.
    pub fn counters(&self, number: RuleNumber) -> Result<Counters, EngineError> {
        let mut sum = Counters::default();
        sum.add(&self.state(number)?.shared);
        let slot = self.rules.get(&number).map(|rule| rule.config.counters);
        if let Some(slot) = slot.filter(|slot| *slot != NO_SLOT) {
            let values = self
                .count
                .get(&slot, 0)
                .map_err(|error| failed("RULES_COUNT", &error))?;
            values.iter().for_each(|cpu| sum.add(cpu));
        }
        Ok(sum)
    }

    /// Adds the ordinals that a rule has injected on since the last call with the same record.
    ///
    /// # Errors
    /// A map read failed.
    pub fn record(&self, number: RuleNumber, record: &mut Record) -> Result<(), EngineError> {
        let block = self.rules.get(&number).map(|rule| rule.config.record);
        let Some(block) = block.filter(|block| *block != NO_PLACE) else {
            record.missing = self.counters(number)?.injected;
            return Ok(());
        };
        let recorded = self.state(number)?.recorded;
        let kept = recorded.min(u64::from(RECORD_ORDINALS));
        let known = u32::try_from(record.ordinals.len()).unwrap_or(RECORD_ORDINALS);
        let first = u32::from(block) * RECORD_ORDINALS;
        for index in first + known..first + u32::try_from(kept).unwrap_or(RECORD_ORDINALS) {
            let ordinal = self
                .record
                .get(&index, 0)
                .map_err(|error| failed("RECORD", &error))?;
            // This place is taken, but a program is just about to write it.
            if ordinal == 0 {
                break;
            }
            record.ordinals.push(ordinal);
        }
        record.missing = recorded.saturating_sub(record.ordinals.len() as u64);
        Ok(())
    }

    /// Sampled events since the last call, of all rules.
    pub fn events(&mut self) -> Vec<Sampled> {
        self.events.drain()
    }

    /// Sampled events that did not arrive, of all rules.
    ///
    /// # Errors
    /// A map read failed.
    pub fn events_lost(&self) -> Result<u64, EngineError> {
        self.events.lost()
    }

    /// What has passed on a rule's hook since the rule was written, and could be counted for no rule, of
    /// whatever plan: one for each rule that an event had no room for, and one for an event that
    /// found no buffer.
    ///
    /// # Errors
    /// A map read failed.
    pub fn uncounted(&self, number: RuleNumber) -> Result<u64, EngineError> {
        let Some((hook, before)) = self.uncounted_before.get(&number) else {
            return Ok(0);
        };
        Ok(self.uncounted_on(*hook)?.saturating_sub(*before))
    }

    fn uncounted_on(&self, hook: Hook) -> Result<u64, EngineError> {
        let values = self
            .uncounted
            .get(&(hook as u32), 0)
            .map_err(|error| failed("UNCOUNTED", &error))?;
        Ok(values.iter().sum())
    }

    /// How late packets that left over a link have come off it since the rule was written, if it is one and any
    /// have; with what other links of this process have delayed meanwhile.
    ///
    /// # Errors
    /// A map read failed.
    pub fn late(&self, number: RuleNumber) -> Result<Option<Lateness>, EngineError> {
        self.late.of(number)
    }

    fn state(&self, number: RuleNumber) -> Result<RuleState, EngineError> {
        self.state
            .get(&number, 0)
            .map_err(|error| failed("RULES_STATE", &error))
    }
}
