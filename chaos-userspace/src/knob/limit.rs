//! A limit in whichever control file.

use std::fmt;

use super::{CPU_MAX, CpuMax, IO_MAX, IoMax};

/// What a control file holds, or is to hold; of `io.max` the line of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `cpu.max`
    Cpu(CpuMax),
    /// `io.max`
    Io(IoMax),
}

/// This is not what the file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no limit as {file} has them")]
pub struct NoLimit {
    file: String,
    text: String,
}

impl NoLimit {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.trim().to_owned(),
        }
    }
}

impl Limit {
    /// The control file that holds it.
    pub(crate) const fn file(&self) -> &'static str {
        match self {
            Self::Cpu(_) => CPU_MAX,
            Self::Io(_) => IO_MAX,
        }
    }

    /// Of what `file` held.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, NoLimit> {
        match file {
            CPU_MAX => text.parse().map(Self::Cpu),
            IO_MAX => text.parse().map(Self::Io),
            _ => Err(NoLimit::new(file, text)),
        }
    }

    /// What is in force when both are wanted.
    pub(super) fn tightest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Cpu(one), Self::Cpu(other)) => Self::Cpu(one.min(other)),
            (Self::Io(one), Self::Io(other)) => Self::Io(one.tightest(other)),
            // Limits of one place are of one file.
            (one, _) => one,
        }
    }

    /// This one, and `next` in its place wherever it is one of `known`: what is not, somebody else
    /// has set.
    pub(super) fn replace(self, known: &[Self], next: Self) -> Self {
        match (self, next) {
            (Self::Io(current), Self::Io(next)) => {
                let known: Vec<IoMax> = known
                    .iter()
                    .filter_map(|known| match known {
                        Self::Io(known) => Some(*known),
                        Self::Cpu(_) => None,
                    })
                    .collect();
                Self::Io(current.replace(&known, next))
            }
            _ if known.contains(&self) => next,
            _ => self,
        }
    }

    /// Whether nothing in it is of somebody else.
    pub(super) fn is_known(self, known: &[Self]) -> bool {
        match self {
            Self::Io(current) => {
                known.iter().all(|known| matches!(known, Self::Io(_)))
                    && current.is_known(known.iter().filter_map(|known| match known {
                        Self::Io(known) => Some(*known),
                        Self::Cpu(_) => None,
                    }))
            }
            Self::Cpu(_) => known.contains(&self),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(limit) => limit.fmt(f),
            Self::Io(limit) => limit.fmt(f),
        }
    }
}
