//! At which of the gate's depths a cgroup lies in targets, remembered from one event to the next.
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

/// One bit per slot of the gate's levels whose ancestor of the subject's cgroup is a target.
#[inline(always)]
pub fn met<S: Subject>(subject: &S, hook: u32, gate: &Gate) -> u32 {
    // SAFETY: a map's value. Read before the levels and the targets: user space writes it last, so
    // that what is remembered for it was found in what it stands for. Loads keep their order on
    // x86-64, the compiler is held to it.
    let epoch = unsafe { (&raw const gate.epoch).read_volatile() };
    compiler_fence(Ordering::SeqCst);
    let id = subject.cgroup();
    let place = remembered::slot(id)
        .filter(|_| epoch != 0)
        .and_then(|slot| {
            let words = REMEMBERED.get_ptr_mut(hook)?;
            // SAFETY: a map's value, and the slot lies in it by its mask.
            Some(unsafe { words.cast::<u64>().add(slot as usize) })
        });
    if let Some(place) = place {
        // SAFETY: a word of a map's value; whole words are read and written at once.
        let word = unsafe { place.read_volatile() };
        if let Some(levels) = remembered::levels(word, id, epoch) {
            return levels;
        }
    }
    let levels = look(subject, hook, gate);
    if let Some(place) = place {
        // SAFETY: as above.
        unsafe { place.write_volatile(remembered::word(id, epoch, levels)) };
    }
    levels
}

/// Asks the kernel for the ancestor at each depth.
#[inline(always)]
fn look<S: Subject>(subject: &S, hook: u32, gate: &Gate) -> u32 {
    let mut levels = 0;
    let mut index = 0;
    while index < TARGET_LEVELS {
        if index >= gate.levels_len as usize {
            break;
        }
        // A slot without a level asks for level -1, which the helper answers with 0: no target.
        let key = TargetKey {
            id: subject.ancestor(gate.levels[index]),
            hook,
            scope: TargetKey::CGROUP,
        };
        if TARGETS.get_ptr(key).is_some() {
            levels |= 1 << index;
        }
        index += 1;
    }
    levels
}
