//! Programs that hang on the targets' cgroups: each attachment has a list of its own cgroup's rules, so
//! that nobody else's events run them, and those of nested targets are decided once for each.

use std::{collections::HashMap, os::fd::BorrowedFd};

use aya::maps::Map;
#[expect(deprecated, reason = "see HUNG_RULES in chaos-ebpf")]
use aya::maps::{CgroupStorage, MapData, cgroup_storage::CgroupStorageKey};
use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use chaos_common::{Hook, RuleList};

use super::{
    EngineError, Plane, RuleNumber, RulePlace,
    loader::{Code, Link, Place, Program},
    maps::failed,
    plane::Calls,
};
use crate::experiment::Mechanism;

const LISTS: &str = "HUNG_RULES";

#[expect(deprecated, reason = "see HUNG_RULES in chaos-ebpf")]
type Lists = CgroupStorage<MapData, RuleList>;

/// A program and how it hangs on a cgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hanging {
    /// Its name in the object.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) program: bpf_prog_type,
    /// The type of its attachment. No two programs of an object have the same one.
    pub(super) attach: bpf_attach_type,
    /// What its events are, by the number in [`Calls`]; of rules about others it is not told. `None` if
    /// every rule is about them.
    pub(super) event: Option<u32>,
    /// The hook whose rules it asks, if those of its object ask several.
    pub(super) hook: Option<Hook>,
}

impl Hanging {
    fn concerns(&self, calls: Option<&Calls>, hook: Hook) -> bool {
        let asks = self.hook.is_none_or(|own| own == hook);
        asks && match (self.event, calls) {
            (Some(event), Some(calls)) => calls.all.contains(event.into()),
            _ => true,
        }
    }
}

/// The programs of an object, with the cgroups that they hang on.
pub(super) struct Hung {
    mechanism: Mechanism,
    programs: Vec<(Hanging, Program)>,
    lists: Lists,
    /// By the cgroup's id and the type of attachment.
    links: HashMap<(u64, u32), Link>,
}

impl Hung {
    /// Loads them; they hang nowhere yet.
    pub(super) fn load(
        code: &mut Code,
        mechanism: Mechanism,
        programs: &[Hanging],
    ) -> Result<Self, EngineError> {
        let loaded = programs.iter().map(|hanging| {
            let place = Place::Cgroup(hanging.program, hanging.attach);
            Ok((*hanging, code.load(hanging.name, place)?))
        });
        Ok(Self {
            mechanism,
            programs: loaded.collect::<Result<_, EngineError>>()?,
            lists: Lists::try_from(Map::CgroupStorage(code.take_map(LISTS)?))
                .map_err(|error| failed(LISTS, &error))?,
            links: HashMap::new(),
        })
    }

    /// Attaches to a cgroup what a rule about these needs and is not there yet. The new attachments have
    /// no rules.
    pub(super) fn hang(
        &mut self,
        id: u64,
        cgroup: BorrowedFd<'_>,
        calls: Option<&Calls>,
        hook: Hook,
    ) -> Result<(), EngineError> {
        for (hanging, program) in &self.programs {
            let key = (id, hanging.attach as u32);
            if self.links.contains_key(&key) || !hanging.concerns(calls, hook) {
                continue;
            }
            let link =
                program
                    .hang(cgroup, hanging.attach)
                    .map_err(|error| EngineError::Refused {
                        mechanism: self.mechanism,
                        program: hanging.name,
                        reason: format!("attach to the cgroup: {error}"),
                    })?;
            self.links.insert(key, link);
        }
        Ok(())
    }

    /// Writes the rules of a cgroup into its attachments, those of them that are done by these programs: two
    /// mechanisms may have a place and a hook in common. One that has none any more goes.
    pub(super) fn hand_over(
        &mut self,
        plane: &Plane,
        id: u64,
        at: RulePlace,
        hook: Hook,
        is_ours: impl Fn(RuleNumber) -> bool,
    ) -> Result<(), EngineError> {
        for (hanging, _) in &self.programs {
            let attach = hanging.attach as u32;
            let asks = hanging.hook.is_none_or(|own| own == hook);
            if !asks || !self.links.contains_key(&(id, attach)) {
                continue;
            }
            let list = plane.list_of(at, hook, |number, rule| {
                is_ours(number) && hanging.concerns(rule.calls.as_ref(), hook)
            });
            if list.len == 0 {
                self.links.remove(&(id, attach));
                continue;
            }
            self.lists
                .insert(CgroupStorageKey::new(id, attach), list, 0)
                .map_err(|error| failed(LISTS, &error))?;
        }
        Ok(())
    }
}
