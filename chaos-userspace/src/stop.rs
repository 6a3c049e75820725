//! Ends everything of kchaos on this machine, without asking any of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    heal,
    residue::{self, Item, LookError},
    state::{Registration, Role, StateDir},
    target::{CgroupTree, Process},
};

/// How long a process may take to end its faults when it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long guards may take to undo what is left, once their owners are gone.
const GUARDS: Duration = Duration::from_secs(3);

/// How long the kernel may take to free what was closed.
const FREED: Duration = Duration::from_secs(5);

/// What was ended, and what is there still.
#[derive(Debug)]
pub struct Stopped {
    /// Processes that were ended, and whether they had to be killed.
    pub ended: Vec<(Registration, bool)>,
    /// What was undone after them.
    pub healed: Vec<heal::Healed>,
    /// Everything that could not be brought to an end.
    pub left: Vec<Item>,
}

/// Ends whoever holds faults, in order or else by force, heals, and looks whether anything is left.
/// Works on processes that are held as well.
///
/// # Errors
/// When it can't be told what there is.
pub fn stop_all(tree: &CgroupTree, state: &StateDir) -> Result<Stopped, LookError> {
    let (guards, owners): (Vec<Registration>, Vec<Registration>) = state
        .registrations()
        .into_iter()
        .chain(residue::unregistered(state))
        .partition(|registration| registration.role == Role::Guard);
    let mut ended = end(owners, PATIENCE, true);
    // They end by themselves once they have undone what is left.
    ended.extend(
        end(guards, GUARDS, false)
            .into_iter()
            .filter(|(_, killed)| *killed),
    );
    let healed = heal::heal(tree, state)?;
    let until = Instant::now() + FREED;
    let left = loop {
        let left = residue::look(tree, state)?;
        let held = left.iter().any(|item| item.live);
        if left.is_empty() || held || Instant::now() >= until {
            break left;
        }
        // Programs are freed a moment after their last descriptor.
        thread::sleep(Duration::from_millis(50));
    };
    Ok(Stopped {
        ended,
        healed,
        left,
    })
}

impl Stopped {
    /// Whether nothing is left that disturbs the machine.
    pub fn is_clean(&self) -> bool {
        !self.left.iter().any(|item| item.thing.injects())
    }
}

/// Ends the living ones of these; each with whether it was killed.
fn end(
    registrations: Vec<Registration>,
    patience: Duration,
    ask: bool,
) -> Vec<(Registration, bool)> {
    let alive: Vec<(Registration, Process)> = registrations
        .into_iter()
        .filter_map(|registration| {
            let process = Process::open(registration.owner.pid).ok()?;
            // Looked at while the process is held, so that the pid can't have passed on.
            let ours = registration.owner.is_alive();
            ours.then_some((registration, process))
        })
        .collect();
    if ask {
        for (_, process) in &alive {
            // One that is held hears the first only after the second.
            for signal in [libc::SIGTERM, libc::SIGCONT] {
                if let Err(error) = process.signal(signal) {
                    tracing::debug!(pid = process.pid(), %error, "not asked");
                }
            }
        }
    }
    let until = Instant::now() + patience;
    while alive.iter().any(|(_, process)| !process.gone()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    alive
        .into_iter()
        .map(|(registration, process)| {
            let killed = !process.gone();
            if killed {
                if let Err(error) = process.signal(libc::SIGKILL) {
                    tracing::warn!(pid = process.pid(), %error, "not killed");
                }
                let until = Instant::now() + Duration::from_secs(2);
                while !process.gone() && Instant::now() < until {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            (registration, killed)
        })
        .collect()
}
