//! Checks: what has to be true of an experiment's evidence for it to have passed.

use std::{collections::HashSet, fmt, str::FromStr};

use super::{
    Complete, Experiment, Fault,
    names::check_label,
    violation::{BadValue, Collector, Violation},
    wording::{all_of, guess, quoted},
};

/// One thing that has to be true, of the counters of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Unique among the checks of its experiment: a DNS label that may have dots.
    pub id: String,
    /// Whose counters: a fault's identity.
    pub fault: String,
    /// Which counter.
    pub field: Counter,
    /// What it has to be.
    pub pass: Bound,
    /// When it is looked at; at least one, and it has to hold at each.
    pub at: Vec<Moment>,
}

/// A counter of a fault, by the name that `kchaos show --json` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Events of the fault's hook in the target.
    Considered,
    /// Of these, events that passed the filters while the fault was live.
    Matched,
    /// Of these, events that were hit.
    Injected,
    /// Events that would have been hit, in shadow.
    WouldInject,
    /// Events that `times` let pass.
    OverBudget,
    /// Events that passed because something could not be read.
    Error,
}

/// A number, and how what is measured has to relate to it: `> 0`, `<= 10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Measured on the left, `value` on the right.
    pub comparison: Comparison,
    /// What it is compared with.
    pub value: u64,
}

/// How two numbers relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
}

/// When a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At some report while the faults are live.
    During,
    /// When all is over, of the last counters.
    After,
}

impl Check {
    /// What is wrong with it in itself.
    pub(super) fn rules(&self, faults: &[Fault]) -> Vec<(&'static str, BadValue)> {
        let mut found = Vec::new();
        found.extend(check_label(&self.id, true).err().map(|bad| ("id", bad)));
        if faults.iter().all(|fault| fault.id != self.fault) {
            let ids: Vec<&str> = faults.iter().map(|fault| fault.id.as_str()).collect();
            let problem = format!("{} is the id of no fault", quoted(&self.fault));
            let remedy = format!("there are {}", all_of(&ids));
            found.push(("evidence.fault", BadValue::new(problem, remedy)));
        }
        if self.at.is_empty() {
            let bad = BadValue::new("is empty", "such as at: [after]");
            found.push(("at", bad));
        }
        found
    }
}

impl Experiment {
    /// More checks than this are no experiment any more.
    pub const MAX_CHECKS: usize = 64;

    /// What is wrong with its checks.
    pub(super) fn check_checks(&self, complete: Complete, found: &mut Collector) {
        let mut push = |field: String, bad| found.push(Violation::of(field, bad));
        if complete == Complete::Run && !self.checks.is_empty() {
            let remedy = "kchaos run passes its command's status on; use kchaos apply";
            let bad = BadValue::new("are not made by kchaos run", remedy);
            push("spec.checks".to_owned(), bad);
        }
        let (number, max) = (self.checks.len(), Self::MAX_CHECKS);
        if number > max {
            let bad = BadValue::new(format!("has {number} checks"), format!("say at most {max}"));
            push("spec.checks".to_owned(), bad);
        }
        let mut ids = HashSet::new();
        for (i, check) in self.checks.iter().take(max).enumerate() {
            for (key, bad) in check.rules(&self.faults) {
                push(format!("spec.checks[{i}].{key}"), bad);
            }
            if !ids.insert(&check.id) {
                let problem = format!("{} is the id of a check already", quoted(&check.id));
                let bad = BadValue::new(problem, "give each check an id of its own");
                push(format!("spec.checks[{i}].id"), bad);
            }
        }
    }
}

impl Bound {
    /// Whether it holds.
    pub fn holds(self, measured: u64) -> bool {
        match self.comparison {
            Comparison::Less => measured < self.value,
            Comparison::AtMost => measured <= self.value,
            Comparison::Equal => measured == self.value,
            Comparison::Unequal => measured != self.value,
            Comparison::AtLeast => measured >= self.value,
            Comparison::Greater => measured > self.value,
        }
    }
}

impl Comparison {
    /// Every one, those of two characters before those that they begin with.
    pub const ALL: [Self; 6] = [
        Self::AtMost,
        Self::AtLeast,
        Self::Equal,
        Self::Unequal,
        Self::Less,
        Self::Greater,
    ];

    /// Its sign.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::AtLeast => ">=",
            Self::Greater => ">",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison.sign(), self.value)
    }
}

impl FromStr for Bound {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let found = Comparison::ALL.into_iter().find_map(|comparison| {
            let number = text.strip_prefix(comparison.sign())?.trim_start();
            let is_number = number.bytes().all(|b| b.is_ascii_digit());
            let value = number.parse().ok().filter(|_| is_number)?;
            Some(Self { comparison, value })
        });
        found.ok_or_else(|| {
            BadValue::new(
                format!("{} is no comparison with a number", quoted(text)),
                "say <, <=, ==, !=, >= or > and a whole number, such as \"> 0\"",
            )
        })
    }
}

impl Counter {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Considered,
        Self::Matched,
        Self::Injected,
        Self::WouldInject,
        Self::OverBudget,
        Self::Error,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Considered => "considered",
            Self::Matched => "matched",
            Self::Injected => "injected",
            Self::WouldInject => "wouldInject",
            Self::OverBudget => "overBudget",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Counter {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let found = Self::ALL.into_iter().find(|field| field.name() == text);
        found.ok_or_else(|| {
            let problem = format!("{} is not counted", quoted(text));
            BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
        })
    }
}

impl Moment {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::During, Self::After];

    /// The word for it in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::During => "during",
            Self::After => "after",
        }
    }
}

impl FromStr for Moment {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "before" {
            let problem = "before the faults nothing is counted";
            return Err(BadValue::new(problem, "say during or after"));
        }
        let found = Self::ALL.into_iter().find(|moment| moment.name() == text);
        found.ok_or_else(|| {
            let problem = format!("{} is no moment", quoted(text));
            BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_and_hold() {
        for (text, good, bad) in [
            ("> 0", 1, 0),
            (">=3", 3, 2),
            ("< 5", 4, 5),
            ("<=  5", 5, 6),
            ("== 7", 7, 8),
            ("!= 7", 8, 7),
        ] {
            let bound: Bound = text.parse().unwrap();
            assert!(bound.holds(good) && !bound.holds(bad), "{text}");
            assert_eq!(bound.to_string().parse(), Ok(bound));
        }
        for text in ["", "5", "> -1", ">", "=> 1", "> 1.5", "> +1", "connects"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }
}
