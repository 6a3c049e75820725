//! Faults and targets as arguments.

use clap::Args;

use super::client::CliError;
use crate::{
    experiment::{Fault, Target, number_default_ids, strace, word},
    scheduler::ExitClass,
};

/// The faults of a command line.
#[derive(Args, Debug)]
pub(super) struct FaultArgs {
    /// A fault in one word, such as 'file.error:open=EIO@5%,path=/data/'; may be repeated
    #[arg(long = "fault", value_name = "FAULT")]
    words: Vec<String>,
    /// An injection as strace(1) has it, such as 'fsync:error=EIO:when=3'; may be repeated
    ///
    /// Counted for each thread and each system call by itself, as strace does.
    #[arg(long = "strace", value_name = "INJECTION")]
    strace: Vec<String>,
}

impl FaultArgs {
    /// The faults, those of --fault first.
    ///
    /// # Errors
    /// Everything that is wrong with any of them; and none at all, unless that is `optional`.
    pub(super) fn read(&self, optional: bool) -> Result<Vec<Fault>, CliError> {
        if !optional && self.words.is_empty() && self.strace.is_empty() {
            return Err(CliError::new(
                ExitClass::BadInput,
                "no fault: say one with --fault, such as --fault 'file.error:open=EIO,path=/data/'",
            ));
        }
        read(&self.words, &self.strace)
    }
}

/// A seed.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .ok_or_else(|| format!("it is not a whole number from 0 to {}", u64::MAX))
}

/// Reads fault words and injections of strace, and says everything that is wrong with all of them.
pub(super) fn read(words: &[String], injections: &[String]) -> Result<Vec<Fault>, CliError> {
    let words = words
        .iter()
        .map(|text| (text, word::parse(text).map(|fault| vec![fault])));
    let injections = injections.iter().map(|text| (text, strace::parse(text)));
    let mut faults = Vec::new();
    let mut complaints = Vec::new();
    for (text, read) in words.chain(injections) {
        match read {
            Ok(good) => faults.extend(good),
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

/// `cgroup=/a/b`, `unit=NAME` or `pid=N`; several cgroups are one target.
///
/// # Errors
/// Another word, several targets that are not all cgroups.
pub(super) fn target(words: &[String]) -> Result<Target, CliError> {
    let bad = |problem: String| CliError::new(ExitClass::BadInput, format!("--target: {problem}"));
    let targets = words
        .iter()
        .map(|word| one_target(word).map_err(bad))
        .collect::<Result<Vec<_>, _>>()?;
    if let [one] = targets.as_slice() {
        return Ok(one.clone());
    }
    targets
        .into_iter()
        .map(|target| match target {
            Target::Cgroup(path) => Ok(path),
            _ => Err(bad(
                "only cgroups can be several: say cgroup=/A and cgroup=/B".to_owned(),
            )),
        })
        .collect::<Result<_, _>>()
        .map(Target::Cgroups)
}

fn one_target(text: &str) -> Result<Target, String> {
    match text.split_once('=') {
        Some(("cgroup", path)) => Ok(Target::Cgroup(path.to_owned())),
        Some(("unit", name)) => Ok(Target::Unit(name.to_owned())),
        Some(("pid", number)) => number
            .parse()
            .map(Target::Pid)
            .map_err(|_error| format!("'{number}' is not a pid: say a whole number, as in pid=17")),
        _ => Err(format!(
            "'{text}' is no target: say cgroup=/PATH, unit=NAME.service or pid=N"
        )),
    }
}
