//! Whether a cgroup lies in a target of a hook, remembered from one event to the next.
//!
//! A cgroup's ancestors never change (cgroup v2 knows no move of a directory to another parent), and
//! its id is given out once. So what was found once holds until a rule gets or loses a place on the
//! hook, and somebody who is no target is known by one word of an array, at whatever depths the
//! targets lie.

use core::sync::atomic::{Ordering, compiler_fence};

use chaos_common::{Gate, TargetKey, limits::TARGET_LEVELS, remembered};

use crate::{
    maps::{REMEMBERED, TARGETS},
    subject::Subject,
};

/// Whether the subject's cgroup or one of its ancestors is a target, at one of the gate's levels.
#[inline(always)]
pub fn in_target<S: Subject>(subject: &S, hook: u32, gate: &Gate) -> bool {
    // SAFETY: a map's value. Read before the levels and the targets: user space writes it last, so
    // that what is remembered for it was found in what it stands for. Loads keep their order on
    // x86-64, the compiler is held to it.
    let epoch = unsafe { (&raw const gate.epoch).read_volatile() };
    compiler_fence(Ordering::SeqCst);
    let id = subject.cgroup();
    let word = remembered::word(id, epoch);
    let place = remembered::slot(id)
        .filter(|_| epoch != 0)
        .and_then(|slot| {
            let words = REMEMBERED.get_ptr_mut(hook)?;
            // SAFETY: a map's value, and the slot lies in it by its mask.
            Some(unsafe { words.cast::<u64>().add(slot as usize) })
        });
    if let Some(place) = place {
        // SAFETY: a word of a map's value; whole words are read and written at once.
        let found = unsafe { place.read_volatile() };
        if let Some(is_target) = remembered::is_target(found, word) {
            return is_target;
        }
    }
    let is_target = look(subject, hook, gate);
    if let Some(place) = place {
        // SAFETY: as above.
        unsafe { place.write_volatile(word | u64::from(is_target)) };
    }
    is_target
}

/// Asks the kernel for the ancestor at each depth.
#[inline(always)]
fn look<S: Subject>(subject: &S, hook: u32, gate: &Gate) -> bool {
    let mut index = 0;
    while index < TARGET_LEVELS {
        if index >= gate.levels_len as usize {
            return false;
        }
        if TARGETS.get_ptr(at(subject, hook, gate, index)).is_some() {
            return true;
        }
        index += 1;
    }
    false
}

/// What is looked up for one of the gate's levels.
#[inline(always)]
pub fn at<S: Subject>(subject: &S, hook: u32, gate: &Gate, index: usize) -> TargetKey {
    TargetKey {
        id: subject.ancestor(gate.levels[index]),
        hook,
        scope: TargetKey::CGROUP,
    }
}
