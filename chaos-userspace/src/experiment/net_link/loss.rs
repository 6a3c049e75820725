//! Which packets a link loses.

use std::{fmt, str::FromStr};

use crate::experiment::{Share, schedule::count, violation::BadValue, wording::quoted};

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

impl LossModel {
    /// What is wrong with it, if anything.
    pub(super) fn check(self) -> Result<(), BadValue> {
        match self {
            Self::Every(0 | 1) => Err(BadValue::new(
                format!("{} is no loss of some packets", quoted(&self.to_string())),
                "say every/2 or more, or 100% for all of them",
            )),
            Self::Random(_) | Self::Every(_) | Self::Bursts(_) => Ok(()),
        }
    }
}

impl fmt::Display for LossModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(share) => share.fmt(f),
            Self::Every(packets) => write!(f, "every/{packets}"),
            Self::Bursts(bursts) => bursts.fmt(f),
        }
    }
}

impl FromStr for LossModel {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.split_once('/') {
            Some(("every", packets)) => {
                let packets = count(packets)
                    .filter(|_| !packets.is_empty())
                    .and_then(|packets| u32::try_from(packets).ok())
                    .ok_or_else(|| {
                        BadValue::new(
                            format!("{} does not say how many", quoted(text)),
                            format!("say a whole number from 2 to {}, as in every/100", u32::MAX),
                        )
                    })?;
                let model = Self::Every(packets);
                model.check().map(|()| model)
            }
            Some(("gemodel", _)) => text.parse().map(Self::Bursts),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => {
                text.parse().map(Self::Random)
            }
            _ => Err(BadValue::new(
                format!("{} is not a loss that is known here", quoted(text)),
                "say a share, such as 1%, or every/100, or gemodel/1%/10%",
            )),
        }
    }
}

impl Bursts {
    /// What is lost of either state if it is not said.
    const LOST: [Share; 2] = [Share::ALL, Share::NONE];
}

impl fmt::Display for Bursts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gemodel/{}/{}", self.to_bad, self.to_good)?;
        let lost = [self.lost_in_bad, self.lost_in_good];
        // What is behind the last one that has to be said is not.
        let said = (0..2).rfind(|i| lost[*i] != Self::LOST[*i]);
        for share in lost.iter().take(said.map_or(0, |last| last + 1)) {
            write!(f, "/{share}")?;
        }
        Ok(())
    }
}

impl FromStr for Bursts {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const SAY: &str = "say the chances to become bad and good, and what is lost while it is bad and good, \
                           as in gemodel/1%/10% or gemodel/1%/10%/100%/0%";
        let shares: Vec<&str> = text.split('/').collect();
        let (to_bad, to_good, lost) = match shares.as_slice() {
            ["gemodel", to_bad, to_good, lost @ ..] if lost.len() <= Self::LOST.len() => {
                (to_bad, to_good, lost)
            }
            ["gemodel", ..] => {
                let problem = format!("{} does not have two to four shares", quoted(text));
                return Err(BadValue::new(problem, SAY));
            }
            _ => {
                let problem = format!("{} is no such model", quoted(text));
                return Err(BadValue::new(problem, SAY));
            }
        };
        let lost = |state: usize| {
            let said = lost.get(state);
            said.map_or(Ok(Self::LOST[state]), |share| share.parse())
        };
        Ok(Self {
            to_bad: to_bad.parse()?,
            to_good: to_good.parse()?,
            lost_in_bad: lost(0)?,
            lost_in_good: lost(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    #[test]
    fn losses_are_read_and_written() {
        let bursts = |shares: [&str; 4]| {
            let [to_bad, to_good, lost_in_bad, lost_in_good] = shares.map(share);
            LossModel::Bursts(Bursts {
                to_bad,
                to_good,
                lost_in_bad,
                lost_in_good,
            })
        };
        for (text, model, written) in [
            ("1%", LossModel::Random(share("1%")), "1%"),
            ("0.50%", LossModel::Random(share("0.5%")), "0.5%"),
            ("every/100", LossModel::Every(100), "every/100"),
            ("every/2", LossModel::Every(2), "every/2"),
            (
                "gemodel/1%/10%",
                bursts(["1%", "10%", "100%", "0%"]),
                "gemodel/1%/10%",
            ),
            (
                "gemodel/1%/10%/70%",
                bursts(["1%", "10%", "70%", "0%"]),
                "gemodel/1%/10%/70%",
            ),
            (
                "gemodel/1%/10%/70%/0.1%",
                bursts(["1%", "10%", "70%", "0.1%"]),
                "gemodel/1%/10%/70%/0.1%",
            ),
            (
                "gemodel/1%/10%/100%/0.1%",
                bursts(["1%", "10%", "100%", "0.1%"]),
                "gemodel/1%/10%/100%/0.1%",
            ),
            (
                "gemodel/1%/10%/100%/0%",
                bursts(["1%", "10%", "100%", "0%"]),
                "gemodel/1%/10%",
            ),
        ] {
            assert_eq!(text.parse(), Ok(model), "{text}");
            assert_eq!(model.to_string(), written);
            assert_eq!(written.parse(), Ok(model));
        }
    }

    #[test]
    fn bad_losses_say_what_would_be_good() {
        let gemodel = "say the chances to become bad and good, and what is lost while it is bad and \
                       good, as in gemodel/1%/10% or gemodel/1%/10%/100%/0%";
        for (text, message) in [
            (
                "1",
                "'1' has no % sign; say a percentage, such as 1%".to_owned(),
            ),
            (
                "101%",
                "'101%' is more than everything; a share is from 0% to 100%".to_owned(),
            ),
            (
                "some",
                "'some' is not a loss that is known here; \
                 say a share, such as 1%, or every/100, or gemodel/1%/10%"
                    .to_owned(),
            ),
            (
                "state/1%",
                "'state/1%' is not a loss that is known here; \
                 say a share, such as 1%, or every/100, or gemodel/1%/10%"
                    .to_owned(),
            ),
            (
                "every/",
                "'every/' does not say how many; \
                 say a whole number from 2 to 4294967295, as in every/100"
                    .to_owned(),
            ),
            (
                "every/10%",
                "'every/10%' does not say how many; \
                 say a whole number from 2 to 4294967295, as in every/100"
                    .to_owned(),
            ),
            (
                "every/1",
                "'every/1' is no loss of some packets; \
                 say every/2 or more, or 100% for all of them"
                    .to_owned(),
            ),
            (
                "gemodel/1%",
                format!("'gemodel/1%' does not have two to four shares; {gemodel}"),
            ),
            (
                "gemodel/1%/2%/3%/4%/5%",
                format!("'gemodel/1%/2%/3%/4%/5%' does not have two to four shares; {gemodel}"),
            ),
            (
                "gemodel/1/10%",
                "'1' has no % sign; say a percentage, such as 1%".to_owned(),
            ),
        ] {
            let said = text.parse::<LossModel>().unwrap_err().to_string();
            assert_eq!(said, message, "{text}");
        }
        assert_eq!(
            "gilbert/1%/10%".parse::<Bursts>().unwrap_err().to_string(),
            format!("'gilbert/1%/10%' is no such model; {gemodel}")
        );
    }
}
