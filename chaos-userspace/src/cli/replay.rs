//! `--replay FILE`: hit again what an earlier run has hit.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use super::client::CliError;
use crate::{
    experiment::{Common, Fault, Ordinals, Scope},
    scheduler::ExitClass,
};

/// Which events an earlier run has hit.
#[derive(Args, Clone, Debug, Default)]
pub struct ReplayArgs {
    /// Hit exactly the events that an earlier run of these faults hit
    ///
    /// FILE has what that run said with --json: `run` on stderr, the last line of `inject`, or `show
    /// NAME --events --json`. Each fault is found by its id. What of it decided about single events
    /// (when, scope, probability, maxRate, times) counts no more; everything else does.
    #[arg(long = "replay", value_name = "FILE")]
    evidence: Option<PathBuf>,
}

impl ReplayArgs {
    /// Gives each fault the events that were hit, if that was asked for.
    ///
    /// # Errors
    /// The file tells nothing about a fault, or not all.
    pub(super) fn give(&self, faults: &mut [Fault]) -> Result<(), CliError> {
        let Some(path) = &self.evidence else {
            return Ok(());
        };
        let bad = |problem: String| {
            let message = format!("--replay {}: {problem}", path.display());
            CliError::new(ExitClass::BadInput, message)
        };
        let said = read(path).map_err(bad)?;
        for fault in faults {
            let ordinals = find(&said, &fault.id).map_err(bad)?;
            fault.common = Common {
                probability: None,
                when: None,
                scope: Scope::default(),
                times: None,
                max_rate: None,
                replay: Some(ordinals),
                ..fault.common.clone()
            };
        }
        Ok(())
    }
}

/// The values in a file, one after the other.
fn read(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    // What a command wrote to the same stderr may stand before and between.
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(Value::is_object)
        .collect();
    if !lines.is_empty() {
        return Ok(lines);
    }
    match serde_json::from_str(&text) {
        Ok(whole) => Ok(vec![whole]),
        Err(_) => Err("there is no JSON in it; see `kchaos run --help`".to_owned()),
    }
}

/// What the last of these values that tells of a fault says it has hit.
fn find(said: &[Value], id: &str) -> Result<Ordinals, String> {
    let mut trails = said.iter().rev().filter_map(|value| {
        let mut found = Vec::new();
        collect(value, id, &mut found);
        (!found.is_empty()).then_some(found)
    });
    let trail = match trails.next().as_deref() {
        Some([one]) => *one,
        Some(_) => {
            return Err(format!(
                "it tells of fault {id} on several nodes, which hit different events: keep one"
            ));
        }
        None => {
            return Err(format!(
                "it has no \"trail\" of fault {id}: take what `run --json`, `inject --json` or `show \
                 NAME --events --json` said of a fault with this id"
            ));
        }
    };
    if trail["truncated"] != Value::Bool(false) {
        return Err(format!(
            "fault {id} hit more events than are recorded, so it can't be hit alike: limit it with \
             times"
        ));
    }
    let ordinals = trail["ordinals"]
        .as_array()
        .and_then(|all| all.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
        .ok_or_else(|| format!("the ordinals of fault {id} are not a list of numbers"))?;
    Ordinals::new(ordinals).map_err(|bad| format!("fault {id}: {bad}"))
}

/// The trails of a fault, wherever they stand.
fn collect<'v>(value: &'v Value, id: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            let trail = fields.get("trail");
            match (fields.get("fault"), trail) {
                (Some(fault), Some(trail)) if fault == id => found.push(trail),
                _ => fields.values().for_each(|inner| collect(inner, id, found)),
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, id, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, id: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("said");
        fs::write(&path, text).unwrap();
        find(&read(&path)?, id).map(|ordinals| ordinals.to_string())
    }

    const TRAIL: &str = r#"{"fault":"f","trail":{"ordinals":[7,3,4],"truncated":false}}"#;

    #[test]
    fn the_last_word_counts_wherever_it_stands() {
        for text in [
            TRAIL.to_owned(),
            format!("kchaos: hello\n{{\"status\":0,\"faults\":[{TRAIL}]}}\nbye\n"),
            format!("{{\n\"nodes\": [\n{{\"faults\": [{TRAIL}]}}]}}"),
            format!("{}\n{TRAIL}", TRAIL.replace("7,3,4", "1")),
        ] {
            assert_eq!(told(&text, "f").as_deref(), Ok("3..4+7"), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_replayed_is_refused() {
        for (text, problem) in [
            ("nothing".to_owned(), "no JSON"),
            (TRAIL.replace("\"f\"", "\"g\""), "no \"trail\" of fault f"),
            (
                TRAIL.replace("false", "true"),
                "more events than are recorded",
            ),
            (TRAIL.replace("7,3", "-1"), "not a list of numbers"),
            (
                format!("[{TRAIL},{TRAIL}]").replace('\n', ""),
                "several nodes",
            ),
        ] {
            let said = told(&text, "f").unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }
}
