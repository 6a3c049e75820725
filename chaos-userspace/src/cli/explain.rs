//! `kchaos explain`

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{client::CliError, words};
use crate::{
    experiment::{Fault, Mechanism, word, yaml},
    fault,
};

/// Shows what a fault word means
///
/// Prints the same fault as it stands in the file of an experiment, the mechanisms that can do it,
/// best first, and what they can't see. A short word, such as 'net.delay=100ms', is shown as what it
/// stands for.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// A fault in one word
    #[arg(value_name = "FAULT", required_unless_present = "strace")]
    faults: Vec<String>,
    /// An injection as strace(1) has it, such as 'fsync:error=EIO:when=3'
    #[arg(long, value_name = "INJECTION")]
    strace: Vec<String>,
    /// Print JSON, one line for each fault
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(args: &ExplainArgs, out: &mut impl Write) -> Result<u8, CliError> {
    for fault in words::read(&args.faults, &args.strace)? {
        if args.json {
            writeln!(out, "{}", as_json(&fault))?;
            continue;
        }
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

/// One line for each fault.
fn as_json(fault: &Fault) -> serde_json::Value {
    let ladder = fault::ladder(&fault.kind).iter().copied();
    json!({
        "word": word::format(fault),
        "yaml": yaml::format_fault(fault),
        "mechanisms": ladder.map(Mechanism::name).collect::<Vec<_>>(),
        "notCovered": fault::not_covered(&fault.kind),
    })
}
