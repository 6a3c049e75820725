//! `kchaos validate`

use std::{
    fs::File,
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::client::CliError;
use crate::{
    experiment::{Complete, Experiment, Violations, yaml},
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
    /// It is for `kchaos run`, which supplies target and duration
    #[arg(long)]
    run: bool,
    /// Print JSON: name, number of faults, violations
    #[arg(long)]
    json: bool,
}

pub(super) fn validate(args: &ValidateArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let complete = if args.run {
        Complete::Run
    } else {
        Complete::File
    };
    let (source, parsed) = parse(&args.file, complete)?;
    if args.json {
        let result = match &parsed {
            Ok(experiment) => json!({
                "name": experiment.name,
                "faults": experiment.faults.len(),
                "violations": [],
            }),
            Err(violations) => json!({"violations": violations}),
        };
        writeln!(out, "{result}")?;
        return Ok(match parsed {
            Ok(_) => 0,
            Err(_) => ExitClass::BadInput.code(),
        });
    }
    let experiment = parsed.map_err(|violations| CliError::invalid(&source, &violations))?;
    let faults = experiment.faults.len();
    writeln!(
        out,
        "{}: ok, {faults} fault{}",
        experiment.name,
        if faults == 1 { "" } else { "s" }
    )?;
    Ok(0)
}

/// Reads an experiment; `-` is the standard input.
pub(super) fn read(file: &Path, complete: Complete) -> Result<Experiment, CliError> {
    let (source, parsed) = parse(file, complete)?;
    parsed.map_err(|violations| CliError::invalid(&source, &violations))
}

/// What the input is called, and what is in it.
fn parse(
    file: &Path,
    complete: Complete,
) -> Result<(String, Result<Experiment, Violations>), CliError> {
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
    let parsed = yaml::parse_for(&bytes, complete);
    Ok((source, parsed))
}
