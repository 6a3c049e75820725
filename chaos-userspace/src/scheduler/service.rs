//! The core, shared by the sessions of nodes and the callers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Clock, Config, Error, ExperimentStatus, FromNode, Hello, Link, Phase, ToNode, core::Core, draw,
    link::SessionId,
};
use crate::experiment::Experiment;

/// Accepts experiments and sees them through. Clones share one state.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    config: Config,
    clock: Box<dyn Clock>,
    state: Mutex<State>,
    /// The core's revision, for those who wait.
    revision: watch::Sender<u64>,
    /// True once nobody is answered any more.
    closed: watch::Sender<bool>,
}

struct State {
    core: Core,
    sessions: u64,
    links: HashMap<SessionId, mpsc::UnboundedSender<ToNode>>,
    /// Callers who wait until their experiment is armed, by its id.
    waiting: HashMap<String, oneshot::Sender<Result<(), Error>>>,
    closing: bool,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler without nodes. Somebody has to await [`Scheduler::watch_deadlines`] beside it.
    pub fn new(config: Config, clock: impl Clock) -> Self {
        Self(Arc::new(Shared {
            config,
            clock: Box::new(clock),
            state: Mutex::new(State {
                core: Core::new(config),
                sessions: 0,
                links: HashMap::new(),
                waiting: HashMap::new(),
                closing: false,
            }),
            revision: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        }))
    }

    /// How long it waits, and how much it holds.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Never returns.
    pub async fn watch_deadlines(&self) {
        let mut tick = tokio::time::interval(self.0.config.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.0.clock.now();
            self.with(|state| state.core.tick(now));
        }
    }

    /// Opens a session for a node.
    ///
    /// # Errors
    /// The name is bad or taken, or the scheduler is stopping.
    pub fn attach(&self, hello: &Hello) -> Result<Link, Error> {
        let now = self.0.clock.now();
        let (sender, orders) = mpsc::unbounded_channel();
        let session = self.with(|state| {
            if state.closing {
                return Err(Error::Closing);
            }
            let session = SessionId(state.sessions);
            state.core.attach(now, session, hello)?;
            state.sessions += 1;
            state.links.insert(session, sender);
            let core = &state.core;
            // A session that was replaced ends as its orders do.
            state.links.retain(|session, _| core.is_current(*session));
            Ok(session)
        })?;
        tracing::info!(
            node = hello.node,
            version = hello.version,
            boot_id = hello.boot_id,
            plans = hello.live_plans.len(),
            "node connected"
        );
        Ok(Link {
            scheduler: self.clone(),
            session,
            node: hello.node.clone(),
            orders,
        })
    }

    pub(super) fn detach(&self, session: SessionId) {
        self.with(|state| {
            state.core.detach(session);
            state.links.remove(&session);
        });
    }

    pub(super) fn heard(&self, session: SessionId) {
        let now = self.0.clock.now();
        self.with(|state| state.core.heard(now, session));
    }

    pub(super) fn told(&self, session: SessionId, message: FromNode) {
        let now = self.0.clock.now();
        self.with(|state| state.core.told(now, session, message));
    }

    /// Accepts an experiment and waits until it is armed. An empty `node` is the only one.
    ///
    /// # Errors
    /// Nothing is armed then; see [`Error`].
    pub async fn apply(
        &self,
        experiment: Experiment,
        node: &str,
    ) -> Result<ExperimentStatus, Error> {
        let now = self.0.clock.now();
        let name = experiment.name.clone();
        let id = format!("{name}-{:08x}", draw() >> 32);
        let (decided, decision) = oneshot::channel();
        self.with(|state| {
            if state.closing {
                return Err(Error::Closing);
            }
            state
                .core
                .apply(now, experiment, node, id.clone(), draw())?;
            state.waiting.insert(id.clone(), decided);
            Ok(())
        })?;
        // The core decides each experiment within `arm_timeout`.
        let result = decision.await.unwrap_or(Err(Error::Closing));
        match &result {
            Ok(()) => tracing::info!(experiment = name, id, "armed"),
            Err(error) => tracing::info!(experiment = name, id, %error, "not armed"),
        }
        result?;
        self.get(&id).ok_or(Error::UnknownExperiment(name))
    }

    /// Ends an experiment and waits for its last counters.
    ///
    /// # Errors
    /// There is none of that name, or its node did not confirm the end in time.
    pub async fn stop(&self, name: &str) -> Result<ExperimentStatus, Error> {
        let now = self.0.clock.now();
        let id = self.with(|state| state.core.stop(now, name))?;
        tracing::info!(experiment = name, id, "stopping");
        let patience = self.0.config.stop_timeout + 4 * self.0.config.tick;
        if let Ok(ended) = timeout(patience, self.ended(&id)).await {
            return ended.ok_or_else(|| Error::UnknownExperiment(name.to_owned()));
        }
        let node = self
            .get(&id)
            .and_then(|status| Some(status.nodes.into_iter().next()?.node));
        Err(Error::NotConfirmed {
            name: name.to_owned(),
            node: node.unwrap_or_default(),
            after: self.0.config.stop_timeout,
        })
    }

    /// The experiment of that name: the live one, or else the last one that ended.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<ExperimentStatus, Error> {
        self.lock().core.find(name)
    }

    /// Experiments that live, and the last ones that ended, in the order in which they were accepted.
    pub fn list(&self) -> Vec<ExperimentStatus> {
        self.lock().core.since(0)
    }

    /// The state now, then each change: of one experiment until it has ended, or of all.
    ///
    /// A slow reader misses states in between, never the last one.
    ///
    /// # Errors
    /// There is no experiment of that name.
    pub fn watch(&self, name: Option<&str>) -> Result<ReceiverStream<ExperimentStatus>, Error> {
        let id = name
            .map(|name| self.find(name).map(|status| status.id))
            .transpose()?;
        let (sender, receiver) = mpsc::channel(1);
        let scheduler = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = scheduler.send_changes(id, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    async fn send_changes(&self, id: Option<String>, sender: &mpsc::Sender<ExperimentStatus>) {
        let mut revision = self.0.revision.subscribe();
        let mut seen = 0;
        loop {
            revision.mark_unchanged();
            // Read before the state: the last change before the scheduler closed is still sent.
            let closed = *self.0.closed.borrow();
            let changed = {
                let state = self.lock();
                let after = std::mem::replace(&mut seen, state.core.revision());
                match &id {
                    None => state.core.since(after),
                    Some(id) => match state.core.get(id) {
                        Some((revision, status)) if revision > after => vec![status],
                        Some(_) => Vec::new(),
                        None => return,
                    },
                }
            };
            for status in changed {
                let over = id.is_some() && status.phase == Phase::Ended;
                if sender.send(status).await.is_err() || over {
                    return;
                }
            }
            if closed {
                return;
            }
            tokio::select! {
                changed = revision.changed() => if changed.is_err() { return },
                () = self.closed() => {}
            }
        }
    }

    /// Refuses everything new, ends every experiment and waits for that, then ends every stream.
    pub async fn close(&self, why: &str, patience: Duration) {
        let now = self.0.clock.now();
        self.with(|state| {
            state.closing = true;
            state.core.stop_all(now, why);
        });
        if timeout(patience, self.all_ended()).await.is_err() {
            tracing::warn!("not every experiment is confirmed as ended");
        }
        self.0.closed.send_replace(true);
        self.lock().links.clear();
    }

    /// Returns once the scheduler is closed.
    pub async fn closed(&self) {
        // The sender lives as long as self.
        drop(self.0.closed.subscribe().wait_for(|closed| *closed).await);
    }

    async fn all_ended(&self) {
        let mut revision = self.0.revision.subscribe();
        loop {
            revision.mark_unchanged();
            if !self.lock().core.any_live() || revision.changed().await.is_err() {
                return;
            }
        }
    }

    async fn ended(&self, id: &str) -> Option<ExperimentStatus> {
        let mut revision = self.0.revision.subscribe();
        loop {
            revision.mark_unchanged();
            let status = self.get(id)?;
            if status.phase == Phase::Ended {
                return Some(status);
            }
            revision.changed().await.ok()?;
        }
    }

    fn get(&self, id: &str) -> Option<ExperimentStatus> {
        self.lock().core.get(id).map(|(_, status)| status)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and does what follows from it.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let effects = state.core.take_effects();
        for (session, order) in effects.orders {
            if let Some(link) = state.links.get(&session)
                && link.send(order).is_err()
            {
                tracing::debug!("a session ended before its order was sent");
            }
        }
        for (id, decision) in effects.decided {
            // A caller who has hung up does not wait any more.
            if let Some(waiting) = state.waiting.remove(&id)
                && waiting.send(decision).is_err()
            {
                tracing::debug!(id, "nobody waits for this experiment");
            }
        }
        let revision = state.core.revision();
        // Whoever wakes up needs the lock.
        drop(state);
        self.0.revision.send_if_modified(|known| {
            let newer = *known < revision;
            *known = revision.max(*known);
            newer
        });
        result
    }
}
