//! The real node: plans that are live in this kernel.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chaos_common::{Hook, limits::PLANS};

use super::{
    Counters, FaultStatus, NodeControl, NodeError, Plan, PlanStatus, Settings, Trail,
    account::Account,
    clocks::ClockFaults,
    error::{bad, not_found},
    stack::Mappings,
    trail::Kept,
    ways::{Way, Ways, lost},
};
use crate::{
    boot,
    engine::{EngineError, Excluded, Object, RuleNumber, Sampled},
    experiment::{Complete, Experiment, Fault, FaultKind, Mechanism, format_duration, word},
    fault::{self, Timing},
    knob::{KnobError, KnobStatus, Knobs},
    sockets::{Resets, Targets},
    state::StateDir,
    support,
    target::{Cgroup, CgroupTree, Resolved, excluded},
};

/// How often it is looked for network devices and namespaces that have come.
const FOLLOW: Duration = Duration::from_secs(1);

/// This machine's node. Dropping it ends everything that it holds.
#[derive(Debug)]
pub struct Node {
    tree: CgroupTree,
    ways: Ways,
    /// Before what has the guard, so that it ends while there is one.
    clocks: ClockFaults,
    /// What is done without BPF, and would not end with this process.
    knobs: Knobs,
    /// Connections to be ended.
    resets: Resets,
    state: StateDir,
    /// How long a fault lives in the kernel without a sign of life of this process.
    lease: Duration,
    plans: HashMap<String, Live>,
    next_rule: RuleNumber,
    /// When it was last looked for new network devices.
    followed: Instant,
}

#[derive(Debug)]
struct Live {
    slot: u32,
    /// Its lease was missed.
    lapsed: bool,
    faults: Vec<LiveFault>,
}

#[derive(Debug)]
pub(super) struct LiveFault {
    id: String,
    word: String,
    pub(super) target: Resolved,
    /// Parts of it that are left out.
    pub(super) excluded: Vec<Cgroup>,
    work: Work,
    not_covered: Vec<String>,
    deadline_ns: u64,
    kept: Kept,
}

/// How a fault is done.
#[derive(Clone, Copy, Debug)]
enum Work {
    Rule {
        way: Way,
        rule: RuleNumber,
    },
    /// Its target is gone, and the rule with it: what it had counted.
    Over {
        way: Way,
        last: Counters,
    },
    /// The change's id, once it is made or waits for its time.
    Knob(Option<u64>),
    /// Its id, once it is prepared.
    Reset(Option<u64>),
    /// The rule's id, once clocks are bent or wait for their time.
    Clock(Option<u64>),
}

impl LiveFault {
    fn mechanism(&self) -> Mechanism {
        match self.work {
            Work::Rule { way, .. } | Work::Over { way, .. } => way.1,
            Work::Knob(_) => Mechanism::CgroupKnob,
            Work::Reset(_) => Mechanism::SockDestroy,
            Work::Clock(_) => Mechanism::Vdso,
        }
    }
}

impl Node {
    /// Looks at this machine; touches nothing yet.
    ///
    /// # Errors
    /// [`NodeError::Unsupported`] when no cgroup v2 tree is mounted.
    pub fn new(settings: Settings) -> Result<Self, NodeError> {
        let tree = CgroupTree::find()?;
        Ok(Self {
            state: settings.state.clone(),
            lease: settings.lease,
            ways: Ways::new(settings.max_rules, settings.state.journal()),
            clocks: ClockFaults::new(settings.clone()),
            knobs: Knobs::new(tree.clone(), settings),
            resets: Resets::default(),
            tree,
            plans: HashMap::new(),
            next_rule: 1,
            followed: Instant::now(),
        })
    }

    /// Keeps a guard from now on, for a process that others must not find traces of when it was killed.
    pub fn stay_guarded(&mut self) {
        self.knobs.stay_guarded();
    }

    /// Says which child of this process waits before its exec: faults of programs are not about it
    /// before that.
    pub(crate) fn hold(&mut self, pid: u32) {
        self.clocks.hold(pid);
    }

    fn try_apply(&mut self, plan: &Plan, live: &mut Live) -> Result<(), NodeError> {
        let experiment = &plan.experiment;
        let mut rules = Vec::new();
        for (index, fault) in experiment.faults.iter().enumerate() {
            let field = |name: &str| format!("spec.faults[{index}].{name}");
            let (target, named) = match (&fault.target, &experiment.target) {
                (Some(own), _) => (own, field("target")),
                (None, Some(shared)) => (shared, "spec.target".to_owned()),
                (None, None) => return Err(bad(field("target"), "missing")),
            };
            let resolved =
                Resolved::find(&self.tree, target).map_err(|error| not_found(named, error))?;
            let excluded =
                excluded(&self.tree, &resolved, &fault.common.exclude).map_err(|error| {
                    not_found(field(&format!("{}.exclude", fault.kind.block())), error)
                })?;
            let mut not_covered = fault::not_covered(&fault.kind);
            let work = match fault::object(&fault.kind) {
                Some(object) => {
                    if object == Object::NetLink {
                        // For what it makes in network namespaces.
                        self.knobs.keep_guard()?;
                    }
                    let way = self.ways.pick(fault, object)?;
                    not_covered.extend(self.ways.left_out(way, &fault.kind));
                    not_covered.extend(fault::lacks(&fault.kind, way.1));
                    let rule = self.draw_rule();
                    Work::Rule { way, rule }
                }
                None if matches!(fault.kind, FaultKind::NetReset(_)) => Work::Reset(None),
                None if fault.kind.clocks().is_some() => {
                    // The guard, for what nobody else puts back.
                    self.knobs.stay_guarded();
                    self.clocks.prepare()?;
                    Work::Clock(None)
                }
                None => Work::Knob(None),
            };
            let account = Account::find(&self.tree, fault, &resolved, &excluded)?;
            not_covered.extend(account.gap);
            rules.push((index, fault, account.device));
            live.faults.push(LiveFault {
                id: fault.id.clone(),
                word: shortened(word::format(fault)),
                not_covered,
                target: resolved,
                excluded,
                work,
                deadline_ns: 0,
                kept: Kept::default(),
            });
        }
        // What is slow lies behind, but for network devices: durations count from here, and attaching to
        // a device takes a grace period.
        let now_ns = boot::time_ns();
        for ((index, fault, device), held) in rules.into_iter().zip(&mut live.faults) {
            let timing = timing(now_ns, fault, experiment)
                .ok_or_else(|| bad(format!("spec.faults[{index}].duration"), "missing"))?;
            held.deadline_ns = fault::lifetime(fault, &timing).1;
            match held.work {
                Work::Rule { way, rule } => {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    let (plane, hooks) = self.ways.get(way)?;
                    let mut spec = fault::compile(fault, hooks.hook(), index, live.slot, &timing)
                        .ok_or_else(|| lost(way))?;
                    spec.device = device;
                    spec.exclude = held
                        .excluded
                        .iter()
                        .map(|cgroup| Excluded {
                            id: cgroup.id(),
                            level: cgroup.level(),
                        })
                        .collect();
                    hooks
                        .add(plane, rule, &held.target.places(), spec)
                        .map_err(|error| match error {
                            EngineError::Full(text) => {
                                NodeError::Unsupported(format!("spec.faults[{index}]: {text}"))
                            }
                            other => other.into(),
                        })?;
                    if hooks.needs_namespaces() {
                        let namespaces = held.target.namespaces(&self.tree, &held.excluded)?;
                        hooks
                            .cover(plane, rule, &namespaces)
                            .map_err(|error| match error {
                                EngineError::Shared(text) => NodeError::Unsupported(format!(
                                    "fault {}: this node can't do that of {}: {text}",
                                    fault.id,
                                    fault.kind.name()
                                )),
                                other => other.into(),
                            })?;
                    }
                }
                Work::Reset(_) => {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    held.work = Work::Reset(self.prepare_reset(fault, index, held, &timing)?);
                }
                Work::Clock(_) => {
                    let (id, deadline_ns) = self.clocks.begin(&self.tree, fault, held, &timing)?;
                    held.deadline_ns = deadline_ns;
                    held.work = Work::Clock(Some(id));
                }
                Work::Knob(_) | Work::Over { .. } => {
                    held.work = Work::Knob(self.turn(fault, &held.target, &timing)?);
                }
            }
        }
        // What was tried out and is not needed costs every process of the machine a look.
        self.ways.drop_idle();
        if let Some(plane) = self.ways.plane() {
            plane.arm(live.slot, self.lease)?;
        }
        // Last, because what they do is done.
        for fault in &live.faults {
            if let Work::Reset(Some(id)) = fault.work {
                self.resets
                    .start(id)
                    .map_err(|error| NodeError::Kernel(format!("start a thread: {error}")))?;
            }
        }
        Ok(())
    }

    /// Finds out whether the connections of a target can be reached, and gets ready to end them.
    fn prepare_reset(
        &mut self,
        fault: &Fault,
        index: u32,
        held: &LiveFault,
        timing: &Timing,
    ) -> Result<Option<u64>, NodeError> {
        let mechanism = Mechanism::SockDestroy;
        let cannot = |reason: String| {
            NodeError::Unsupported(format!(
                "fault {}: this node can't do {}:\n  {mechanism}: {reason}",
                fault.id,
                fault.kind.name()
            ))
        };
        support::try_out(&fault.kind, mechanism).map_err(|missing| cannot(missing.reason))?;
        // Nothing here asks by hook: any does. Validation lets no such fault have another target.
        let spec = fault::compile(fault, Hook::FileOpenLsm, index, 0, timing);
        let targets = Targets::new(&self.tree, &held.target, &held.excluded);
        let (Some(spec), Some(targets)) = (spec, targets) else {
            return Err(cannot("a connection is a cgroup's".to_owned()));
        };
        self.resets.add(targets, spec).map(Some).map_err(cannot)
    }

    /// Turns the knob of a fault that is done by one, now or when it is due.
    fn turn(
        &mut self,
        fault: &Fault,
        target: &Resolved,
        timing: &Timing,
    ) -> Result<Option<u64>, NodeError> {
        let cannot = |reason: &str| {
            NodeError::Unsupported(format!(
                "fault {}: this node can't do {}:\n  {}: {reason}",
                fault.id,
                fault.kind.name(),
                Mechanism::CgroupKnob
            ))
        };
        let Some(wanted) = fault::knob(&fault.kind) else {
            return Err(cannot("no control file does it"));
        };
        // Validation lets no such fault have another target.
        let Resolved::Cgroups(cgroups) = target else {
            return Err(cannot("the limit is a cgroup's"));
        };
        let [cgroup] = cgroups.as_slice() else {
            return Err(cannot("each cgroup has a limit of its own"));
        };
        let (start_ns, deadline_ns) = fault::lifetime(fault, timing);
        let id = self
            .knobs
            .add(cgroup, &wanted, start_ns, deadline_ns)
            .map_err(|error| match error {
                KnobError::Unsupported(reason) => cannot(&reason),
                other => NodeError::from(other),
            })?;
        Ok(Some(id))
    }

    fn draw_rule(&mut self) -> RuleNumber {
        let rule = self.next_rule;
        // The last number belongs to the self-test.
        self.next_rule = if rule >= RuleNumber::MAX - 1 {
            1
        } else {
            rule + 1
        };
        rule
    }

    fn disarm(&self, slot: u32) -> Result<(), NodeError> {
        match self.ways.plane() {
            Some(plane) => Ok(plane.disarm(slot)?),
            None => Ok(()),
        }
    }

    fn lapsed(&self, slot: u32) -> bool {
        self.ways.plane().is_some_and(|plane| plane.lapsed(slot))
    }

    fn statuses(&self, id: &str, live: &Live) -> Result<PlanStatus, NodeError> {
        let now_ns = boot::time_ns();
        let faults = live
            .faults
            .iter()
            .map(|fault| {
                let KnobStatus { counters, ended } = self.evidence(live, fault.work)?;
                let missed = match fault.work {
                    Work::Rule { way, rule } => self.ways.missed(way, rule),
                    Work::Clock(Some(id)) => self.clocks.late(id),
                    Work::Over { .. } | Work::Knob(_) | Work::Clock(None) | Work::Reset(_) => 0,
                };
                Ok(FaultStatus {
                    fault: fault.id.clone(),
                    word: fault.word.clone(),
                    target: fault.target.to_string(),
                    mechanism: fault.mechanism(),
                    not_covered: fault.not_covered.clone(),
                    remaining: Duration::from_nanos(fault.deadline_ns.saturating_sub(now_ns)),
                    ended: fault.target.gone().or(ended),
                    counters,
                    uncounted: fault.kept.uncounted + missed,
                    late: fault.kept.late,
                    trail: self.trail(fault)?,
                })
            })
            .collect::<Result<Vec<_>, NodeError>>()?;
        Ok(PlanStatus {
            id: id.to_owned(),
            faults,
        })
    }

    /// Reads what the kernel has told since the last time, and sorts it by fault. To be called often
    /// enough that its buffer does not overflow.
    pub(crate) fn collect(&mut self) {
        self.ways.replace_pauser();
        self.follow_namespaces();
        let Some(plane) = self.ways.plane_mut() else {
            return;
        };
        let events = plane.events();
        let mut mappings = Mappings::default();
        let mut by_rule: HashMap<RuleNumber, &mut Kept> = HashMap::new();
        for fault in self.plans.values_mut().flat_map(|live| &mut live.faults) {
            let Work::Rule { rule, .. } = fault.work else {
                continue;
            };
            if let Err(error) = plane.record(rule, &mut fault.kept.record) {
                tracing::warn!(rule, %error, "the record can't be read");
            }
            match plane.uncounted(rule) {
                Ok(uncounted) => fault.kept.uncounted = uncounted,
                Err(error) => tracing::warn!(rule, %error, "what passed uncounted can't be read"),
            }
            match plane.late(rule) {
                Ok(late) => fault.kept.late = late,
                Err(error) => tracing::warn!(rule, %error, "how late packets were can't be read"),
            }
            by_rule.insert(rule, &mut fault.kept);
        }
        // One of a rule that is gone is of no use to anybody any more.
        for sampled in events {
            match sampled {
                Sampled::Event(event) => {
                    if let Some(kept) = by_rule.get_mut(&event.rule) {
                        kept.add(&event);
                    }
                }
                Sampled::Stack {
                    rule,
                    ordinal,
                    frames,
                } => {
                    if let Some(kept) = by_rule.get_mut(&rule) {
                        kept.add_stack(ordinal, &frames, &mut mappings);
                    }
                }
            }
        }
        self.drop_gone();
    }

    /// Attaches to the network devices that have come since.
    fn follow_namespaces(&mut self) {
        // It is called by whoever asks for a status.
        if self.followed.elapsed() < FOLLOW {
            return;
        }
        self.followed = Instant::now();
        for fault in self.plans.values().flat_map(|live| &live.faults) {
            let Work::Rule { way, rule } = fault.work else {
                continue;
            };
            let Ok((plane, hooks)) = self.ways.get(way) else {
                continue;
            };
            if !hooks.needs_namespaces() {
                continue;
            }
            let covered = fault
                .target
                .namespaces(&self.tree, &fault.excluded)
                .map_err(NodeError::from)
                .and_then(|namespaces| Ok(hooks.cover(plane, rule, &namespaces)?));
            if let Err(error) = covered {
                tracing::warn!(rule, %error, "a network device is not covered");
            }
        }
    }

    /// Takes the rules out whose target is gone, while other faults of their plan live on.
    fn drop_gone(&mut self) {
        let mut dropped = Vec::new();
        for fault in self.plans.values_mut().flat_map(|live| &mut live.faults) {
            let Work::Rule { way, rule } = fault.work else {
                continue;
            };
            if fault.target.gone().is_none() {
                continue;
            }
            let Some(Ok(last)) = self.ways.plane().map(|plane| plane.counters(rule)) else {
                continue;
            };
            fault.work = Work::Over { way, last };
            dropped.push((way, rule));
        }
        for (way, rule) in &dropped {
            self.ways.remove(*way, *rule);
        }
        if !dropped.is_empty() {
            self.ways.drop_idle();
        }
    }

    fn trail(&self, fault: &LiveFault) -> Result<Trail, NodeError> {
        match (fault.work, self.ways.plane()) {
            (Work::Rule { .. }, Some(plane)) => Ok(fault.kept.trail(plane.events_lost()?)),
            // Its own were read before it was taken out.
            (Work::Over { .. }, _) => Ok(fault.kept.trail(0)),
            (Work::Reset(Some(id)), _) => Ok(self.resets.status(id).trail),
            _ => Ok(Trail::default()),
        }
    }

    fn evidence(&self, live: &Live, work: Work) -> Result<KnobStatus, NodeError> {
        match work {
            Work::Rule { way, rule } => {
                let plane = self.ways.plane().ok_or_else(|| lost(way))?;
                let lapsed = live.lapsed || plane.lapsed(live.slot);
                Ok(KnobStatus {
                    counters: plane.counters(rule)?,
                    ended: lapsed.then(|| {
                        let lease = format_duration(self.lease);
                        format!("kchaos did not run for longer than its lease of {lease}")
                    }),
                })
            }
            Work::Over { last, .. } => Ok(KnobStatus {
                counters: last,
                ended: None,
            }),
            Work::Knob(id) => Ok(id.map(|id| self.knobs.status(id)).unwrap_or_default()),
            Work::Reset(id) => {
                let status = id.map(|id| self.resets.status(id)).unwrap_or_default();
                Ok(KnobStatus {
                    counters: status.counters,
                    ended: status.ended,
                })
            }
            Work::Clock(id) => Ok(id.map(|id| self.clocks.status(id)).unwrap_or_default()),
        }
    }

    fn free_slot(&self) -> Result<u32, NodeError> {
        (0..support::SELF_TEST_PLAN)
            .find(|slot| !self.plans.values().any(|live| live.slot == *slot))
            .ok_or_else(|| {
                NodeError::Unsupported(format!("a node can hold {} plans at a time", PLANS - 1))
            })
    }

    /// Takes the rules of a plan out of the kernel, and whatever only they needed.
    fn remove(&mut self, live: &Live) {
        for fault in &live.faults {
            match fault.work {
                Work::Rule { way, rule } => self.ways.remove(way, rule),
                Work::Knob(None) | Work::Clock(None) | Work::Reset(None) | Work::Over { .. } => {}
                Work::Reset(Some(id)) => self.resets.remove(id),
                Work::Clock(Some(id)) => self.clocks.end(id),
                Work::Knob(Some(id)) => {
                    if let Err(error) = self.knobs.remove(id) {
                        tracing::error!(fault = fault.id, %error, "left to the guard");
                    }
                }
            }
        }
        self.ways.drop_idle();
    }
}

impl NodeControl for Node {
    fn apply(&mut self, plan: &Plan) -> Result<PlanStatus, NodeError> {
        if self.plans.contains_key(&plan.id) {
            return Err(bad(
                "id".to_owned(),
                "a plan of this identity lives here already",
            ));
        }
        if let Some(file) = self.state.disabled() {
            return Err(NodeError::Unsupported(format!(
                "{} forbids faults on this machine: remove it to allow them",
                file.display()
            )));
        }
        plan.experiment
            .validate(Complete::Plan)
            .map_err(|violations| bad("spec".to_owned(), &violations.to_string()))?;
        let mut live = Live {
            slot: self.free_slot()?,
            lapsed: false,
            faults: Vec::new(),
        };
        let armed = self
            .try_apply(plan, &mut live)
            .and_then(|()| self.statuses(&plan.id, &live));
        match armed {
            Ok(status) => {
                self.plans.insert(plan.id.clone(), live);
                Ok(status)
            }
            Err(error) => {
                if let Err(disarm) = self.disarm(live.slot) {
                    tracing::warn!(%disarm, "plan could not be disarmed");
                }
                self.remove(&live);
                Err(error)
            }
        }
    }

    fn status(&mut self, id: &str) -> Result<PlanStatus, NodeError> {
        self.collect();
        let live = self
            .plans
            .get(id)
            .ok_or_else(|| NodeError::UnknownPlan(id.to_owned()))?;
        self.statuses(id, live)
    }

    fn stop(&mut self, id: &str) -> Result<PlanStatus, NodeError> {
        let slot = self
            .plans
            .get(id)
            .ok_or_else(|| NodeError::UnknownPlan(id.to_owned()))?
            .slot;
        let lapsed = self.lapsed(slot);
        let disarmed = self.disarm(slot);
        // Nothing more comes of this plan now.
        self.collect();
        let mut live = self
            .plans
            .remove(id)
            .ok_or_else(|| NodeError::UnknownPlan(id.to_owned()))?;
        live.lapsed = lapsed;
        for fault in &live.faults {
            if let Work::Reset(Some(id)) = fault.work {
                self.resets.stop(id);
            }
        }
        let last = self.statuses(id, &live);
        self.remove(&live);
        disarmed.and(last)
    }
}

/// For people: a fault can name thousands of networks.
fn shortened(mut word: String) -> String {
    const MOST: usize = 1024;
    if word.len() > MOST {
        word.truncate(word.floor_char_boundary(MOST));
        word.push('…');
    }
    word
}

fn timing(now_ns: u64, fault: &Fault, experiment: &Experiment) -> Option<Timing> {
    Some(Timing {
        now_ns,
        duration: fault.common.duration.or(experiment.duration)?,
        seed: experiment.seed.unwrap_or(0),
    })
}
