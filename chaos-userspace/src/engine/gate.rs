//! What a program asks first on its hook, kept up to date rule by rule.

use chaos_common::{Gate, flags, limits::TARGET_LEVELS};

use super::{EngineError, RulePlace, RuleSpec};

/// No level in this slot of a gate.
const NO_LEVEL: u32 = u32::MAX;

/// The gate of one hook, and how many rules each part of it is for.
#[derive(Clone, Debug)]
pub(super) struct GateUse {
    gate: Gate,
    /// Rules at each of the gate's levels. A level keeps its slot while it is in use, so that a
    /// program that reads the gate while it is written sees every other target's level where it was.
    rules: [usize; TARGET_LEVELS],
}

impl Default for GateUse {
    fn default() -> Self {
        Self {
            gate: Gate {
                levels: [NO_LEVEL; TARGET_LEVELS],
                ..Gate::default()
            },
            rules: [0; TARGET_LEVELS],
        }
    }
}

impl GateUse {
    /// What the programs are to read.
    pub(super) const fn value(&self) -> Gate {
        self.gate
    }

    /// The same, and what they have remembered of cgroups is worth nothing. To be written after
    /// [`Self::value`]: a program that reads the new epoch must not find older levels beside it.
    pub(super) const fn renewed(&mut self) -> Gate {
        self.gate.epoch = match self.gate.epoch.wrapping_add(1) {
            0 => 1,
            epoch => epoch,
        };
        self.gate
    }

    /// A rule has got a place.
    ///
    /// # Errors
    /// [`EngineError::Full`], and nothing is changed.
    pub(super) fn enter(&mut self, place: RulePlace, rule: &RuleSpec) -> Result<(), EngineError> {
        match place {
            RulePlace::Cgroup { level, .. } => {
                let slot = self
                    .slot(level)
                    .or_else(|| self.slot(NO_LEVEL))
                    .ok_or_else(|| {
                        EngineError::Full(format!(
                            "targets can lie at {TARGET_LEVELS} different depths of the cgroup \
                             tree at a time"
                        ))
                    })?;
                self.gate.levels[slot] = level;
                self.rules[slot] += 1;
            }
            RulePlace::Process(_) | RulePlace::Netns(_) => self.gate.processes += 1,
        }
        self.gate.paths += u32::from(rule.path.is_some());
        self.gate.narrowings += u32::from(rule.narrowing.is_some());
        self.gate.facts += u32::from(wants_facts(rule));
        self.shorten();
        Ok(())
    }

    /// It has lost it again.
    pub(super) fn leave(&mut self, place: RulePlace, rule: &RuleSpec) {
        match place {
            RulePlace::Cgroup { level, .. } => {
                if let Some(slot) = self.slot(level) {
                    self.rules[slot] -= 1;
                    if self.rules[slot] == 0 {
                        self.gate.levels[slot] = NO_LEVEL;
                    }
                }
            }
            RulePlace::Process(_) | RulePlace::Netns(_) => self.gate.processes -= 1,
        }
        self.gate.paths -= u32::from(rule.path.is_some());
        self.gate.narrowings -= u32::from(rule.narrowing.is_some());
        self.gate.facts -= u32::from(wants_facts(rule));
        self.shorten();
    }

    fn slot(&self, level: u32) -> Option<usize> {
        self.gate.levels.iter().position(|slot| *slot == level)
    }

    /// Programs look at the slots up to the last one in use.
    fn shorten(&mut self) {
        let used = self.gate.levels.iter().rposition(|slot| *slot != NO_LEVEL);
        self.gate.levels_len = used.map_or(0, |last| u32::try_from(last + 1).unwrap_or(0));
    }
}

const fn wants_facts(rule: &RuleSpec) -> bool {
    rule.call.is_some() || rule.config.flags & flags::DISK != 0
}

#[cfg(test)]
mod tests {
    use chaos_common::{Hook, RuleConfig};

    use super::*;

    fn at(level: u32) -> RulePlace {
        RulePlace::Cgroup { id: 7, level }
    }

    fn rule() -> RuleSpec {
        RuleSpec {
            hook: Hook::FileOpenLsm,
            also: None,
            packet: None,
            dns: None,
            config: RuleConfig::ALWAYS,
            path: None,
            calls: None,
            narrowing: None,
            allocation: None,
            device: None,
            room: None,
            link: None,
            call: None,
            exclude: Vec::new(),
            replay: None,
        }
    }

    #[test]
    fn a_level_keeps_its_slot_while_it_is_used() {
        let mut gate = GateUse::default();
        assert_eq!(gate.value().levels_len, 0);
        for level in [3, 5, 3, 9] {
            gate.enter(at(level), &rule()).unwrap();
        }
        assert_eq!(gate.value().levels[..3], [3, 5, 9]);
        gate.leave(at(5), &rule());
        gate.leave(at(3), &rule());
        assert_eq!(gate.value().levels[..3], [3, NO_LEVEL, 9]);
        assert_eq!(gate.value().levels_len, 3);
        gate.enter(at(4), &rule()).unwrap();
        assert_eq!(gate.value().levels[..3], [3, 4, 9]);
        for level in [3, 9, 4] {
            gate.leave(at(level), &rule());
        }
        assert_eq!(gate.value().levels_len, 0);
    }

    #[test]
    fn each_change_of_the_gate_ends_what_was_remembered() {
        let mut gate = GateUse::default();
        // The kernel's maps begin with zeros: nothing may be remembered in those words.
        assert_eq!(gate.value().epoch, 0);
        gate.enter(at(3), &rule()).unwrap();
        assert_eq!(gate.value().epoch, 0);
        let before = gate.value();
        let first = gate.renewed();
        assert_eq!(Gate { epoch: 0, ..first }, before);
        assert_ne!(first.epoch, 0);
        gate.gate.epoch = u32::MAX;
        assert_eq!(gate.renewed().epoch, 1);
    }

    #[test]
    fn a_level_too_many_is_refused_and_changes_nothing() {
        let mut gate = GateUse::default();
        for level in 1..=8 {
            gate.enter(at(level), &rule()).unwrap();
        }
        let before = gate.value();
        assert!(gate.enter(at(9), &rule()).is_err());
        assert_eq!(gate.value(), before);
        gate.enter(RulePlace::Process(1), &rule()).unwrap();
        assert_eq!(gate.value().processes, 1);
    }
}
