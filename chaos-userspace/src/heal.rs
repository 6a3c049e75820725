//! Undoes what a dead kchaos has left behind.
//!
//! Programs, maps and links never are left: they belong to descriptors. What can be are changed
//! control files, when kchaos and its guard were both killed, cgroups, and files that say who was
//! there.

use std::{fs, io};

use nix::unistd::geteuid;

use crate::{
    knob::{self, Undone},
    lane::{self, Removed},
    residue::{self, Item, LookError, Thing},
    run::guard,
    state::{Registration, StateDir},
    target::CgroupTree,
    vdso::{self, Restored},
};

/// What was done about one leftover.
#[derive(Debug)]
pub struct Healed {
    /// The leftover.
    pub thing: Thing,
    /// Something to add, such as what a file was left with; or why it stays.
    pub result: Result<Option<String>, String>,
}

/// Undoes everything whose owner is gone, or whose time is up. What lives is left alone.
///
/// # Errors
/// When it can't be told what there is.
pub fn heal(tree: &CgroupTree, state: &StateDir) -> Result<Vec<Healed>, LookError> {
    let left = residue::without_bpf(tree, state)?;
    let healed = left
        .into_iter()
        .filter(|item| !item.live)
        .map(|Item { thing, .. }| Healed {
            result: undo(tree, state, &thing),
            thing,
        })
        .collect();
    // One that tells of another boot, or of nothing, goes when its lock is given back.
    let journal = state.journal();
    if journal.path().exists()
        && let Err(error) = journal.lock(knob::PATIENCE)
    {
        tracing::debug!(%error, "the journal is not cleaned");
    }
    Ok(healed)
}

fn undo(tree: &CgroupTree, state: &StateDir, thing: &Thing) -> Result<Option<String>, String> {
    match thing {
        Thing::Change(change) => {
            match knob::undo(&state.journal(), tree, change.id, knob::PATIENCE) {
                Ok(Undone::Restored(now)) => Ok(Some(format!("now '{now}'"))),
                Ok(Undone::Already) => Ok(None),
                Ok(Undone::Gone) => Ok(Some("the cgroup is gone".to_owned())),
                Ok(Undone::Foreign(found)) => Ok(Some(format!(
                    "left at '{found}', which somebody else has written since"
                ))),
                Err(error) => Err(error.to_string()),
            }
        }
        Thing::Patch(patch) => {
            let restored = vdso::undo(&state.journal(), patch, knob::PATIENCE)
                .map_err(|error| error.to_string())?;
            vdso::undo_orphans(patch.owner());
            Ok(match restored {
                Restored::Now => Some("it has its own bytes again".to_owned()),
                Restored::Already => None,
                Restored::Gone => Some("the process is gone".to_owned()),
            })
        }
        Thing::Lane(entry) => match lane::undo(&state.journal(), entry, knob::PATIENCE) {
            Ok(Removed::Now) => Ok(None),
            Ok(Removed::Gone) => Ok(Some("the network namespace is gone".to_owned())),
            Err(error) => Err(error.to_string()),
        },
        // Goes with the journal, once nothing in it is live.
        Thing::Damage(_) => match state.journal().lock(knob::PATIENCE) {
            Ok(journal) if journal.is_empty() => Ok(Some(
                "compare cpu.max and io.max of your targets with what it should be".to_owned(),
            )),
            Ok(_) => Err("the journal is in use by what is live".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Thing::Cgroup(folder) => said(guard::clear(folder)),
        Thing::Process(Registration { file, .. }) | Thing::File(file) => said(remove(file)),
        Thing::Bpf(_) => Err("it belongs to a process".to_owned()),
    }
}

fn said(result: io::Result<()>) -> Result<Option<String>, String> {
    result.map(|()| None).map_err(|error| error.to_string())
}

fn remove(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Heals quietly, for whoever is about to hold faults itself. Who may not write what others left is
/// not told about it.
pub fn sweep(tree: &CgroupTree, state: &StateDir) {
    match heal(tree, state) {
        Ok(healed) => {
            for Healed { thing, result } in healed {
                let (what, name) = (thing.kind(), thing.to_string());
                match result {
                    Ok(note) => tracing::info!(what, name, note, "removed a leftover"),
                    Err(reason) if geteuid().is_root() => {
                        tracing::warn!(what, name, reason, "a leftover stays");
                    }
                    Err(reason) => tracing::debug!(what, name, reason, "a leftover stays"),
                }
            }
        }
        Err(error) if geteuid().is_root() => {
            tracing::warn!(%error, "leftovers can't be looked for");
        }
        Err(error) => tracing::debug!(%error, "leftovers can't be looked for"),
    }
}
