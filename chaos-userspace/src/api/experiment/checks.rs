//! Checks, both ways.

use super::from_wire::Reader;
use crate::{
    api::proto,
    experiment::{Bound, Check, Comparison, Counter, Moment},
};

/// Both directions of an enum, of which the wire has one value more.
macro_rules! same {
    ($name:ident: $($value:ident),+) => {
        impl From<$name> for proto::$name {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$value => Self::$value),+
                }
            }
        }

        impl From<proto::$name> for Option<$name> {
            fn from(value: proto::$name) -> Self {
                match value {
                    proto::$name::Unspecified => None,
                    $(proto::$name::$value => Some($name::$value)),+
                }
            }
        }
    };
}

pub(super) use same;

same!(Counter: Considered, Matched, Injected, WouldInject, OverBudget, Error);
same!(Comparison: Less, AtMost, Equal, Unequal, AtLeast, Greater);
same!(Moment: During, After);

impl From<&Check> for proto::Check {
    fn from(check: &Check) -> Self {
        let wire = |moment: &Moment| proto::Moment::from(*moment).into();
        Self {
            id: check.id.clone(),
            check: Some(proto::check::Check::Evidence(proto::EvidenceCheck {
                fault: check.fault.clone(),
                field: proto::Counter::from(check.field).into(),
                comparison: proto::Comparison::from(check.pass.comparison).into(),
                value: check.pass.value,
            })),
            at: check.at.iter().map(wire).collect(),
        }
    }
}

impl Reader {
    /// What can be represented of it; the rest has been said.
    pub(super) fn check(&mut self, field: &str, wire: proto::Check) -> Option<Check> {
        let moments = wire.at.iter().enumerate().map(|(i, moment)| {
            let known = proto::Moment::try_from(*moment).ok().and_then(Into::into);
            self.known(&format!("{field}.at[{i}]"), known)
        });
        let at = moments.collect::<Option<Vec<Moment>>>();
        let Some(proto::check::Check::Evidence(evidence)) = wire.check else {
            self.bad(field, "checks nothing; say evidence");
            return None;
        };
        let inside = |name| format!("{field}.{name}");
        let counter = proto::Counter::try_from(evidence.field).ok();
        let counter = self.known(&inside("evidence.field"), counter.and_then(Into::into));
        let comparison = proto::Comparison::try_from(evidence.comparison).ok();
        let comparison = self.known(&inside("pass"), comparison.and_then(Into::into));
        Some(Check {
            id: wire.id,
            fault: evidence.fault,
            field: counter?,
            pass: Bound {
                comparison: comparison?,
                value: evidence.value,
            },
            at: at.map(|at| {
                if at.is_empty() {
                    vec![Moment::After]
                } else {
                    at
                }
            })?,
        })
    }

    /// A value that this version knows.
    fn known<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.bad(field, "is not said, or not in this version");
        }
        value
    }
}
