//! `kchaos explain`

use std::io::Write;

use clap::Args;

use super::{client::CliError, words};
use crate::{
    experiment::{Mechanism, yaml},
    fault,
};

/// Shows what a fault word means
///
/// Prints the same fault as it stands in the file of an experiment, the mechanisms that can do it,
/// best first, and what they can't see.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// A fault in one word
    #[arg(value_name = "FAULT", required = true)]
    faults: Vec<String>,
}

pub(super) fn explain(args: &ExplainArgs, out: &mut impl Write) -> Result<u8, CliError> {
    for fault in words::faults(&args.faults)? {
        write!(out, "{}", yaml::format_fault(&fault))?;
        let ladder: Vec<&str> = fault::ladder(&fault.kind)
            .iter()
            .copied()
            .map(Mechanism::name)
            .collect();
        writeln!(out, "# mechanisms, best first: {}", ladder.join(", "))?;
        for row in fault::not_covered(&fault.kind) {
            writeln!(out, "# not covered: {row}")?;
        }
    }
    Ok(0)
}
