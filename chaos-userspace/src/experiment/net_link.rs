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
    pub const MAX_DELAY: Duration = Duration::from_mins(1);

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
            ("loss", self.loss.map_or(Ok(()), LossModel::check)),
        ];
        rules.extend(self.needs());
        if self.traffic.visible {
            let bad = BadValue::new(
                "net.link has none: whoever sends over a link is never told what becomes of it",
                "leave it out",
            );
            rules.push(("visible", Err(bad)));
        }
        if self.duplicate.is_some() && self.traffic.direction != Direction::Egress {
            let bad = BadValue::new(
                "is for what the target sends",
                "say direction=egress, or leave it out",
            );
            rules.push(("duplicate", Err(bad)));
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

pub(super) fn check_delay(delay: Duration) -> Result<(), BadValue> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Complete, word, yaml};

    #[test]
    fn words_of_closed_sets_have_their_names() {
        for distribution in Distribution::ALL {
            assert_eq!(distribution.name().parse(), Ok(distribution));
        }
        for corruption in Corruption::ALL {
            assert_eq!(corruption.name().parse(), Ok(corruption));
        }
    }

    #[test]
    fn words_of_links() {
        for good in [
            "net.link,delay=100ms",
            "net.link,delay=100ms,jitter=10ms,loss=1%",
            "net.link,delay=1m",
            "net.link,delay=10ms,jitter=20ms,distribution=paretonormal,correlation=25%",
            "net.link,delay=10ms,correlation=50%,reorder=25%",
            "net.link,correlation=25%,loss=1%",
            "net.link,loss=every/100",
            "net.link,loss=gemodel/1%/10%/70%/0.1%,direction=both",
            "net.link,duplicate=1%,corrupt=0.1%,corruption=silent",
            "net.link,rate=10mbit,burst=32KiB,peer=10.0.0.0/8,exceptPeer=10.1.0.0/16,proto=udp",
            "net.link@10%,delay=1s,peerPort=5432,localPort=8080,when=3+,times=10,exclude=/a/b",
            "net.link,delay=1s,seed=1,after=1s,duration=10s,pulse=1s/2s,shadow=true,mechanism=ifb",
        ] {
            assert_eq!(word::format(&word::parse(good).unwrap()), good);
        }
        assert_eq!(
            word::format(&word::parse("net.link,delay=1ms,direction=egress").unwrap()),
            "net.link,delay=1ms"
        );
    }

    #[test]
    fn what_is_wrong_with_a_link_is_said_with_a_remedy() {
        for (bad, message) in [
            (
                "net.link",
                "delay: is missing, and so are loss, duplicate, corrupt and rate: the link would do \
                 nothing; say at least one of them, as in net.link,delay=100ms",
            ),
            (
                "net.link=100ms,loss=1%",
                "kind: net.link takes nothing after '='; \
                 write net.link,delay=100ms,jitter=10ms,loss=1%",
            ),
            // Said, though not well.
            (
                "net.link,delay=100",
                "delay: '100' has no unit; say which, such as 100s or 100m",
            ),
            (
                "net.link,delay=0s",
                "delay: is zero; leave it out, or say how long, such as 10ms",
            ),
            (
                "net.link,delay=61s",
                "delay: 1m1s is too long; say at most 1m",
            ),
            (
                "net.link,delay=1m,jitter=1ms",
                "jitter: makes delays of up to 1m0.001s; \
                 say a delay and a jitter that are 1m together at most",
            ),
            (
                "net.link,jitter=10ms",
                "jitter: is about a delay, and there is none; add delay, such as 100ms",
            ),
            (
                "net.link,delay=1ms,distribution=normal",
                "distribution: is about jitter, and there is none; \
                 leave it out, or add jitter, such as 10ms",
            ),
            (
                "net.link,delay=1ms,jitter=1ms,distribution=gauss",
                "distribution: 'gauss' is not a distribution that is known here; \
                 say uniform, normal, pareto or paretonormal",
            ),
            (
                "net.link,delay=1ms,loss=every/9,correlation=25%",
                "correlation: is about random numbers, and nothing here is random; \
                 leave it out, or add jitter, a share as loss, duplicate, corrupt or reorder",
            ),
            (
                "net.duplicate=1%,direction=both",
                "duplicate: is for what the target sends; say direction=egress, or leave it out",
            ),
            (
                "net.link,loss=every/1",
                "loss: 'every/1' is no loss of some packets; \
                 say every/2 or more, or 100% for all of them",
            ),
            (
                "net.link,loss=1%,corruption=silent",
                "corruption: is about corrupt, and there is none; \
                 leave it out, or add corrupt, such as 1%",
            ),
            (
                "net.link,corrupt=1%,corruption=loud",
                "corruption: 'loud' is not a corruption that is known here; say wire or silent",
            ),
            (
                "net.link,reorder=25%",
                "reorder: is about packets that overtake those that are delayed, and none is; \
                 add delay, such as 10ms",
            ),
            (
                "net.link,delay=1ms,burst=32KiB",
                "burst: is about a rate, and there is none; \
                 leave it out, or add rate, such as 10mbit",
            ),
            (
                "net.link,rate=10mb",
                "rate: 'mb' in '10mb' is not a unit of bits a second; \
                 say 10mbit, or 10mbps for bytes",
            ),
            (
                "net.link,delay=1ms,proto=icmp,peerPort=80",
                "peerPort: packets of icmp have no ports; leave it out, or say another proto",
            ),
            (
                "net.link,delay=1ms,mechanism=tcx",
                "mechanism: tcx can't do net.link; say ifb",
            ),
            (
                "net.link,delay=1ms,comm=curl",
                "comm: net.link has none: packets belong to no task; \
                 leave it out, or make the processes in question a target of their own",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
        let visible = word::parse("net.link,delay=1ms,visible=true").unwrap_err();
        assert!(
            visible
                .to_string()
                .starts_with("visible: net.link has no such key; it has delay, jitter,"),
            "{visible}"
        );
    }

    #[test]
    fn short_words_are_links() {
        for (short, long) in [
            ("net.delay=100ms", "net.link,delay=100ms"),
            (
                "net.delay=100ms@5%,jitter=10ms,distribution=normal,correlation=25%,reorder=1%",
                "net.link@5%,delay=100ms,jitter=10ms,distribution=normal,correlation=25%,reorder=1%",
            ),
            ("net.delay=1ms,loss=1%", "net.link,delay=1ms,loss=1%"),
            ("net.duplicate=1%", "net.link,duplicate=1%"),
            (
                "net.corrupt=1%,corruption=silent",
                "net.link,corrupt=1%,corruption=silent",
            ),
            (
                "net.rate=10Mbit,burst=32KiB,direction=both",
                "net.link,rate=10mbit,burst=32KiB,direction=both",
            ),
            (
                "net.reorder=25%,delay=10ms",
                "net.link,delay=10ms,reorder=25%",
            ),
        ] {
            let fault = word::parse(short).unwrap();
            assert_eq!(word::format(&fault), long);
            assert_eq!(word::parse(long), Ok(fault));
        }
        for (bad, message) in [
            (
                "net.delay",
                "delay: is missing; write it as in net.delay=100ms",
            ),
            (
                "net.delay,jitter=10ms",
                "delay: is missing; write it as in net.delay=100ms",
            ),
            (
                "net.delay:eth0=100ms",
                "kind: net.delay takes nothing after ':'; write net.delay=100ms",
            ),
            (
                "net.delay=100ms,delay=5ms",
                "delay: is not a key; write it in front, as in net.delay=100ms",
            ),
            (
                "net.delay=100ms,jiter=5ms",
                "jiter: net.delay has no such key; did you mean jitter?",
            ),
            (
                "net.rate=10",
                "rate: '10' has no unit; say which, such as 10mbit or 10kbit",
            ),
            (
                "net.reorder=25%",
                "reorder: is about packets that overtake those that are delayed, and none is; \
                 add delay, such as 10ms",
            ),
            (
                "net.duplicat=1%",
                "kind: 'net.duplicat' is not a kind of fault; did you mean net.duplicate?",
            ),
        ] {
            let violations = word::parse(bad).unwrap_err();
            assert_eq!(violations.to_string(), message, "{bad}");
        }
    }

    fn file(faults: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1\nkind: FaultExperiment\nmetadata: {{name: a}}\n\
             spec:\n  faults:\n{faults}"
        )
    }

    #[test]
    fn short_blocks_are_links() {
        let short = file(
            "  - netDelay: {delay: 100ms, loss: every/9}\n  - netRate: {rate: 10mbit}\n\
             \x20 - {id: bad, netCorrupt: {corrupt: 1%, direction: both}}\n",
        );
        let experiment = yaml::parse_for(short.as_bytes(), Complete::Run).unwrap();
        let words: Vec<String> = experiment.faults.iter().map(word::format).collect();
        assert_eq!(
            words,
            [
                "net.link,delay=100ms,loss=every/9",
                "net.link,rate=10mbit",
                "net.link,corrupt=1%,direction=both",
            ]
        );
        let ids: Vec<&str> = experiment.faults.iter().map(|f| f.id.as_str()).collect();
        assert_eq!(ids, ["net.link", "net.link-2", "bad"]);
        let long = yaml::format(&experiment);
        assert!(long.contains("  netLink:\n      delay: 100ms\n      loss: every/9\n"));
        assert_eq!(
            yaml::parse_for(long.as_bytes(), Complete::Run),
            Ok(experiment)
        );
    }

    #[test]
    fn what_is_wrong_in_a_short_block_is_said_of_it() {
        let bad = file(
            "  - netDelay: {jitter: 10ms}\n  - netDelay: {delay: 1ms, burst: 1KiB}\n\
             \x20 - netDelay:\n  - netLink:\n  - netLink: {}\n  - netLink: {loss: [1%]}\n\
             \x20 - {netLink: {delay: 1ms}, netRate: {rate: 1mbit}}\n\
             \x20 - {netDelay: {delay: 1ms}, jitter: 1ms}\n  - netDely: {delay: 1ms}\n",
        );
        let said = yaml::parse_for(bad.as_bytes(), Complete::Run).unwrap_err();
        // Some of it lists all fields.
        let said: Vec<String> = said
            .iter()
            .map(|violation| {
                let said = violation.to_string();
                said.split("; its fields").next().unwrap().to_owned()
            })
            .collect();
        assert_eq!(
            said,
            [
                "spec.faults[0].netDelay.delay: is missing; say delay: 100ms",
                "spec.faults[1].netDelay.burst: is about a rate, and there is none; \
                 leave it out, or add rate, such as 10mbit",
                "spec.faults[2].netDelay: is empty",
                "spec.faults[3].netLink: is empty",
                "spec.faults[4].netLink.delay: is missing, and so are loss, duplicate, corrupt and \
                 rate: the link would do nothing; \
                 say at least one of them, as in net.link,delay=100ms",
                "spec.faults[5].netLink.loss: is a list instead of a text; such as loss: 1%",
                "spec.faults[6]: is of 2 kinds: netLink and netRate; make it one fault for each",
                "spec.faults[7].jitter: does not belong here; it is spec.faults[7].netDelay.jitter",
                "spec.faults[8].netDely: unknown field; did you mean netDelay?",
            ]
        );
    }
}
