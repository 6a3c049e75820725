use std::collections::BTreeMap;

use super::*;
use crate::process;

/// The tracked sources.
fn sources() -> BTreeMap<String, String> {
    let list = process::output(
        Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(project::root()),
    )
    .unwrap();
    let read = |path: &str| {
        let text = fs::read_to_string(project::root().join(path)).ok()?;
        Some((path.to_owned(), text))
    };
    list.split('\0').filter_map(read).collect()
}

fn arguments(name: &str, mechanism: Option<Mechanism>, no_program: bool) -> Arguments {
    Arguments {
        name: name.to_owned(),
        mechanism,
        no_program,
    }
}

#[test]
fn a_scaffold_finds_its_anchors_and_forgets_no_place() {
    let mut files = sources();
    // One upon the other: no scaffold may take an anchor away from the next.
    for (name, mechanism, no_program) in [
        ("net.example", None, false),
        ("task.example", None, false),
        ("mem.example", None, true),
        ("net.sample", None, false),
        ("task.sample", Some(Mechanism::FmodRet), false),
        ("pressure.sample", None, false),
    ] {
        let read = |path: &str| files.get(path).cloned();
        let kind = wanted(&arguments(name, mechanism, no_program), &read).unwrap();
        let mut changed = scaffold(&kind, &read).unwrap();
        // It refuses what it can't parse.
        if !format(&mut changed).unwrap() {
            return println!("skipped: there is no rustfmt");
        }
        let report = report(&kind, &changed, true);
        for file in changed {
            assert!(!file.text.contains("@name@"), "{}", file.path);
            assert_eq!(
                file.is_new,
                files.insert(file.path.clone(), file.text).is_none()
            );
            assert!(report.contains(&file.path), "{report}");
        }
        let read = |path: &str| files.get(path).cloned();
        assert_eq!(places::all_forgotten(&read).unwrap(), Vec::<String>::new());
        assert!(places::names(&read).unwrap().contains(&name.to_owned()));
        let keys = read("chaos-userspace/src/experiment/keys.rs").unwrap();
        assert_eq!(keys.matches(&format!("\"{name}\"")).count(), 1);
        let program = format!("chaos-ebpf/src/bin/{}.rs", kind.stem);
        assert_eq!(files.contains_key(&program), kind.has_program());
        assert!(files.iter().any(|(_, text)| text.contains(&kind.mark())));
    }
}

#[test]
fn a_planned_kind_is_no_longer_planned() {
    let files = sources();
    let read = |path: &str| files.get(path).cloned();
    let keys = files["chaos-userspace/src/experiment/keys.rs"].clone();
    let planned = keys.split_once("const PLANNED_KINDS").unwrap().1;
    let (name, _) = planned
        .split_once("    \"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap();
    let kind = wanted(&arguments(name, None, false), &read).unwrap();
    let changed = scaffold(&kind, &read).unwrap();
    let keys = changed.iter().find(|file| file.path.ends_with("/keys.rs"));
    let planned = keys
        .unwrap()
        .text
        .split_once("const PLANNED_KINDS")
        .unwrap();
    assert!(!planned.1.contains(&format!("    \"{name}\",")));
    let words = changed
        .iter()
        .find(|file| file.path == "docs/fault-words.md");
    let planned = words.unwrap().text.split_once("not there yet").unwrap();
    assert!(!planned.1.contains(&format!("`{name}`")));
}

#[test]
fn what_is_there_is_refused() {
    let read = |path: &str| fs::read_to_string(project::root().join(path)).ok();
    let refused = |name, mechanism, no_program| {
        wanted(&arguments(name, mechanism, no_program), &read)
            .unwrap_err()
            .to_string()
    };
    let said = refused("net.loss", None, false);
    assert_eq!(said, "net.loss is a kind already: docs/faults/net_loss.md");
    let said = refused("net.example", Some(Mechanism::Lsm), true);
    assert!(said.contains("--no-program is for cgroup-knob"), "{said}");
}

#[test]
fn nothing_is_written_when_an_anchor_is_missing() {
    let read = |path: &str| {
        let text = fs::read_to_string(project::root().join(path)).ok()?;
        Some(text.replace("pub enum FaultKind {", "pub enum Kinds {"))
    };
    let kind = Kind::new("net.example", None, false).unwrap();
    let said = scaffold(&kind, &read).unwrap_err().to_string();
    assert!(said.starts_with("nothing was written"), "{said}");
    assert!(
        said.contains(
            "\n  chaos-userspace/src/experiment/mod.rs does not have exactly once: `pub enum \
             FaultKind {`\n"
        ),
        "{said}"
    );
}
