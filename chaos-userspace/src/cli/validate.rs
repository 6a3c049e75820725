//! `kchaos validate`

use std::{
    fs::File,
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::client::CliError;
use crate::{
    experiment::{Complete, Experiment, yaml},
    scheduler::ExitClass,
};

/// Checks an experiment without doing anything
///
/// Says everything that is wrong with it at once, by field.
#[derive(Args, Debug)]
pub(super) struct ValidateArgs {
    /// The experiment, or - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn validate(args: &ValidateArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let experiment = read(&args.file, Complete::Run)?;
    let faults = experiment.faults.len();
    // What `kchaos run` would supply is missing everywhere else.
    let only_run = experiment.validate(Complete::File).is_err();
    writeln!(
        out,
        "{}: ok, {faults} fault{}{}",
        experiment.name,
        if faults == 1 { "" } else { "s" },
        if only_run {
            ", for `kchaos run` only: it names no target or no duration"
        } else {
            ""
        }
    )?;
    Ok(0)
}

/// Reads an experiment; `-` is the standard input.
pub(super) fn read(file: &Path, complete: Complete) -> Result<Experiment, CliError> {
    // One byte more than is accepted is enough to refuse it.
    let limit = yaml::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let (source, result) = if file.as_os_str() == "-" {
        let result = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
        ("standard input".to_owned(), result)
    } else {
        let result = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        (file.display().to_string(), result)
    };
    result.map_err(|error| CliError::new(ExitClass::BadInput, format!("{source}: {error}")))?;
    yaml::parse_for(&bytes, complete).map_err(|violations| CliError::invalid(&source, &violations))
}
