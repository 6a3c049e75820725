//! What is wrong with an experiment: where, what, and what to do about it.

use std::{fmt, ops::Range};

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Path of the field, such as `spec.faults[1].fileError.errno`, or the key of a fault word;
    /// empty when the whole input is meant.
    pub field: String,
    /// What is wrong, without a full stop.
    pub problem: String,
    /// What to do about it: the valid choices, or what was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The bad part of a fault word, in bytes; `None` for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Range<usize>>,
}

impl Violation {
    /// A violation without a remedy or a place.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: None,
            span: None,
        }
    }

    /// A value that its field can't have.
    pub fn of(field: impl Into<String>, bad: BadValue) -> Self {
        Self {
            field: field.into(),
            problem: bad.problem,
            remedy: bad.remedy,
            span: None,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says which bytes of a fault word are meant.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Why a text is not a value of some type; whoever knows the field makes a [`Violation`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// What is wrong, without a full stop.
    pub problem: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl BadValue {
    /// What is wrong, and what to do about it.
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: Some(remedy.into()),
        }
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Violation::of("", self.clone()).fmt(f)
    }
}

impl std::error::Error for BadValue {}

/// Everything that is wrong with one input; at least one violation.
///
/// Displays as one line for each. Serialises as a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// `Ok` when nothing was found.
    ///
    /// # Errors
    /// What was found.
    pub fn check(found: Vec<Violation>) -> Result<(), Self> {
        if found.is_empty() {
            Ok(())
        } else {
            Err(Self(found))
        }
    }

    /// All of them, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.0.iter()
    }
}

impl From<Violation> for Violations {
    fn from(one: Violation) -> Self {
        Self(vec![one])
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Collects violations, and only counts them once nobody would read on.
#[derive(Debug, Default)]
pub(super) struct Collector {
    found: Vec<Violation>,
    more: usize,
}

impl Collector {
    const MAX: usize = 100;

    pub(super) fn push(&mut self, violation: Violation) {
        if self.found.len() < Self::MAX {
            self.found.push(violation);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn extend(&mut self, violations: impl IntoIterator<Item = Violation>) {
        for violation in violations {
            self.push(violation);
        }
    }

    /// Has fields that begin like this begin like that.
    pub(super) fn rename(&mut self, this: &str, that: &str) {
        for violation in &mut self.found {
            if let Some(rest) = violation.field.strip_prefix(this) {
                violation.field = format!("{that}{rest}");
            }
        }
    }

    /// Puts what was found in order; what has the same key stays as it was.
    pub(super) fn sort_by_key<K: Ord>(&mut self, key: impl FnMut(&Violation) -> K) {
        self.found.sort_by_key(key);
    }

    /// `value` when nothing was found.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, Violations> {
        if self.more > 0 {
            self.found
                .push(Violation::new("", format!("and {} more", self.more)));
        }
        Violations::check(self.found).map(|()| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_one_line_for_each() {
        let mut found = Collector::default();
        found.push(Violation::new("a.b", "is bad").with_remedy("make it good"));
        found.push(Violation::new("", "all is lost"));
        let violations = found.finish(()).unwrap_err();
        assert_eq!(
            violations.to_string(),
            "a.b: is bad; make it good\nall is lost"
        );
    }

    #[test]
    fn serialises_as_a_list() {
        let one = Violations::from(Violation::new("a", "is bad").at(1..3));
        assert_eq!(
            serde_json::to_string(&one).unwrap(),
            r#"[{"field":"a","problem":"is bad","span":{"start":1,"end":3}}]"#
        );
    }

    #[test]
    fn counts_what_nobody_reads() {
        let mut found = Collector::default();
        found.extend((0..150).map(|i| Violation::new(format!("f[{i}]"), "is bad")));
        let violations = found.finish(()).unwrap_err();
        assert_eq!(violations.iter().count(), 101);
        assert_eq!(violations.iter().last().unwrap().to_string(), "and 50 more");
    }

    #[test]
    fn nothing_found_is_no_error() {
        assert_eq!(Collector::default().finish(7), Ok(7));
    }
}
