//! What is asked for: a kind in all of its spellings, and how it shall be done.

use anyhow::{Result, bail, ensure};

/// The mechanisms that a scaffold can begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Mechanism {
    /// a program on a hook of BPF LSM
    Lsm,
    /// a program on a `security_*` function
    FmodRet,
    /// a program on the packets of the target's cgroup
    CgroupSkb,
    /// a control file of the target's cgroup; there is no program
    CgroupKnob,
}

/// A kind that is not there yet.
#[derive(Debug)]
pub(super) struct Kind {
    /// `net.truncate`
    pub(super) name: String,
    /// `net_truncate`
    pub(super) stem: String,
    pub(super) mechanism: Mechanism,
}

/// The name as it was said, if it can be one.
pub(super) fn parse(name: &str) -> Result<String> {
    let words: Vec<&str> = name.split('.').collect();
    let is_word = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    ensure!(
        words.len() == 2 && words.iter().all(is_word),
        "a kind is two words of lowercase letters and digits with a dot between them, such as \
         net.truncate"
    );
    Ok(name.to_owned())
}

impl Kind {
    /// `mechanism` and `no_program` are what was asked for.
    pub(super) fn new(name: &str, mechanism: Option<Mechanism>, no_program: bool) -> Result<Self> {
        let mechanism = match (mechanism, no_program) {
            (None | Some(Mechanism::CgroupKnob), true) => Mechanism::CgroupKnob,
            (Some(_), true) => bail!(
                "--no-program is for cgroup-knob: every other mechanism here loads programs; say \
                 one of --mechanism and --no-program"
            ),
            (Some(mechanism), false) => mechanism,
            (None, false) if name.starts_with("net.") => Mechanism::CgroupSkb,
            (None, false) if name.starts_with("pressure.") => Mechanism::CgroupKnob,
            (None, false) => Mechanism::Lsm,
        };
        Ok(Self {
            name: name.to_owned(),
            stem: name.replace('.', "_"),
            mechanism,
        })
    }

    pub(super) fn has_program(&self) -> bool {
        self.mechanism != Mechanism::CgroupKnob
    }

    pub(super) fn is_packets(&self) -> bool {
        self.mechanism == Mechanism::CgroupSkb
    }

    /// What stands where a person has to decide; `cargo xtask lint` reports it.
    pub(super) fn mark(&self) -> String {
        format!("UNFINISHED({})", self.name)
    }

    /// A text with the kind's names in place of `@…@`.
    pub(super) fn fill(&self, text: &str) -> String {
        let Self { name, stem, .. } = self;
        let ty: String = name.split('.').map(capital).collect();
        let family = name.split('.').next().unwrap_or_default();
        let block = format!("{family}{}", &ty[family.len()..]);
        // The kernel's own functions: they are on every kernel, and asked often.
        let (mechanism, ladder, section) = match self.mechanism {
            Mechanism::Lsm => ("lsm", "Lsm", "lsm/file_open"),
            // aya-obj knows no section for fmod_ret; the loader makes of fentry what it needs.
            Mechanism::FmodRet => ("fmod-ret", "FmodRet", "fentry/security_file_open"),
            Mechanism::CgroupSkb => ("cgroup-skb", "CgroupSkb", ""),
            Mechanism::CgroupKnob => ("cgroup-knob", "CgroupKnob", ""),
        };
        [
            ("@name@", name.as_str()),
            ("@mark@", &self.mark()),
            ("@stem@", stem),
            ("@CONSTANT@", &stem.to_uppercase()),
            ("@Type@", &ty),
            ("@block@", &block),
            // As a heading's link.
            ("@anchor@", &block.to_lowercase()),
            ("@dashed@", &name.replace('.', "-")),
            ("@mechanism@", mechanism),
            ("@Mechanism@", ladder),
            ("@section@", section),
        ]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_in_many_spellings() {
        let kind = Kind::new(&parse("net.delay2").unwrap(), None, false).unwrap();
        assert_eq!(
            kind.fill("@name@ @stem@ @Type@ @block@ @CONSTANT@ @dashed@ @mechanism@"),
            "net.delay2 net_delay2 NetDelay2 netDelay2 NET_DELAY2 net-delay2 cgroup-skb"
        );
        for bad in [
            "",
            "net",
            "net.",
            "Net.delay",
            "net.de-lay",
            "a.b.c",
            "net.1",
            "../x.y",
        ] {
            let said = parse(bad).unwrap_err().to_string();
            assert!(said.contains("two words"), "{bad}: {said}");
        }
    }

    #[test]
    fn the_mechanism_fits_the_kind() {
        let picked = |name, asked, no_program| {
            Kind::new(name, asked, no_program)
                .map(|kind| kind.mechanism)
                .ok()
        };
        assert_eq!(picked("net.x", None, false), Some(Mechanism::CgroupSkb));
        assert_eq!(picked("file.x", None, false), Some(Mechanism::Lsm));
        assert_eq!(picked("file.x", None, true), Some(Mechanism::CgroupKnob));
        assert_eq!(
            picked("pressure.x", None, false),
            Some(Mechanism::CgroupKnob)
        );
        assert_eq!(
            picked("net.x", Some(Mechanism::FmodRet), false),
            Some(Mechanism::FmodRet)
        );
        assert_eq!(picked("net.x", Some(Mechanism::Lsm), true), None);
    }
}
