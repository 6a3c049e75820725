//! `kchaos heal`

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use super::client::CliError;
use crate::{
    heal,
    residue::{self, Item, LookError, Thing},
    scheduler::ExitClass,
    state::StateDir,
    target::CgroupTree,
};

/// The kernel frees programs a moment after their process has ended.
const FREED: Duration = Duration::from_secs(2);

/// Undoes what a killed kchaos left behind
///
/// Programs and maps never are left: they belong to the process. What can be, when kchaos and its
/// guard were both killed, is a changed control file of a cgroup, a cgroup of kchaos' own
/// (kchaos-PURPOSE-PID-START-N), and files in /run/kchaos. Processes in such a cgroup that share its
/// session are killed, others are moved out. What belongs to a living kchaos is left alone.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 nothing is left, 1 something is, 3 it can't be told: a damaged\n\
                  journal may have told of more.\n\
                  With --check, what lives is listed too, and does not count as left."
)]
pub(super) struct HealArgs {
    /// Change nothing; list everything of kchaos on this machine, and whether it lives
    #[arg(long)]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn heal(args: &HealArgs, out: &mut impl Write) -> Result<u8, CliError> {
    let (tree, state) = (tree()?, StateDir::default());
    if args.check {
        check(args, &tree, &state, out)
    } else {
        undo(args, &tree, &state, out)
    }
}

pub(super) fn tree() -> Result<CgroupTree, CliError> {
    CgroupTree::find().map_err(|error| CliError::new(ExitClass::Unsupported, error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn blind(error: LookError) -> CliError {
    CliError::new(ExitClass::Unsupported, error.to_string())
}

fn check(
    args: &HealArgs,
    tree: &CgroupTree,
    state: &StateDir,
    out: &mut impl Write,
) -> Result<u8, CliError> {
    let until = Instant::now() + FREED;
    let found = loop {
        let found = residue::look(tree, state).map_err(blind)?;
        let freeing = |item: &Item| !item.live && matches!(item.thing, Thing::Bpf(_));
        if !found.iter().any(freeing) || Instant::now() >= until {
            break found;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let disabled = state.disabled();
    if args.json {
        let items: Vec<Value> = found.iter().map(item_json).collect();
        writeln!(out, "{}", json!({"found": items, "disabled": disabled}))?;
    } else {
        for item in &found {
            let state = if item.live { "live" } else { "left behind" };
            writeln!(out, "{state}: {}: {}", item.thing.kind(), item.thing)?;
        }
        if let Some(file) = disabled {
            writeln!(out, "faults are forbidden here by {}", file.display())?;
        }
        if found.is_empty() {
            writeln!(out, "nothing of kchaos is here")?;
        }
    }
    Ok(u8::from(found.iter().any(|item| !item.live)))
}

pub(super) fn item_json(item: &Item) -> Value {
    json!({
        "kind": item.thing.kind(),
        "name": item.thing.to_string(),
        "live": item.live,
    })
}

fn undo(
    args: &HealArgs,
    tree: &CgroupTree,
    state: &StateDir,
    out: &mut impl Write,
) -> Result<u8, CliError> {
    let healed = heal::heal(tree, state).map_err(blind)?;
    if args.json {
        let items: Vec<Value> = healed.iter().map(healed_json).collect();
        writeln!(out, "{}", json!({"healed": items}))?;
    } else {
        for one in &healed {
            write_healed(one, out)?;
        }
        if healed.is_empty() {
            writeln!(out, "nothing was left behind")?;
        }
    }
    let stays = healed.iter().any(|one| one.result.is_err());
    let lost = healed
        .iter()
        .any(|one| matches!(one.thing, Thing::Damage(_)));
    Ok(match (stays, lost) {
        (true, _) => 1,
        (false, true) => ExitClass::Unsupported.code(),
        (false, false) => 0,
    })
}

pub(super) fn write_healed(one: &heal::Healed, out: &mut impl Write) -> Result<(), CliError> {
    let (kind, thing) = (one.thing.kind(), &one.thing);
    match &one.result {
        Ok(None) => writeln!(out, "removed: {kind}: {thing}")?,
        Ok(Some(note)) => writeln!(out, "removed: {kind}: {thing}; {note}")?,
        Err(reason) => writeln!(out, "stays: {kind}: {thing}: {reason}")?,
    }
    Ok(())
}

pub(super) fn healed_json(one: &heal::Healed) -> Value {
    json!({
        "kind": one.thing.kind(),
        "name": one.thing.to_string(),
        "note": one.result.as_ref().ok(),
        "stays": one.result.as_ref().err(),
    })
}
