//! `net.link`: what a link does to the packets that go over it.

mod loss;

use std::{fmt, str::FromStr, time::Duration};

use super::{
    BitRate, ByteSize, Direction, FaultKind, Share, Traffic,
    keys::{Key, Type, key},
    quantity::{format_duration, parse_duration},
    set::put,
    violation::BadValue,
    wording::{guess, quoted},
};

pub use loss::{Bursts, LossModel};

/// Its keys: those of what it does to packets, and those that all kinds about packets have but `visible`,
/// because whoever sends over a link is never told what becomes of it.
pub(super) const OF_LINK: &[Key] = &[
    key("delay", Type::Text, "100ms"),
    key("jitter", Type::Text, "10ms"),
    key("distribution", Type::Text, "normal"),
    key("correlation", Type::Text, "25%"),
    key("loss", Type::Text, "1%"),
    key("duplicate", Type::Text, "1%"),
    key("corrupt", Type::Text, "1%"),
    key("corruption", Type::Text, "silent"),
    key("reorder", Type::Text, "25%"),
    key("rate", Type::Text, "10mbit"),
    key("burst", Type::Text, "32KiB"),
    key("direction", Type::Text, "both"),
    key("peer", Type::List, "[10.0.0.0/8]"),
    key("exceptPeer", Type::List, "[10.1.0.0/16]"),
    key("peerPort", Type::Count, "5432"),
    key("localPort", Type::Count, "8080"),
    key("proto", Type::Text, "tcp"),
];

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

    /// One that does nothing yet. It is about what the target sends, so that a delay is added to a round
    /// trip once, as `tc-netem(8)` on its device would.
    pub(super) fn blank() -> Self {
        Self {
            delay: None,
            jitter: None,
            distribution: None,
            correlation: None,
            loss: None,
            duplicate: None,
            corrupt: None,
            corruption: None,
            reorder: None,
            rate: None,
            burst: None,
            traffic: Traffic {
                direction: Direction::Egress,
                ..Traffic::default()
            },
        }
    }

    /// The same as a kind of fault.
    pub(super) fn blank_kind() -> FaultKind {
        FaultKind::NetLink(Self::blank())
    }

    /// Sets a key, if it is one of its own.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, BadValue> {
        const SHORT: Duration = Duration::from_millis(1);
        match key {
            "delay" => put(&mut self.delay, parse_duration(text), SHORT)?,
            "jitter" => put(&mut self.jitter, parse_duration(text), SHORT)?,
            "distribution" => {
                let instead = Distribution::default();
                put(&mut self.distribution, text.parse(), instead)?;
            }
            "correlation" => put(&mut self.correlation, text.parse(), Share::NONE)?,
            "loss" => {
                let instead = LossModel::Random(Share::ALL);
                put(&mut self.loss, text.parse(), instead)?;
            }
            "duplicate" => put(&mut self.duplicate, text.parse(), Share::ALL)?,
            "corrupt" => put(&mut self.corrupt, text.parse(), Share::ALL)?,
            "corruption" => {
                let instead = Corruption::default();
                put(&mut self.corruption, text.parse(), instead)?;
            }
            "reorder" => put(&mut self.reorder, text.parse(), Share::ALL)?,
            "rate" => put(&mut self.rate, text.parse(), BitRate::MEGABIT)?,
            "burst" => put(&mut self.burst, text.parse(), ByteSize::MEBIBYTE)?,
            "visible" => return Ok(false),
            _ => return self.traffic.set(key, text),
        }
        Ok(true)
    }

    /// What it does to packets, key by key, in the order in which it is written.
    pub(super) fn said(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("delay", self.delay.map(format_duration)),
            ("jitter", self.jitter.map(format_duration)),
            ("distribution", self.distribution.map(text_of)),
            ("correlation", self.correlation.map(text_of)),
            ("loss", self.loss.map(text_of)),
            ("duplicate", self.duplicate.map(text_of)),
            ("corrupt", self.corrupt.map(text_of)),
            ("corruption", self.corruption.map(text_of)),
            ("reorder", self.reorder.map(text_of)),
            ("rate", self.rate.map(text_of)),
            ("burst", self.burst.map(text_of)),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)))
    }

    /// What it has to keep, key by key.
    pub(super) fn rules(&self) -> Vec<(&'static str, Result<(), BadValue>)> {
        let mut rules = vec![
            ("delay", self.check_anything()),
            ("delay", self.delay.map_or(Ok(()), check_delay)),
            ("jitter", self.jitter.map_or(Ok(()), check_not_zero)),
            ("jitter", self.check_longest()),
            ("loss", self.loss.map_or(Ok(()), |loss| loss.check())),
        ];
        rules.extend(self.needs());
        if self.traffic.visible {
            let bad = BadValue::new(
                "net.link has none: whoever sends over a link is never told what becomes of it",
                "leave it out",
            );
            rules.push(("visible", Err(bad)));
        }
        rules.extend(self.traffic.rules());
        rules
    }

    /// What each of the keys that are set is about, and is not there.
    fn needs(&self) -> impl Iterator<Item = (&'static str, Result<(), BadValue>)> {
        let random_loss = matches!(self.loss, Some(LossModel::Random(_)));
        let other_share = self.duplicate.or(self.corrupt).or(self.reorder);
        let is_random = random_loss || self.jitter.is_some() || other_share.is_some();
        let (delay, rate) = (self.delay.is_some(), self.rate.is_some());
        [
            (
                "jitter",
                self.jitter.is_some() && !delay,
                "is about a delay, and there is none",
                "add delay, such as 100ms",
            ),
            (
                "distribution",
                self.distribution.is_some() && self.jitter.is_none(),
                "is about jitter, and there is none",
                "leave it out, or add jitter, such as 10ms",
            ),
            (
                "correlation",
                self.correlation.is_some() && !is_random,
                "is about random numbers, and nothing here is random",
                "leave it out, or add jitter, a share as loss, duplicate, corrupt or reorder",
            ),
            (
                "corruption",
                self.corruption.is_some() && self.corrupt.is_none(),
                "is about corrupt, and there is none",
                "leave it out, or add corrupt, such as 1%",
            ),
            (
                "reorder",
                self.reorder.is_some() && !delay,
                "is about packets that overtake those that are delayed, and none is",
                "add delay, such as 10ms",
            ),
            (
                "burst",
                self.burst.is_some() && !rate,
                "is about a rate, and there is none",
                "leave it out, or add rate, such as 10mbit",
            ),
        ]
        .into_iter()
        .filter(|(_, lacks, _, _)| *lacks)
        .map(|(key, _, problem, remedy)| (key, Err(BadValue::new(problem, remedy))))
    }

    /// That it does anything. Where one of the other keys is set, that one misses what it is about.
    fn check_anything(&self) -> Result<(), BadValue> {
        if self.said().next().is_some() {
            return Ok(());
        }
        Err(BadValue::new(
            "is missing, and so are loss, duplicate, corrupt and rate: the link would do nothing",
            "say at least one of them, as in net.link,delay=100ms",
        ))
    }

    /// That no packet is kept for too long by both together.
    fn check_longest(&self) -> Result<(), BadValue> {
        let delay = self.delay.unwrap_or_default();
        let longest = delay.saturating_add(self.jitter.unwrap_or_default());
        // A delay that is too long by itself has been told.
        if delay > Self::MAX_DELAY || longest <= Self::MAX_DELAY {
            return Ok(());
        }
        Err(BadValue::new(
            format!("makes delays of up to {}", format_duration(longest)),
            format!(
                "say a delay and a jitter that are {} together at most",
                format_duration(Self::MAX_DELAY)
            ),
        ))
    }
}

fn text_of(value: impl fmt::Display) -> String {
    value.to_string()
}

fn check_delay(delay: Duration) -> Result<(), BadValue> {
    if delay <= NetLink::MAX_DELAY {
        return check_not_zero(delay);
    }
    Err(BadValue::new(
        format!("{} is too long", format_duration(delay)),
        format!("say at most {}", format_duration(NetLink::MAX_DELAY)),
    ))
}

fn check_not_zero(time: Duration) -> Result<(), BadValue> {
    if !time.is_zero() {
        return Ok(());
    }
    Err(BadValue::new(
        "is zero",
        "leave it out, or say how long, such as 10ms",
    ))
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
