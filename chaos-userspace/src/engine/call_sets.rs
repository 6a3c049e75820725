//! Sets of system calls, shared by the rules that are about the same ones.

use std::collections::HashMap;

use aya::maps::{Array, MapData};
use chaos_common::{CallSet, limits::CALL_SETS};

use super::{EngineError, maps::failed, pool::Pool};

/// The map, and which set stands where for how many rules.
pub(super) struct CallSets {
    map: Array<MapData, CallSet>,
    places: Pool,
    known: HashMap<CallSet, (u16, usize)>,
}

impl CallSets {
    pub(super) fn new(map: Array<MapData, CallSet>) -> Self {
        Self {
            map,
            places: Pool::new(CALL_SETS),
            known: HashMap::new(),
        }
    }

    /// Where a set stands, for one more rule.
    ///
    /// # Errors
    /// [`EngineError::Full`] when there are too many different ones, or a map write failed.
    pub(super) fn take(&mut self, set: &CallSet) -> Result<u16, EngineError> {
        if let Some((place, rules)) = self.known.get_mut(set) {
            *rules += 1;
            return Ok(*place);
        }
        let place = self.places.take().ok_or_else(|| {
            EngineError::Full(format!(
                "the rules of a node can be about {CALL_SETS} different sets of system calls"
            ))
        })?;
        if let Err(error) = self.map.set(place, set, 0) {
            self.places.give_back(place);
            return Err(failed("CALL_SETS", &error));
        }
        // There are far fewer places than that.
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        self.known.insert(*set, (place, 1));
        Ok(place)
    }

    /// One rule less needs it.
    pub(super) fn give_back(&mut self, set: &CallSet) {
        let Some((place, rules)) = self.known.get_mut(set) else {
            return;
        };
        *rules -= 1;
        if *rules == 0 {
            self.places.give_back((*place).into());
            self.known.remove(set);
        }
    }
}
