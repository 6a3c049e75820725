//! The programs of links, in the network namespaces that targets are in: see [`crate::lane`].

use std::collections::{HashMap, HashSet};

use super::{
    EngineError, Object, Plane, RuleNumber,
    loader::{Code, Place, Program},
};
use crate::{
    experiment::Mechanism,
    journal::Journal,
    lane::{Lane, LaneError, Programs},
    target::Netns,
};

/// A packet leaves, and arrives; it comes back from our own device; and it is on its way.
const OUT: &str = "net_link_out";
const IN: &str = "net_link_in";
const BACK: &str = "net_link_back";
const SHAPE: &str = "net_link_shape";

/// The lanes of one node, by namespace.
#[derive(Debug)]
pub(super) struct Lanes {
    object: Object,
    mechanism: Mechanism,
    /// Where they are written down; without one they end with their namespaces.
    journal: Option<Journal>,
    namespaces: HashMap<u32, Held>,
    /// Which namespaces a rule needs.
    wanted: HashMap<RuleNumber, HashSet<u32>>,
    /// Whether some rule has been about what arrives.
    arriving: bool,
}

#[derive(Debug)]
struct Held {
    /// Before its programs, which it has.
    lane: Lane,
    out: Program,
    into: Program,
    back: Program,
}

impl Lanes {
    /// Loads nothing before a namespace needs it: whether the kernel takes it, a self-test finds out.
    pub(super) fn new(object: Object, mechanism: Mechanism) -> Self {
        Self {
            object,
            mechanism,
            journal: None,
            namespaces: HashMap::new(),
            wanted: HashMap::new(),
            arriving: false,
        }
    }

    /// Has lanes written down from now on.
    pub(super) fn keep_journal(&mut self, journal: &Journal) {
        self.journal = Some(journal.clone());
    }

    /// A copy of the programs that knows where it is.
    fn code(&self, plane: &Plane, netns: u32, device: u32) -> Result<Code, EngineError> {
        let constants = [("NETNS", netns), ("DEVICE", device)];
        Code::prepare(self.object, self.mechanism, &constants, &plane.maps)
    }

    /// Has lanes in the namespaces that a rule needs now, over which every device of them goes, and in none that
    /// no rule needs any more. Devices and namespaces come and go, so this is done again from time to time.
    pub(super) fn cover(
        &mut self,
        plane: &Plane,
        rule: RuleNumber,
        namespaces: &[Netns],
        arriving: bool,
    ) -> Result<(), EngineError> {
        self.arriving |= arriving;
        self.wanted
            .insert(rule, namespaces.iter().map(Netns::id).collect());
        // What can't be done in one of them is no reason to leave the others.
        let covered: Vec<_> = namespaces
            .iter()
            .map(|netns| self.cover_one(plane, netns))
            .collect();
        self.drop_unwanted();
        covered.into_iter().collect()
    }

    /// A rule is gone.
    pub(super) fn leave(&mut self, rule: RuleNumber) {
        self.wanted.remove(&rule);
        self.drop_unwanted();
    }

    fn drop_unwanted(&mut self) {
        let wanted: HashSet<u32> = self.wanted.values().flatten().copied().collect();
        self.namespaces.retain(|id, _| wanted.contains(id));
    }

    fn cover_one(&mut self, plane: &Plane, netns: &Netns) -> Result<(), EngineError> {
        // Once more if somebody has taken away what was there, as the guard does of a process that was held.
        for _ in 0..2 {
            let mut held = match self.namespaces.remove(&netns.id()) {
                Some(held) => held,
                None => self.make(plane, netns)?,
            };
            let programs = Programs {
                out: held.out.fd(),
                back: held.back.fd(),
                into: self.arriving.then(|| held.into.fd()),
            };
            match held.lane.cover(programs) {
                Ok(true) => {
                    self.namespaces.insert(netns.id(), held);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => {
                    // What is covered stays covered until the rule goes.
                    self.namespaces.insert(netns.id(), held);
                    return Err(refused(self.mechanism, &error));
                }
            }
        }
        Ok(())
    }

    fn make(&self, plane: &Plane, netns: &Netns) -> Result<Held, EngineError> {
        let lane = Lane::make(netns, self.journal.as_ref())
            .map_err(|error| refused(self.mechanism, &error))?;
        let code = self.code(plane, netns.id(), lane.device())?;
        let shape = code.load(SHAPE, Place::Filter)?;
        lane.shape(shape.fd())
            .map_err(|error| refused(self.mechanism, &error))?;
        Ok(Held {
            lane,
            out: code.load(OUT, Place::Filter)?,
            into: code.load(IN, Place::Filter)?,
            back: code.load(BACK, Place::Filter)?,
        })
    }
}

fn refused(mechanism: Mechanism, error: &LaneError) -> EngineError {
    EngineError::Refused {
        mechanism,
        program: Object::NetLink.name(),
        reason: error.to_string(),
    }
}
