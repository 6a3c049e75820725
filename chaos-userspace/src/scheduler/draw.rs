//! Random numbers that need not be secret: seeds and identities.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that no other call is likely to return.
pub fn draw() -> u64 {
    // Each RandomState has keys of its own, from the system's random numbers.
    RandomState::new().build_hasher().finish()
}
