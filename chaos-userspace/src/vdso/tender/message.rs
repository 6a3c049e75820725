//! What an owner and its tender tell each other: one line of JSON each.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::vdso::Wanted;

/// What the owner says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// It lives.
    Beat,
    /// Bend these clocks.
    Bend(Box<Rule>),
    /// How does it go?
    Look(u64),
    /// Bend them no longer.
    End(u64),
}

/// Whose clocks are bent, how, and from when to when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: u64,
    pub(crate) target: Whom,
    /// Directories of cgroups that are left out, with what is in them.
    pub(crate) excluded: Vec<String>,
    pub(crate) wanted: Wanted,
    /// Boot time.
    pub(crate) start_ns: u64,
    pub(crate) deadline_ns: u64,
    /// Of each so many nanoseconds, so many.
    pub(crate) pulse_ns: Option<Pulse>,
    /// A child of the owner that has not made its exec yet, and is not meant before.
    pub(crate) held: Option<u32>,
}

/// When it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pulse {
    pub(crate) active_ns: u64,
    pub(crate) every_ns: u64,
}

/// Processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whom {
    /// Everybody in these directories of cgroups and below.
    Cgroups(Vec<String>),
    /// One, by its pid and the clock tick of its start.
    Process(u32, u64),
}

/// What the tender answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// How it goes, or went.
    State(Tended),
    /// Why not.
    Refused(String),
}

/// What became of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tended {
    /// Programs that were found in the target: an exec makes another one of a process.
    pub(crate) found: u64,
    /// Of these, those that have the stub.
    pub(crate) patched: u64,
    /// Programs of which one has read a bent clock; a child that made no exec is one with its parent.
    pub(crate) bent: u64,
    /// Programs that had run for a while before they had the stub.
    pub(crate) late: u64,
    /// Why those that were found and have no stub have none: the last reason.
    pub(crate) refused: Option<String>,
    /// Boot time of its end: what it took to patch everybody is not counted.
    pub(crate) deadline_ns: u64,
    /// The owner was not heard for too long.
    pub(crate) lapsed: bool,
}

pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The next line; `None` at the end.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
