//! `net.link`: what a link does to the packets that go over it.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    BitRate, ByteSize, Share, Traffic,
    violation::BadValue,
    wording::{guess, quoted},
};

/// A link between the target and its peers, with all that it does to packets. At least one of them is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetLink {
    /// How long a packet is on its way, up to [`Self::MAX_DELAY`].
    pub delay: Option<Duration>,
    /// By how much the delay changes from packet to packet: half the width of `uniform`, the standard
    /// deviation of the others, as `tc-netem(8)` has it. At most `delay`'s longest; a delay is never below 0.
    pub jitter: Option<Duration>,
    /// How delays are distributed; needs `jitter`.
    pub distribution: Option<Distribution>,
    /// By how much each random number of this link depends on the one before.
    pub correlation: Option<Share>,
    /// Which packets are lost on the way.
    pub loss: Option<LossModel>,
    /// Packets that arrive twice.
    pub duplicate: Option<Share>,
    /// Packets of which one bit changes.
    pub corrupt: Option<Share>,
    /// Who notices that; needs `corrupt`.
    pub corruption: Option<Corruption>,
    /// Packets that overtake the others: they are not delayed. Needs `delay`.
    pub reorder: Option<Share>,
    /// How much the link takes in a time.
    pub rate: Option<BitRate>,
    /// How much of it may go at once after a pause; needs `rate`. Without, nothing does.
    pub burst: Option<ByteSize>,
    /// Which packets.
    pub traffic: Traffic,
}

impl NetLink {
    /// Packets are not kept for longer.
    pub const MAX_DELAY: Duration = Duration::from_secs(60);
}

/// How delays are distributed around their mean: the tables of `tc-netem(8)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly.
    #[default]
    Uniform,
    /// By Gauss.
    Normal,
    /// By Pareto, with the exponent 3.
    Pareto,
    /// A quarter normal and three quarters Pareto.
    ParetoNormal,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Uniform,
        Self::Normal,
        Self::Pareto,
        Self::ParetoNormal,
    ];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
            Self::ParetoNormal => "paretonormal",
        }
    }
}

/// Who notices that a bit has changed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corruption {
    /// The receiver's kernel: its checksum is wrong, and the packet is dropped.
    #[default]
    Wire,
    /// The receiver's program alone: the checksum fits what has changed.
    Silent,
}

impl Corruption {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Wire, Self::Silent];

    /// The word for it in files and fault words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Silent => "silent",
        }
    }
}

/// Which packets a link loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossModel {
    /// Each with this chance: `1%`.
    Random(Share),
    /// Each one of so many, from 2 on: `every/100`.
    Every(u32),
    /// In bursts, by Gilbert and Elliott: `gemodel/1%/10%/100%/0%`, of which the last two may be left out.
    Bursts(Bursts),
}

/// A link that is either good or bad, and changes between them with each packet: `gemodel` of
/// `tc-netem(8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// The chance to become bad: `p`.
    pub to_bad: Share,
    /// The chance to become good: `r`.
    pub to_good: Share,
    /// How much is lost while it is bad: `1-h`.
    pub lost_in_bad: Share,
    /// How much is lost while it is good: `1-k`.
    pub lost_in_good: Share,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Distribution {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| {
            let problem = format!("{} is not a distribution that is known here", quoted(text));
            BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
        })
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Corruption {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let known = Self::ALL.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| {
            let problem = format!("{} is not a corruption that is known here", quoted(text));
            BadValue::new(problem, guess(text, &Self::ALL.map(Self::name)))
        })
    }
}
