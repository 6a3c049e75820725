//! The changes that this process holds: begun when they are due, and kept alive by a heartbeat to
//! the guard that would undo them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{KnobError, PATIENCE, Undone, Wanted, begin, check, meter::Meter, undo};
use crate::{
    boot,
    guard::Guard,
    heal,
    journal::Change,
    node::{Counters, Settings},
    scheduler::draw,
    state::Owner,
    target::{Cgroup, CgroupTree},
};

/// How often the guard hears from its owner; far more often than the shortest lease.
const BEAT: Duration = Duration::from_millis(250);

/// Everything of this process that needs a guard. Dropping it undoes all of it.
#[derive(Debug)]
pub struct Knobs {
    shared: Arc<Shared>,
    keeper: Option<Keeper>,
    /// Also while nothing is held.
    always: bool,
}

/// What became of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnobStatus {
    /// Periods of the accounting, and of these the ones in which the limit was reached.
    pub counters: Counters,
    /// Why it is over before its deadline.
    pub ended: Option<String>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    tree: CgroupTree,
    held: Mutex<HashMap<u64, Held>>,
    /// Apart from the rest, so that the heart beats while somebody waits for the journal.
    guard: Mutex<Option<Guard>>,
}

#[derive(Debug)]
struct Held {
    change: Change,
    start_ns: u64,
    phase: Phase,
    last: KnobStatus,
}

#[derive(Debug)]
enum Phase {
    /// Not due yet.
    Waits,
    /// In force, and counted.
    Live(Meter),
    /// Ended, or never begun.
    Over,
}

/// The one thread that all changes share.
#[derive(Debug)]
struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Knobs {
    /// Holds nothing yet, and starts nothing.
    pub fn new(tree: CgroupTree, settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                tree,
                held: Mutex::default(),
                guard: Mutex::default(),
            }),
            keeper: None,
            always: false,
        }
    }

    /// Keeps a guard from now on, whatever is held: it also removes the files of this process once it
    /// has been killed. Where none can be started that is left to the next kchaos.
    pub fn stay_guarded(&mut self) {
        self.always = true;
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "no guard: after a SIGKILL its files stay until the next kchaos");
        }
    }

    /// The same for what must not be made without a guard.
    ///
    /// # Errors
    /// [`KnobError::Guard`]
    pub(crate) fn keep_guard(&mut self) -> Result<(), KnobError> {
        self.always = true;
        self.keep()
    }

    /// Limits a cgroup from `start_ns` to `deadline_ns`, in boot time, and returns the change's id.
    ///
    /// # Errors
    /// See [`KnobError`]; nothing is changed then.
    pub fn add(
        &mut self,
        cgroup: &Cgroup,
        wanted: &Wanted,
        start_ns: u64,
        deadline_ns: u64,
    ) -> Result<u64, KnobError> {
        let file = wanted.limit.file();
        check(&self.shared.tree, cgroup, file)?;
        let device = wanted.device()?;
        self.keep()?;
        let owner = Owner::this();
        let change = Change {
            id: draw(),
            owner_pid: owner.pid,
            owner_start: owner.start,
            boot_id: boot::id(),
            deadline_ns,
            cgroup: cgroup.path().to_owned(),
            cgroup_id: cgroup.id(),
            file: file.to_owned(),
            original: String::new(),
            wanted: wanted.limit.to_string(),
            device,
        };
        let id = change.id;
        let mut held = Held {
            change,
            start_ns,
            phase: Phase::Waits,
            last: KnobStatus::default(),
        };
        let begun = if start_ns <= boot::time_ns() {
            self.shared.begin(&mut held)
        } else {
            Ok(())
        };
        match begun {
            Ok(()) => {
                self.shared.held().insert(id, held);
                Ok(id)
            }
            Err(error) => {
                self.rest();
                Err(error)
            }
        }
    }

    /// How it goes.
    pub fn status(&self, id: u64) -> KnobStatus {
        self.shared
            .held()
            .get_mut(&id)
            .map_or_else(KnobStatus::default, |held| self.shared.look(held, false))
    }

    /// Undoes a change and returns how it went.
    ///
    /// # Errors
    /// See [`KnobError`]; the change is left to the guard then.
    pub fn remove(&mut self, id: u64) -> Result<KnobStatus, KnobError> {
        let removed = self.shared.held().remove(&id);
        let last = removed.map_or_else(
            || Ok(KnobStatus::default()),
            |mut held| {
                let last = self.shared.look(&mut held, true);
                self.shared.end(&held).map(|()| last)
            },
        );
        self.rest();
        last
    }

    /// Starts what keeps changes alive, if it does not run.
    fn keep(&mut self) -> Result<(), KnobError> {
        self.shared.watch().map_err(KnobError::Guard)?;
        if self.keeper.is_none() {
            let (stop, stopped) = mpsc::channel();
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new()
                .name("keeper".to_owned())
                .spawn(move || {
                    while matches!(stopped.recv_timeout(BEAT), Err(RecvTimeoutError::Timeout)) {
                        shared.beat();
                    }
                })
                .map_err(KnobError::Guard)?;
            self.keeper = Some(Keeper { stop, thread });
        }
        Ok(())
    }

    /// Stops what keeps changes alive once there are none.
    fn rest(&mut self) {
        if self.always || !self.shared.held().is_empty() {
            return;
        }
        if let Some(Keeper { stop, thread }) = self.keeper.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the keeper failed");
            }
        }
        if let Some(guard) = self.shared.guard().take() {
            guard.dismiss();
        }
    }
}

impl Drop for Knobs {
    fn drop(&mut self) {
        let ids: Vec<u64> = self.shared.held().keys().copied().collect();
        for id in ids {
            if let Err(error) = self.remove(id) {
                tracing::warn!(%error, "left to the guard");
            }
        }
        self.always = false;
        self.rest();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard(&self) -> MutexGuard<'_, Option<Guard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a guard watches.
    fn watch(&self) -> std::io::Result<()> {
        let mut guard = self.guard();
        if guard.as_mut().is_some_and(Guard::beat) {
            return Ok(());
        }
        let lost = guard.take();
        if let Some(lost) = lost {
            tracing::warn!("the guard is gone or held: starting another");
            lost.kill();
            *guard = Some(Guard::start(&self.settings)?);
            // What was the lost one's: its cgroup, its file.
            heal::sweep(&self.tree, &self.settings.state);
        } else {
            *guard = Some(Guard::start(&self.settings)?);
        }
        Ok(())
    }

    /// What happens a few times each second.
    fn beat(&self) {
        if let Err(error) = self.watch() {
            tracing::error!(%error, "no guard can be started: ending what would need it");
            for held in self.held().values_mut() {
                let ended = self.end(held);
                held.over(match ended {
                    Ok(()) => format!("its guard is gone, and no other could be started: {error}"),
                    Err(worse) => worse.to_string(),
                });
            }
            return;
        }
        let now_ns = boot::time_ns();
        for held in self.held().values_mut() {
            if let Phase::Live(meter) = &mut held.phase {
                held.last.counters = meter.look(&self.tree, &held.change, false);
            }
            if matches!(held.phase, Phase::Waits) && held.start_ns <= now_ns {
                if held.change.deadline_ns <= now_ns {
                    held.over("it was over before this process came to start it".to_owned());
                } else if let Err(error) = self.begin(held) {
                    held.over(format!("could not start: {error}"));
                }
            }
        }
    }

    fn begin(&self, held: &mut Held) -> Result<(), KnobError> {
        let state = &self.settings.state;
        if let Some(file) = state.disabled() {
            return Err(KnobError::Unsupported(format!(
                "{} forbids faults on this machine",
                file.display()
            )));
        }
        begin(&state.journal(), &self.tree, held.change.clone())?;
        held.phase = Phase::Live(Meter::start(&self.tree, &held.change));
        Ok(())
    }

    fn end(&self, held: &Held) -> Result<(), KnobError> {
        if matches!(held.phase, Phase::Waits) {
            return Ok(());
        }
        let Change {
            id, cgroup, file, ..
        } = &held.change;
        let journal = self.settings.state.journal();
        match undo(&journal, &self.tree, *id, PATIENCE)? {
            Undone::Foreign(found) => {
                tracing::warn!(
                    cgroup,
                    "somebody else has set {file} meanwhile: left at '{found}'"
                );
            }
            undone => tracing::debug!(cgroup, ?undone, "undone"),
        }
        Ok(())
    }

    /// Brings the status of a change up to date, as long as it is in force.
    fn look(&self, held: &mut Held, last: bool) -> KnobStatus {
        let Phase::Live(meter) = &mut held.phase else {
            return held.last.clone();
        };
        held.last.counters = meter.look(&self.tree, &held.change, last);
        let journal = self.settings.state.journal().read();
        let id = held.change.id;
        let is_live = journal.is_ok_and(|journal| journal.live.iter().any(|live| live.id == id));
        if !is_live {
            if boot::time_ns() < held.change.deadline_ns {
                held.over(
                    "undone before its deadline by its guard, which heard nothing from this \
                     process for too long, or by `kchaos heal`"
                        .to_owned(),
                );
            } else {
                held.phase = Phase::Over;
            }
        }
        held.last.clone()
    }
}

impl Held {
    fn over(&mut self, why: String) {
        self.phase = Phase::Over;
        self.last.ended.get_or_insert(why);
    }
}
