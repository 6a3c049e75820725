//! Which kernels and profiles the lab knows, and how they are written.

use std::{fmt, str::FromStr};

/// A kernel of the lab.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Kernel {
    /// What people write.
    pub(crate) name: &'static str,
    /// What it is, for `--list`.
    pub(crate) about: &'static str,
    /// How its upstream version begins.
    pub(crate) prefix: &'static str,
    /// How it is built, if it is not one of Debian's.
    pub(super) recipe: Option<Recipe>,
}

/// How the lab builds a kernel of its own.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Recipe {
    /// Debian's package of the sources, and the directory in its archive.
    pub(super) source: &'static str,
    /// All options that are not off.
    pub(super) config: &'static str,
}

impl Kernel {
    /// Whether it takes half an hour to get, so that only who names it shall have it.
    pub(crate) fn is_built_here(&self) -> bool {
        self.recipe.is_some()
    }
}

/// All kernels, oldest first, those that are built here at the end.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "debian-6.1",
        about: "Debian bookworm's own",
        prefix: "6.1.",
        recipe: None,
    },
    Kernel {
        name: "debian-6.12",
        about: "bookworm-backports",
        prefix: "6.12.",
        recipe: None,
    },
    Kernel {
        name: "debian-7",
        about: "newest 7.x of trixie-backports",
        prefix: "7.",
        recipe: None,
    },
    Kernel {
        name: "fault-6.12",
        about: "Debian's 6.12 with fault injection",
        prefix: "6.12.",
        recipe: Some(Recipe {
            source: "linux-source-6.12",
            config: include_str!("fault-6.12.config"),
        }),
    },
];

/// What can be different about a boot of the same kernel.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Profile {
    /// No `bpf` in the `lsm=` list.
    NoLsm,
    /// `lockdown=confidentiality`.
    Lockdown,
    /// cgroup v1 hierarchies and no cgroup2 mount.
    Cgroup1,
}

/// All profiles with their names and what they do, for `--list`.
pub(crate) const PROFILES: [(Profile, &str, &str); 3] = [
    (Profile::NoLsm, "nolsm", "no bpf in the lsm= list"),
    (Profile::Lockdown, "lockdown", "lockdown=confidentiality"),
    (
        Profile::Cgroup1,
        "cgroup1",
        "cgroup v1 hierarchies, no cgroup2 mount",
    ),
];

/// A kernel with its profiles: `debian-6.12+nolsm`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Spec {
    /// The kernel to boot.
    pub(crate) kernel: &'static Kernel,
    /// Sorted, each once.
    pub(crate) profiles: Vec<Profile>,
}

impl Spec {
    /// Whether a profile was asked for.
    pub(crate) fn has(&self, profile: Profile) -> bool {
        self.profiles.contains(&profile)
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split('+');
        let name = words.next().unwrap_or_default();
        let kernel = KERNELS
            .iter()
            .find(|kernel| kernel.name == name)
            .ok_or_else(|| {
                let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
                format!("no kernel {name:?}; there are {}", known.join(", "))
            })?;
        let mut profiles = Vec::new();
        for word in words {
            let (profile, ..) = PROFILES
                .iter()
                .find(|(_, name, _)| *name == word)
                .ok_or_else(|| {
                    let known: Vec<_> = PROFILES.iter().map(|(_, name, _)| *name).collect();
                    format!("no profile {word:?}; there are {}", known.join(", "))
                })?;
            profiles.push(*profile);
        }
        profiles.sort_unstable();
        profiles.dedup();
        Ok(Self { kernel, profiles })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kernel.name)?;
        for (profile, name, _) in &PROFILES {
            if self.has(*profile) {
                write!(f, "+{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_and_written() {
        for text in [
            "debian-6.1",
            "debian-6.12+nolsm",
            "debian-7+nolsm+lockdown+cgroup1",
            "fault-6.12",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
        let spec: Spec = "debian-7+cgroup1+nolsm+nolsm".parse().unwrap();
        assert_eq!(spec.to_string(), "debian-7+nolsm+cgroup1");
    }

    #[test]
    fn unknown_words_are_named() {
        assert!(
            "debian-5"
                .parse::<Spec>()
                .unwrap_err()
                .contains("debian-6.12")
        );
        assert!(
            "debian-7+lsm"
                .parse::<Spec>()
                .unwrap_err()
                .contains("nolsm")
        );
    }
}
