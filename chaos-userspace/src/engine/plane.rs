//! The maps of one loaded object: rules, their places, and what the kernel counted.

use std::collections::HashMap as Table;

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuHashMap},
};
use chaos_common::{
    Counters as KernelCounters, Gate, Hook, PathFilter, RuleConfig, RuleList, RuleState, TargetKey,
    limits::{RULES_PER_TARGET, TARGET_LEVELS},
};

use super::{EngineError, chain};
use crate::node::Counters;

/// A rule's number on this node.
pub type RuleNumber = u32;

/// What the kernel is told about one fault for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Where it decides.
    pub hook: Hook,
    /// How it decides.
    pub config: RuleConfig,
    /// Which paths it wants.
    pub path: Option<PathFilter>,
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
}

/// No level in this slot of a gate.
const NO_LEVEL: u32 = u32::MAX;

/// One set of maps.
pub(super) struct Plane {
    armed: Array<MapData, u64>,
    gates: Array<MapData, Gate>,
    targets: HashMap<MapData, TargetKey, RuleList>,
    config: HashMap<MapData, u32, RuleConfig>,
    state: HashMap<MapData, u32, RuleState>,
    count: PerCpuHashMap<MapData, u32, KernelCounters>,
    path: HashMap<MapData, u32, PathFilter>,
    /// What the maps hold: the lists by place and hook.
    lists: Table<(RulePlace, Hook), Vec<RuleNumber>>,
    /// How many rules of each hook want paths.
    paths: Table<Hook, u32>,
}

impl Plane {
    /// Takes the maps out of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, EngineError> {
        Ok(Self {
            armed: take(ebpf, "PLANS_ARMED")?,
            gates: take(ebpf, "GATES")?,
            targets: take(ebpf, "TARGETS")?,
            config: take(ebpf, "RULES_CONFIG")?,
            state: take(ebpf, "RULES_STATE")?,
            count: take(ebpf, "RULES_COUNT")?,
            path: take(ebpf, "RULES_PATH")?,
            lists: Table::new(),
            paths: Table::new(),
        })
    }

    /// From the next event on, the rules of this plan inject, or no longer do.
    pub(super) fn arm(&mut self, plan: u32, armed: bool) -> Result<(), EngineError> {
        self.armed
            .set(plan, u64::from(armed), 0)
            .map_err(|error| map("PLANS_ARMED", &error))
    }

    /// Writes a rule, with fresh state and counters, but no way that leads to it yet.
    pub(super) fn write(&mut self, number: RuleNumber, rule: &RuleSpec) -> Result<(), EngineError> {
        let cpus = aya::util::nr_cpus().map_err(|(file, source)| EngineError::Io {
            what: format!("read {file}"),
            source,
        })?;
        let zero = aya::maps::PerCpuValues::try_from(vec![KernelCounters::default(); cpus])
            .map_err(|source| EngineError::Io {
                what: "count CPUs".to_owned(),
                source,
            })?;
        self.state
            .insert(number, RuleState::default(), 0)
            .map_err(|error| map("RULES_STATE", &error))?;
        self.count
            .insert(number, zero, 0)
            .map_err(|error| map("RULES_COUNT", &error))?;
        if let Some(path) = &rule.path {
            self.path
                .insert(number, path, 0)
                .map_err(|error| map("RULES_PATH", &error))?;
        }
        self.config
            .insert(number, rule.config, 0)
            .map_err(|error| map("RULES_CONFIG", &error))
    }

    /// Forgets a rule that no place leads to any more.
    pub(super) fn erase(&mut self, number: RuleNumber) {
        // A rule that was only half written lacks some of these, and that is fine.
        for (name, result) in [
            ("RULES_CONFIG", self.config.remove(&number)),
            ("RULES_PATH", self.path.remove(&number)),
            ("RULES_STATE", self.state.remove(&number)),
            ("RULES_COUNT", self.count.remove(&number)),
        ] {
            if let Err(error) = result {
                tracing::debug!(map = name, number, %error, "nothing to remove");
            }
        }
    }

    /// The rules of one place on one hook, as a program reads them.
    pub(super) fn list(&self, place: RulePlace, hook: Hook) -> RuleList {
        let mut list = RuleList::default();
        let rules = self
            .lists
            .get(&(place, hook))
            .map_or(&[][..], Vec::as_slice);
        for (to, from) in list.rules.iter_mut().zip(rules) {
            *to = *from;
            list.len += 1;
        }
        list
    }

    /// Makes a written rule the last one of its place. Rules of hooks that hang on a cgroup are
    /// handed to their attachment by the caller.
    pub(super) fn place(
        &mut self,
        number: RuleNumber,
        place: RulePlace,
        rule: &RuleSpec,
    ) -> Result<(), EngineError> {
        let list = self.lists.entry((place, rule.hook)).or_default();
        if list.len() >= RULES_PER_TARGET {
            return Err(EngineError::Full(format!(
                "a target can have {RULES_PER_TARGET} faults on one hook at a time"
            )));
        }
        list.push(number);
        *self.paths.entry(rule.hook).or_default() += u32::from(rule.path.is_some());
        self.publish(place, rule.hook)
    }

    /// Undoes [`Self::place`].
    pub(super) fn displace(
        &mut self,
        number: RuleNumber,
        place: RulePlace,
        rule: &RuleSpec,
    ) -> Result<(), EngineError> {
        let Some(list) = self.lists.get_mut(&(place, rule.hook)) else {
            return Ok(());
        };
        let before = list.len();
        list.retain(|rule| *rule != number);
        if list.len() == before {
            return Ok(());
        }
        if list.is_empty() {
            self.lists.remove(&(place, rule.hook));
        }
        if let Some(paths) = self.paths.get_mut(&rule.hook) {
            *paths -= u32::from(rule.path.is_some());
        }
        self.publish(place, rule.hook)
    }

    /// Writes the list of a place, then the gate, for hooks that run for every task.
    fn publish(&mut self, place: RulePlace, hook: Hook) -> Result<(), EngineError> {
        if hook == Hook::NetIngress {
            return Ok(());
        }
        let (id, scope) = match place {
            RulePlace::Cgroup { id, .. } => (id, TargetKey::CGROUP),
            RulePlace::Process(id) => (id, TargetKey::PROCESS),
        };
        let key = TargetKey {
            id,
            hook: hook as u32,
            scope,
        };
        let list = self.list(place, hook);
        if list.len == 0 {
            self.targets
                .remove(&key)
                .map_err(|error| map("TARGETS", &error))?;
        } else {
            self.targets
                .insert(key, list, 0)
                .map_err(|error| map("TARGETS", &error))?;
        }
        self.open_gate(hook)
    }

    fn open_gate(&mut self, hook: Hook) -> Result<(), EngineError> {
        let index = hook as u32;
        let mut gate = self
            .gates
            .get(&index, 0)
            .map_err(|error| map("GATES", &error))?;
        let mut levels: Vec<u32> = Vec::new();
        gate.processes = 0;
        for (place, of) in self.lists.keys() {
            match place {
                RulePlace::Cgroup { level, .. } if *of == hook => levels.push(*level),
                RulePlace::Process(_) if *of == hook => gate.processes += 1,
                _ => {}
            }
        }
        gate.paths = self.paths.get(&hook).copied().unwrap_or(0);
        // A level keeps its slot while it is in use, so that a program that reads the gate while it
        // is written sees every other target's level where it was.
        let used = gate.levels_len as usize;
        for slot in gate.levels.iter_mut().take(used) {
            if !levels.contains(slot) {
                *slot = NO_LEVEL;
            }
        }
        for level in levels {
            if gate.levels[..gate.levels_len as usize].contains(&level) {
                continue;
            }
            let free = gate.levels[..gate.levels_len as usize]
                .iter()
                .position(|slot| *slot == NO_LEVEL)
                .unwrap_or(gate.levels_len as usize);
            let Some(slot) = gate.levels.get_mut(free) else {
                return Err(EngineError::Full(format!(
                    "targets can lie at {TARGET_LEVELS} different depths of the cgroup tree at a time"
                )));
            };
            *slot = level;
            gate.levels_len = gate.levels_len.max(u32::try_from(free).unwrap_or(0) + 1);
        }
        if gate
            .levels
            .iter()
            .take(gate.levels_len as usize)
            .all(|slot| *slot == NO_LEVEL)
        {
            gate.levels_len = 0;
        }
        self.gates
            .set(index, gate, 0)
            .map_err(|error| map("GATES", &error))
    }

    /// What the kernel counted for a rule, summed over the CPUs.
    pub(super) fn counters(&self, number: RuleNumber) -> Result<Counters, EngineError> {
        let values = self
            .count
            .get(&number, 0)
            .map_err(|error| map("RULES_COUNT", &error))?;
        Ok(values
            .iter()
            .fold(Counters::default(), |sum, cpu| Counters {
                considered: sum.considered + cpu.considered,
                matched: sum.matched + cpu.matched,
                injected: sum.injected + cpu.injected,
                would_inject: sum.would_inject + cpu.would_inject,
                over_budget: sum.over_budget + cpu.over_budget,
                expired: sum.expired + cpu.expired,
                error: sum.error + cpu.error,
            }))
    }
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, EngineError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let found = ebpf.take_map(name).ok_or_else(|| EngineError::Map {
        map: name,
        reason: "not in the object".to_owned(),
    })?;
    M::try_from(found).map_err(|error| map(name, &error))
}

pub(super) fn map(name: &'static str, error: &MapError) -> EngineError {
    EngineError::Map {
        map: name,
        reason: chain(error),
    }
}
