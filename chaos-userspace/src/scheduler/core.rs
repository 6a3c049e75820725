//! All experiments and nodes of one scheduler: what happened goes in, what is to be done comes out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Config, Error, ExperimentStatus, FromNode, Hello, NodePart, Now, ToNode,
    entry::{Entry, State},
    link::SessionId,
};
use crate::experiment::{Complete, Experiment, format_duration};

/// The state, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Core {
    config: Config,
    nodes: BTreeMap<String, Node>,
    /// In the order in which they were accepted.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    revision: u64,
    effects: Effects,
}

#[derive(Debug)]
struct Node {
    session: Option<SessionId>,
    instance: String,
    last_heard: Instant,
}

/// What the caller of the core has to do.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To be sent, in this order.
    pub(super) orders: Vec<(SessionId, ToNode)>,
    /// Experiments, by id, whose arming has been decided.
    pub(super) decided: Vec<(String, Result<(), Error>)>,
}

impl Core {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            nodes: BTreeMap::new(),
            entries: BTreeMap::new(),
            next: 0,
            revision: 0,
            effects: Effects::default(),
        }
    }

    /// What is to be done since the last call.
    pub(super) fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Grows with each change of any experiment.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Accepts an experiment; its arming is decided later, under `id`.
    pub(super) fn apply(
        &mut self,
        now: Now,
        experiment: Experiment,
        node: &str,
        id: String,
        drawn: u64,
    ) -> Result<(), Error> {
        experiment
            .validate(Complete::File)
            .map_err(Error::Invalid)?;
        let live = || self.entries.values().filter(|entry| entry.is_live());
        if live().any(|entry| entry.experiment.name == experiment.name) {
            return Err(Error::NameTaken(experiment.name));
        }
        if live().count() >= self.config.max_live {
            return Err(Error::TooMany(self.config.max_live));
        }
        let (node, session) = self.choose(node)?;
        let entry = Entry::new(now, id, experiment, node, drawn);
        self.effects
            .orders
            .push((session, ToNode::Apply(entry.plan())));
        let key = self.next;
        self.next += 1;
        self.entries.insert(key, entry);
        self.touch(key);
        Ok(())
    }

    /// The node of that name, or the only one.
    fn choose(&self, name: &str) -> Result<(String, SessionId), Error> {
        let connected: Vec<(&String, SessionId)> = self
            .nodes
            .iter()
            .filter_map(|(name, node)| node.session.map(|session| (name, session)))
            .collect();
        let known = || connected.iter().map(|(name, _)| (*name).clone()).collect();
        let found = match (name, connected.as_slice()) {
            ("", []) => return Err(Error::NoNode),
            ("", [only]) => only,
            ("", _) => return Err(Error::WhichNode(known())),
            (name, _) => connected
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| Error::UnknownNode {
                    name: name.to_owned(),
                    known: known(),
                })?,
        };
        Ok((found.0.clone(), found.1))
    }

    /// Ends an experiment early and returns its id; one that has ended stays as it is.
    pub(super) fn stop(&mut self, now: Now, name: &str) -> Result<String, Error> {
        let key = self.key_of(name)?;
        self.end(now, key, "stopped early");
        Ok(self.entries[&key].id.clone())
    }

    /// Ends every experiment early.
    pub(super) fn stop_all(&mut self, now: Now, why: &str) {
        for key in self.keys(Entry::is_live) {
            self.end(now, key, why);
        }
    }

    fn end(&mut self, now: Now, key: u64, why: &str) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        match entry.state {
            State::Accepted { .. } => self.decide(key, Err(Error::NotArmed(why.to_owned()))),
            State::Armed { .. } => {}
            State::Ending { .. } | State::Ended { .. } => return,
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.end(now, Some(why.to_owned()));
        }
        self.touch(key);
        self.order_stop(key);
    }

    /// The live experiment of that name, or else the last one that ended.
    pub(super) fn find(&self, name: &str) -> Result<ExperimentStatus, Error> {
        self.key_of(name)
            .map(|key| self.status(&self.entries[&key]))
    }

    /// The experiment of that identity, unless it ended long ago.
    pub(super) fn get(&self, id: &str) -> Option<(u64, ExperimentStatus)> {
        let entry = self.entries.values().find(|entry| entry.id == id)?;
        Some((entry.revision, self.status(entry)))
    }

    /// The experiments that changed after a revision, in the order in which they were accepted.
    pub(super) fn since(&self, revision: u64) -> Vec<ExperimentStatus> {
        let changed = self
            .entries
            .values()
            .filter(|entry| entry.revision > revision);
        changed.map(|entry| self.status(entry)).collect()
    }

    /// Whether any experiment has not ended.
    pub(super) fn any_live(&self) -> bool {
        self.entries.values().any(Entry::is_live)
    }

    /// A node opens a session.
    pub(super) fn attach(
        &mut self,
        now: Now,
        session: SessionId,
        hello: &Hello,
    ) -> Result<(), Error> {
        if !is_node_name(&hello.node) {
            return Err(Error::BadNodeName(hello.node.clone()));
        }
        if let Some(node) = self.nodes.get(&hello.node)
            && node.session.is_some()
            && node.instance != hello.instance
        {
            return Err(Error::NodeTaken(hello.node.clone()));
        }
        let node = Node {
            session: Some(session),
            instance: hello.instance.clone(),
            last_heard: now.steady,
        };
        self.nodes.insert(hello.node.clone(), node);
        self.reconcile(now, session, hello);
        Ok(())
    }

    /// Brings together what the node holds and what it should hold.
    fn reconcile(&mut self, now: Now, session: SessionId, hello: &Hello) {
        for plan in &hello.live_plans {
            let wanted = self.entries.values().any(|entry| {
                entry.id == *plan
                    && entry.node == hello.node
                    && matches!(entry.state, State::Accepted { .. } | State::Armed { .. })
            });
            if !wanted {
                let plan = plan.clone();
                self.effects.orders.push((session, ToNode::Stop { plan }));
            }
        }
        for key in self.keys(|entry| entry.is_live() && entry.node == hello.node) {
            let held = hello.live_plans.contains(&self.entries[&key].id);
            if held {
                self.touch(key);
            } else {
                let why = format!("node '{}' came back without it", hello.node);
                self.give_up(now, key, why);
            }
        }
    }

    /// Whether this is the session of some node, not one that was replaced.
    pub(super) fn is_current(&self, session: SessionId) -> bool {
        self.node_of(session).is_some()
    }

    /// A session is over; the node may come back.
    pub(super) fn detach(&mut self, session: SessionId) {
        let Some(name) = self.node_of(session).cloned() else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&name) {
            node.session = None;
        }
        for key in self.keys(|entry| entry.is_live() && entry.node == name) {
            self.touch(key);
        }
    }

    /// A node is still there.
    pub(super) fn heard(&mut self, now: Now, session: SessionId) {
        let name = self.node_of(session).cloned();
        if let Some(node) = name.and_then(|name| self.nodes.get_mut(&name)) {
            node.last_heard = now.steady;
        }
    }

    /// A node said something about a plan.
    pub(super) fn told(&mut self, now: Now, session: SessionId, message: FromNode) {
        self.heard(now, session);
        let plan = match &message {
            FromNode::Live(status) => &status.id,
            FromNode::Ended { plan, .. } | FromNode::Refused { plan, .. } => plan,
        };
        let Some(node) = self.node_of(session).cloned() else {
            return;
        };
        let mut found = self.entries.iter_mut();
        let Some((&key, entry)) = found.find(|(_, entry)| entry.id == *plan && entry.node == node)
        else {
            if let FromNode::Live(status) = message {
                self.effects
                    .orders
                    .push((session, ToNode::Stop { plan: status.id }));
            }
            return;
        };
        let was_accepted = matches!(entry.state, State::Accepted { .. });
        if !entry.is_live() {
            if matches!(message, FromNode::Live(_)) {
                self.order_stop(key);
            }
            return;
        }
        match message {
            FromNode::Live(status) => {
                if entry.reported(now, status) {
                    self.order_stop(key);
                }
                if was_accepted {
                    self.decide(key, Ok(()));
                }
            }
            FromNode::Ended { status, reason, .. } => {
                let why = reason
                    .clone()
                    .unwrap_or_else(|| "its node ended it".to_owned());
                entry.ended(now, status, reason);
                if was_accepted {
                    self.decide(key, Err(Error::NotArmed(why)));
                }
            }
            FromNode::Refused { error, .. } => {
                if was_accepted {
                    // Nothing was armed, so nothing is kept.
                    self.decide(
                        key,
                        Err(Error::Node {
                            node,
                            source: error,
                        }),
                    );
                    self.entries.remove(&key);
                } else {
                    entry.ended(now, None, Some(error.to_string()));
                }
            }
        }
        self.touch(key);
    }

    /// Looks at the deadlines.
    pub(super) fn tick(&mut self, now: Now) {
        let passed = |since: Instant, limit: Duration| now.steady.duration_since(since) >= limit;
        let config = self.config;
        for key in self.keys(Entry::is_live) {
            let entry = &self.entries[&key];
            let node = &entry.node;
            let Some(known) = self.nodes.get(node) else {
                continue;
            };
            let connected = known.session.is_some();
            let why = match &entry.state {
                _ if !connected && passed(known.last_heard, config.contact_timeout) => {
                    let silence = format_duration(config.contact_timeout);
                    format!("node '{node}' is lost: nothing heard from it for {silence}")
                }
                State::Accepted { since } if passed(*since, config.arm_timeout) => {
                    let limit = format_duration(config.arm_timeout);
                    format!("node '{node}' did not arm it within {limit}")
                }
                State::Armed { ends_by } if connected && passed(*ends_by, config.stop_timeout) => {
                    format!("node '{node}' did not report its end")
                }
                State::Ending { since, .. } if connected && passed(*since, config.stop_timeout) => {
                    format!("node '{node}' did not confirm its end")
                }
                _ => continue,
            };
            self.order_stop(key);
            self.give_up(now, key, why);
        }
        let contact = config.contact_timeout;
        self.nodes
            .retain(|_, node| node.session.is_some() || !passed(node.last_heard, contact));
    }

    /// Over, without a last word from its node.
    fn give_up(&mut self, now: Now, key: u64, why: String) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let why = match &entry.state {
            State::Ending {
                why: Some(earlier), ..
            } => earlier.clone(),
            _ => why,
        };
        let was_accepted = matches!(entry.state, State::Accepted { .. });
        entry.finish(now, Some(why.clone()));
        if was_accepted {
            self.decide(key, Err(Error::NotArmed(why)));
        }
        self.touch(key);
    }

    fn decide(&mut self, key: u64, result: Result<(), Error>) {
        if let Some(entry) = self.entries.get(&key) {
            self.effects.decided.push((entry.id.clone(), result));
        }
    }

    fn order_stop(&mut self, key: u64) {
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        if let Some(session) = self.nodes.get(&entry.node).and_then(|node| node.session) {
            let plan = entry.id.clone();
            self.effects.orders.push((session, ToNode::Stop { plan }));
        }
    }

    /// Marks a change, and forgets the oldest ended experiments.
    fn touch(&mut self, key: u64) {
        self.revision += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.revision = self.revision;
        }
        let ended = self.keys(|entry| !entry.is_live());
        let surplus = ended.len().saturating_sub(self.config.max_ended);
        for key in &ended[..surplus] {
            self.entries.remove(key);
        }
    }

    fn keys(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<u64> {
        let found = self.entries.iter().filter(|(_, entry)| wanted(entry));
        found.map(|(key, _)| *key).collect()
    }

    fn key_of(&self, name: &str) -> Result<u64, Error> {
        let named = || {
            self.entries
                .iter()
                .rev()
                .filter(|(_, entry)| entry.experiment.name == name)
        };
        named()
            .find(|(_, entry)| entry.is_live())
            .or_else(|| named().next())
            .map(|(key, _)| *key)
            .ok_or_else(|| Error::UnknownExperiment(name.to_owned()))
    }

    fn node_of(&self, session: SessionId) -> Option<&String> {
        let mut nodes = self.nodes.iter();
        nodes
            .find(|(_, node)| node.session == Some(session))
            .map(|(name, _)| name)
    }

    fn status(&self, entry: &Entry) -> ExperimentStatus {
        let (outcome, reason, ended_at) = match &entry.state {
            State::Ended {
                at,
                outcome,
                reason,
            } => (Some(*outcome), reason.clone(), Some(*at)),
            State::Ending { why, .. } => (None, why.clone(), None),
            State::Accepted { .. } | State::Armed { .. } => (None, None, None),
        };
        let node = self.nodes.get(&entry.node);
        ExperimentStatus {
            name: entry.experiment.name.clone(),
            id: entry.id.clone(),
            phase: entry.phase(),
            outcome,
            reason,
            accepted_at: entry.accepted_at,
            ended_at,
            seed: entry.seed,
            nodes: vec![NodePart {
                node: entry.node.clone(),
                connected: node.is_some_and(|node| node.session.is_some()),
                plan: entry.plan.clone(),
                reported_at: entry.reported_at,
            }],
        }
    }
}

fn is_node_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
