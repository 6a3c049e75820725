//! The table of what each mechanism covers on each kernel, written into the documentation from what
//! the tests have seen.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::part::Part;
use crate::project;

/// How a test of the long form says what it has seen: the mechanism and the system call follow.
pub(super) const COVERED: &str = "COVERED: ";

const PAGE: &str = "docs/faults/syscall_error.md";
const BEGIN: &str = "<!-- coverage: written by `cargo xtask test --long` -->\n";
const END: &str = "<!-- end of coverage -->";

/// Writes the table of the parts that have seen something, if any has.
pub(super) fn write(parts: &[Part]) -> Result<()> {
    let seen: Vec<(&str, &[String])> = parts
        .iter()
        // What ended early has not seen all that there is.
        .filter(|part| part.is_good() && !part.counts.covered.is_empty())
        .map(|part| (part.name.as_str(), &part.counts.covered[..]))
        .collect();
    if seen.is_empty() {
        return Ok(());
    }
    let path = project::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
    let page = replaced(&page, &table(&seen))
        .with_context(|| format!("{PAGE} has no place for the table of coverage"))?;
    fs::write(&path, page).with_context(|| format!("write {PAGE}"))?;
    println!("{PAGE}: the table of coverage is written anew");
    Ok(())
}

fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// One row for all calls that are covered alike.
fn table(seen: &[(&str, &[String])]) -> String {
    let mut by_call: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for (index, (_, covered)) in seen.iter().enumerate() {
        for (mechanism, call) in covered.iter().filter_map(|line| line.split_once(' ')) {
            let parts = by_call
                .entry(call)
                .or_insert_with(|| vec![Vec::new(); seen.len()]);
            parts[index].push(mechanism);
        }
    }
    let mut rows: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
    for (call, parts) in by_call {
        rows.entry(parts.into_iter().map(cell).collect())
            .or_default()
            .push(call);
    }
    let names: Vec<&str> = seen.iter().map(|(name, _)| *name).collect();
    let mut lines = vec![
        format!("| calls | {} |", names.join(" | ")),
        format!("|---|{}", "---|".repeat(names.len())),
    ];
    lines.extend(
        rows.iter()
            .map(|(cells, calls)| format!("| {} | {} |", calls.join(" "), cells.join(" | "))),
    );
    lines.join("\n") + "\n"
}

fn cell(mut mechanisms: Vec<&str>) -> String {
    mechanisms.sort_unstable();
    if mechanisms.is_empty() {
        return "none".to_owned();
    }
    mechanisms.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_are_covered_alike_share_a_row() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let old: Vec<String> = lines(&["lsm openat", "lsm read"]);
        let new: Vec<String> = lines(&["lsm read", "lsm openat", "fmod-ret-syscall fsync"]);
        assert_eq!(
            table(&[("old", &old), ("new", &new)]),
            "| calls | old | new |\n|---|---|---|\n\
             | openat read | lsm | lsm |\n| fsync | none | fmod-ret-syscall |\n"
        );
        let page = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(
            replaced(&page, "new\n"),
            Some(format!("a\n{BEGIN}new\n{END}\nb\n"))
        );
        assert_eq!(replaced("nothing", "new"), None);
    }
}
