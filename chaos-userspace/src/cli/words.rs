//! Faults and targets as arguments.

use super::client::CliError;
use crate::{
    experiment::{Fault, Target, number_default_ids, word},
    scheduler::ExitClass,
};

/// Parses fault words, and says everything that is wrong with all of them.
pub(super) fn faults(words: &[String]) -> Result<Vec<Fault>, CliError> {
    let mut faults = Vec::new();
    let mut complaints = Vec::new();
    for text in words {
        match word::parse(text) {
            Ok(fault) => faults.push(fault),
            Err(violations) => {
                complaints.push(format!("bad fault\n{}", word::render(text, &violations)));
            }
        }
    }
    if !complaints.is_empty() {
        return Err(CliError::new(
            ExitClass::BadInput,
            complaints.join("\n").trim_end(),
        ));
    }
    number_default_ids(&mut faults);
    Ok(faults)
}

/// `cgroup=/a/b`, `unit=NAME` or `pid=N`.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let help = "say cgroup=/PATH, unit=NAME.service or pid=N";
    match text.split_once('=') {
        Some(("cgroup", path)) => Ok(Target::Cgroup(path.to_owned())),
        Some(("unit", name)) => Ok(Target::Unit(name.to_owned())),
        Some(("pid", number)) => number
            .parse()
            .map(Target::Pid)
            .map_err(|error| format!("'{number}' is not a pid ({error})")),
        _ => Err(help.to_owned()),
    }
}
