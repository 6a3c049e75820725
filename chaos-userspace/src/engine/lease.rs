//! Holds on to armed plans: a plan whose word is not raised in time ends in the kernel.
//!
//! The word of a plan is the boot time until which it is held, 0 while it is not armed. A thread of
//! its own raises the words, so that a slow load elsewhere ends nothing; a process that is stopped or
//! dead raises none.

use std::{
    collections::HashMap as Table,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::maps::{Array, MapData};

use super::{EngineError, maps::failed};
use crate::boot;

/// A word is raised this many times within its lease.
const RAISES_PER_LEASE: u32 = 4;
/// How long the thread sleeps while no plan is armed.
const IDLE: Duration = Duration::from_hours(1);

/// The words of all plans of a node.
pub(super) struct Leases {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    words: Array<MapData, u64>,
    held: Table<u32, Held>,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    lease: Duration,
    /// 0 once the lease has been missed: what has ended does not come back.
    until_ns: u64,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.shared.lock().held).finish()
    }
}

impl Leases {
    /// Takes the words over; no plan is armed.
    pub(super) fn new(words: Array<MapData, u64>) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                words,
                held: Table::new(),
                over: false,
            }),
            changed: Condvar::new(),
        });
        let keeper = Arc::clone(&shared);
        let keeper = thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || keeper.keep())
            .map_err(|source| EngineError::Io {
                what: "start the thread that holds leases".to_owned(),
                source,
            })?;
        Ok(Self {
            shared,
            keeper: Some(keeper),
        })
    }

    /// From the next event on, the rules of this plan inject.
    pub(super) fn arm(&self, plan: u32, lease: Duration) -> Result<(), EngineError> {
        let until_ns = end(boot::time_ns(), lease);
        let mut state = self.shared.lock();
        state.held.insert(plan, Held { lease, until_ns });
        let stored = state.store(plan, until_ns);
        drop(state);
        self.shared.changed.notify_one();
        stored
    }

    /// From the next event on, they no longer do.
    pub(super) fn disarm(&self, plan: u32) -> Result<(), EngineError> {
        let mut state = self.shared.lock();
        state.held.remove(&plan);
        state.store(plan, 0)
    }

    /// Whether the plan has ended because this process did not run for longer than the lease.
    pub(super) fn lapsed(&self, plan: u32) -> bool {
        self.shared
            .lock()
            .held
            .get(&plan)
            .is_some_and(|held| held.until_ns == 0)
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_one();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::warn!("the thread that holds leases has panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self) {
        let mut state = self.lock();
        while !state.over {
            let pause = state.raise_all();
            state = self
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl State {
    /// Raises every word that has not been missed, and says when to come back.
    fn raise_all(&mut self) -> Duration {
        let now_ns = boot::time_ns();
        let mut pause = IDLE;
        let plans: Vec<(u32, Held)> = self
            .held
            .iter()
            .filter(|(_, held)| held.until_ns != 0)
            .map(|(plan, held)| (*plan, *held))
            .collect();
        for (plan, held) in plans {
            pause = pause.min(held.lease / RAISES_PER_LEASE);
            let until_ns = if now_ns >= held.until_ns {
                tracing::warn!(plan, lease = ?held.lease, "the lease was missed: the plan has ended");
                0
            } else {
                end(now_ns, held.lease)
            };
            self.held.insert(plan, Held { until_ns, ..held });
            if let Err(error) = self.store(plan, until_ns) {
                tracing::error!(plan, %error, "a lease could not be raised");
            }
        }
        pause
    }

    fn store(&mut self, plan: u32, word: u64) -> Result<(), EngineError> {
        self.words
            .set(plan, word, 0)
            .map_err(|error| failed("PLANS_HELD", &error))
    }
}

fn end(now_ns: u64, lease: Duration) -> u64 {
    now_ns.saturating_add(u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX))
}
