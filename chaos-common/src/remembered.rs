//! What a program remembers of a cgroup on a hook: at which of the gate's levels it lies in targets,
//! in one word, so that no reader ever sees the half of it.
//!
//! ```text
//! 63          32 31                8 7            0
//! epoch of the   cgroup id above     one bit per
//! hook's gate    the slot's bits     slot of levels
//! ```

use crate::limits::{REMEMBERED, TARGET_LEVELS};

const SLOT_BITS: u32 = REMEMBERED.trailing_zeros();
/// One for each of [`TARGET_LEVELS`].
const LEVEL_BITS: u32 = 8;
const ID_BITS: u32 = 32 - LEVEL_BITS;

const _: () = assert!(REMEMBERED.is_power_of_two() && TARGET_LEVELS == LEVEL_BITS as usize);

/// Where a cgroup is remembered; `None` for an id that does not fit, which is then looked up each
/// time. Ids are given out from 1 on, and again from 2^32 after that many cgroups were made.
#[inline(always)]
#[must_use]
pub const fn slot(id: u64) -> Option<u64> {
    if id >> (SLOT_BITS + ID_BITS) == 0 {
        Some(id & (REMEMBERED as u64 - 1))
    } else {
        None
    }
}

/// The word that remembers it.
#[inline(always)]
#[must_use]
pub const fn word(id: u64, epoch: u32, levels: u32) -> u64 {
    ((epoch as u64) << 32) | ((id >> SLOT_BITS) << LEVEL_BITS) | levels as u64
}

/// The levels, if the word is about this cgroup and this epoch.
#[inline(always)]
#[must_use]
pub const fn levels(found: u64, id: u64, epoch: u32) -> Option<u32> {
    let levels = found & ((1 << LEVEL_BITS) - 1);
    if found ^ levels == word(id, epoch, 0) {
        Some(levels as u32)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_about_one_cgroup_and_one_epoch() {
        let ids = [1, 2, 1023, 1024, 1025, 0xffff_ffff, (1 << 34) - 1];
        for id in ids {
            let place = slot(id).unwrap();
            for epoch in [1, 2, u32::MAX] {
                for of in [0, 1, 0x81, 0xff] {
                    let found = word(id, epoch, of);
                    assert_eq!(levels(found, id, epoch), Some(of), "{id} {epoch}");
                    assert_eq!(levels(found, id, epoch ^ 3), None, "{id} {epoch}");
                    for other in ids {
                        if other != id && slot(other) == Some(place) {
                            assert_eq!(levels(found, other, epoch), None, "{id} {other}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_that_does_not_fit_is_not_remembered() {
        assert_eq!(slot(1 << 34), None);
        assert_eq!(slot(u64::MAX), None);
    }
}
