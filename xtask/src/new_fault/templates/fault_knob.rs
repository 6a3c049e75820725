//! `@name@`

use crate::experiment::Mechanism;

pub(super) const LADDER: &[Mechanism] = &[Mechanism::@Mechanism@];

// @mark@: what it does not concern, in words for people.
pub(super) const NOT_COVERED: &[&str] = &[];
