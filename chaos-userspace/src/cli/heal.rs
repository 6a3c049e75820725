//! `kchaos heal`

use std::io::Write;

use clap::Args;

use super::client::CliError;
use crate::{heal, scheduler::ExitClass, target::CgroupTree};

/// Removes what a killed kchaos left behind
///
/// Programs and maps never are left: they belong to the process. What can be is a cgroup of `kchaos
/// run` (kchaos-run-PID-START-N), when kchaos and its guard were both killed, or of a self-test
/// (kchaos-probe-PID-START-N), when kchaos was killed in the middle of it. Processes in it that
/// share its session are killed, others are moved out.
#[derive(Args, Debug)]
pub(super) struct HealArgs {
    /// Only say what there is; exit status 1 if there is anything
    #[arg(long)]
    check: bool,
}

pub(super) fn heal(args: &HealArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let tree = CgroupTree::find()
        .map_err(|error| CliError::new(ExitClass::Unsupported, error.to_string()))?;
    let found = heal::find(&tree);
    let mut stays = false;
    for residue in &found {
        let name = residue.cgroup.display();
        if args.check {
            writeln!(out, "left behind: {name}")?;
            stays = true;
        } else if let Err(error) = heal::remove(residue) {
            writeln!(out, "stays: {name}: {error}")?;
            stays = true;
        } else {
            writeln!(out, "removed: {name}")?;
        }
    }
    if found.is_empty() {
        writeln!(out, "nothing was left behind")?;
    }
    Ok(u8::from(stays))
}
