//! What a program remembers of a cgroup on a hook: whether it lies in a target, in one word, so that
//! no reader ever sees the half of it.
//!
//! ```text
//! 63          32 31                1 0
//! epoch of the   cgroup id above     whether it
//! hook's gate    the slot's bits     lies in one
//! ```
//!
//! Not at which depths: a program's verifier would follow every combination of them.

use crate::limits::REMEMBERED;

const SLOT_BITS: u32 = REMEMBERED.trailing_zeros();
const ID_BITS: u32 = 31;

const _: () = assert!(REMEMBERED.is_power_of_two());

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

/// The word that remembers that it lies in no target; one more than that says that it does.
#[inline(always)]
#[must_use]
pub const fn word(id: u64, epoch: u32) -> u64 {
    ((epoch as u64) << 32) | ((id >> SLOT_BITS) << 1)
}

/// Whether it lies in a target, if what was found is about the cgroup and the epoch of this word.
#[inline(always)]
#[must_use]
pub const fn is_target(found: u64, word: u64) -> Option<bool> {
    if found & !1 == word {
        Some(found & 1 != 0)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_about_one_cgroup_and_one_epoch() {
        let ids = [1, 2, 1023, 1024, 1025, 0xffff_ffff, (1 << 41) - 1];
        for id in ids {
            let place = slot(id).unwrap();
            for epoch in [1, 2, u32::MAX] {
                for of in [false, true] {
                    let found = word(id, epoch) + u64::from(of);
                    assert_eq!(is_target(found, word(id, epoch)), Some(of), "{id} {epoch}");
                    assert_eq!(is_target(found, word(id, epoch ^ 3)), None, "{id} {epoch}");
                    for other in ids {
                        if other != id && slot(other) == Some(place) {
                            assert_eq!(is_target(found, word(other, epoch)), None, "{id} {other}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_that_does_not_fit_is_not_remembered() {
        assert_eq!(slot(1 << 41), None);
        assert_eq!(slot(u64::MAX), None);
    }
}
