//! The places that a kind of fault must not be forgotten in, where no compiler and no other test
//! would notice: those of "How to add a fault" in CONTRIBUTING.md.

use anyhow::{Context as _, Result};

/// Where the kinds are declared.
const KEYS: &str = "chaos-userspace/src/experiment/keys.rs";
const BINS: &str = "chaos-ebpf/Cargo.toml";
const OBJECTS: &str = "chaos-userspace/build.rs";
/// Mechanisms that need no program: such kinds have no BPF object.
const WITHOUT_PROGRAM: [&str; 4] = ["CgroupKnob", "SeccompNotify", "SockDestroy", "Vdso"];
/// Kinds whose programs are in an object that has another kind's name.
const SHARED: &[(&str, &str)] = &[
    ("dns.answer", "dns_error"),
    ("dns.delay", "net_link"),
    ("file.delay", "file_error"),
    ("disk.full", "file_error"),
    ("disk.quota", "file_error"),
    ("disk.readonly", "file_error"),
    ("net.down", "net_loss"),
    ("net.partition", "net_loss"),
    ("syscall.delay", "syscall_error"),
    ("syscall.return", "syscall_error"),
];

/// A kind as it is written in different places.
#[derive(Debug, Eq, PartialEq)]
struct Kind {
    /// `net.truncate`
    name: String,
    /// `net_truncate`
    stem: String,
    /// `NetTruncate`
    ty: String,
    has_program: bool,
}

/// Reads the kinds off the source that declares them.
fn kinds(read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Kind>> {
    let text = read(KEYS).with_context(|| format!("read {KEYS}"))?;
    let declared = text
        .split_once("static KINDS")
        .and_then(|(_, rest)| rest.split_once("\n];"))
        .map(|(table, _)| table)
        .with_context(|| format!("{KEYS} has no `static KINDS` that ends with `];`"))?;
    let kinds: Vec<Kind> = declared
        .split("        name: \"")
        .skip(1)
        .filter_map(|entry| {
            let (name, rest) = entry.split_once('"')?;
            let mechanisms = rest.split_once("mechanisms:")?.1.split(']').next()?;
            Some(Kind::new(name, mechanisms))
        })
        .collect();
    // Then this check would pass whatever is forgotten.
    (!kinds.is_empty())
        .then_some(kinds)
        .with_context(|| format!("no kind was found in {KEYS}"))
}

/// The names of the kinds that there are.
pub(crate) fn names(read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    Ok(kinds(read)?.into_iter().map(|kind| kind.name).collect())
}

/// The places that have forgotten a kind, and what they lack.
pub(crate) fn all_forgotten(read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let kinds = kinds(read)?;
    Ok(kinds.iter().flat_map(|kind| kind.forgotten(read)).collect())
}

impl Kind {
    fn new(name: &str, mechanisms: &str) -> Self {
        let ty = name
            .split('.')
            .filter_map(|word| {
                let (first, rest) = word.split_at_checked(1)?;
                Some(first.to_uppercase() + rest)
            })
            .collect();
        let has_program = mechanisms
            .split("Mechanism::")
            .skip(1)
            .map(|rest| rest.trim_end_matches([',', ' ', '\n']))
            .any(|mechanism| !WITHOUT_PROGRAM.contains(&mechanism));
        Self {
            name: name.to_owned(),
            stem: name.replace('.', "_"),
            ty,
            has_program,
        }
    }

    /// The places that have forgotten this kind, and what they lack.
    fn forgotten(&self, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let Self { name, stem, ty, .. } = self;
        let mut places = vec![
            (
                "proto/kchaos/v1/experiment.proto".to_owned(),
                format!("message {ty} {{"),
            ),
            (
                "proto/kchaos/v1/experiment.proto".to_owned(),
                format!(" {ty} {stem} = "),
            ),
            (
                "chaos-userspace/src/experiment/strategies.rs".to_owned(),
                format!("FaultKind::{ty}("),
            ),
            (
                "chaos-userspace/src/cli/doctor.rs".to_owned(),
                format!("\"{name}"),
            ),
            (format!("tests/tests/{stem}.rs"), "#[test]".to_owned()),
            (format!("docs/faults/{stem}.md"), name.clone()),
            (format!("examples/{stem}.yaml"), "target:".to_owned()),
            ("README.md".to_owned(), format!("(docs/faults/{stem}.md)")),
        ];
        if self.has_program {
            let object = SHARED
                .iter()
                .find(|(kind, _)| kind == name)
                .map_or(stem.as_str(), |(_, object)| object);
            places.push((
                BINS.to_owned(),
                format!("name = \"{object}\"\ntest = false"),
            ));
            places.push((format!("chaos-ebpf/src/bin/{object}.rs"), String::new()));
            places.push((OBJECTS.to_owned(), format!("\"{object}\"")));
        }
        places
            .into_iter()
            .filter_map(|(path, wanted)| match read(&path) {
                None => Some(format!("{name}: there is no {path}")),
                Some(text) if !text.contains(&wanted) => {
                    Some(format!("{name}: {path} lacks {wanted:?}"))
                }
                Some(_) => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    fn read(path: &str) -> Option<String> {
        std::fs::read_to_string(project::root().join(path)).ok()
    }

    #[test]
    fn the_kinds_are_found_and_have_all_of_their_places() {
        let kinds = kinds(&read).unwrap();
        let names: Vec<_> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        assert!(names.contains(&"file.error") && names.contains(&"net.loss"));
        for kind in kinds {
            assert_eq!(kind.forgotten(&read), Vec::<String>::new());
        }
    }

    #[test]
    fn each_forgotten_place_is_named() {
        let kind = Kind::new("net.example", "&[Mechanism::Lsm");
        assert_eq!(
            (kind.stem.as_str(), kind.ty.as_str()),
            ("net_example", "NetExample")
        );
        let forgotten = kind.forgotten(&read);
        assert_eq!(forgotten.len(), 11, "{forgotten:?}");
        for place in [
            "strategies.rs",
            "doctor.rs",
            "README.md",
            "tests/tests/net_example.rs",
        ] {
            assert!(forgotten.iter().any(|line| line.contains(place)), "{place}");
        }
    }

    #[test]
    fn a_kind_without_programs_needs_no_object() {
        let kind = Kind::new("pressure.example", "&[Mechanism::CgroupKnob");
        assert!(!kind.has_program);
        assert_eq!(kind.forgotten(&read).len(), 8);
        assert!(Kind::new("a.b", "&[Mechanism::CgroupKnob, Mechanism::Lsm").has_program);
    }
}
