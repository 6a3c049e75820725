//! `net.link`

use crate::experiment::Mechanism;

pub(super) const LADDER: &[Mechanism] = &[Mechanism::Ifb];

pub(super) const NOT_COVERED: &[&str] = &[];
