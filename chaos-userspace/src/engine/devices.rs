//! Programs on the network devices of the namespaces that targets are in: what leaves a namespace is
//! decided there, where its socket is still known and its sender has counted it as sent, and what arrives
//! can be changed there.

use std::collections::{HashMap, HashSet};

use aya_obj::generated::bpf_attach_type::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS};
use nix::net::if_::{Interface, if_nameindex};

use super::{
    EngineError, Object, Plane, RuleNumber,
    loader::{Code, Link, Place, Program},
};
use crate::{experiment::Mechanism, target::Netns};

/// The programs of one object, by namespace.
#[derive(Debug)]
pub(super) struct Devices {
    object: Object,
    mechanism: Mechanism,
    /// The program's, and where it stands.
    name: &'static str,
    at: bpf_attach_type,
    namespaces: HashMap<u32, Held>,
    /// Which namespaces a rule needs.
    wanted: HashMap<RuleNumber, HashSet<u32>>,
}

/// A namespace with the program on all of its devices.
#[derive(Debug)]
struct Held {
    netns: Netns,
    program: Program,
    /// By the number of the device.
    links: HashMap<u32, Link>,
}

impl Devices {
    /// For what leaves.
    pub(super) fn leaving(object: Object, mechanism: Mechanism, name: &'static str) -> Self {
        Self::new(object, mechanism, name, BPF_TCX_EGRESS)
    }

    /// For what arrives.
    pub(super) fn arriving(object: Object, mechanism: Mechanism, name: &'static str) -> Self {
        Self::new(object, mechanism, name, BPF_TCX_INGRESS)
    }

    /// Loads nothing before a namespace needs it: whether the kernel takes it, a self-test finds out.
    fn new(object: Object, mechanism: Mechanism, name: &'static str, at: bpf_attach_type) -> Self {
        Self {
            object,
            mechanism,
            name,
            at,
            namespaces: HashMap::new(),
            wanted: HashMap::new(),
        }
    }

    /// A copy of the program that knows in which namespace it is.
    fn program(&self, plane: &Plane, netns: u32) -> Result<Program, EngineError> {
        let constants = [("NETNS", netns)];
        Code::prepare(self.object, self.mechanism, &constants, &plane.maps)?
            .load(self.name, Place::Device)
    }

    /// Attaches to every device of the namespaces that a rule needs now, and detaches from those that no
    /// rule needs any more. Devices and namespaces come and go, so this is done again from time to time.
    pub(super) fn cover(
        &mut self,
        plane: &Plane,
        rule: RuleNumber,
        namespaces: &[Netns],
    ) -> Result<(), EngineError> {
        let needed = namespaces.iter().map(Netns::id).collect();
        self.wanted.insert(rule, needed);
        // What can't be done in one of them is no reason to leave the others.
        let covered: Vec<_> = namespaces
            .iter()
            .map(|netns| self.attach(plane, netns))
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

    fn attach(&mut self, plane: &Plane, netns: &Netns) -> Result<(), EngineError> {
        let refused = |program: &'static str, reason: String| EngineError::Refused {
            mechanism: self.mechanism,
            program,
            reason,
        };
        let (name, at) = (self.name, self.at);
        let mut held = match self.namespaces.remove(&netns.id()) {
            Some(held) => held,
            None => Held {
                netns: netns.clone(),
                program: self.program(plane, netns.id())?,
                links: HashMap::new(),
            },
        };
        let (program, links) = (&held.program, &mut held.links);
        let attached = held.netns.enter(|| {
            let devices = if_nameindex().map_err(|errno| format!("list devices: {errno}"))?;
            let there: HashSet<u32> = devices.iter().map(Interface::index).collect();
            links.retain(|index, _| there.contains(index));
            let mut result = Ok(());
            for device in &devices {
                let index = device.index();
                if links.contains_key(&index) {
                    continue;
                }
                match program.attach_to_device(index, at) {
                    Ok(link) => {
                        links.insert(index, link);
                    }
                    // It is gone again.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => {
                        let device = device.name().to_string_lossy();
                        result = Err(format!("attach to the device {device}: {error}"));
                    }
                }
            }
            result
        });
        // What is attached stays attached until the rule goes.
        self.namespaces.insert(netns.id(), held);
        attached
            .map_err(|error| refused(name, format!("enter the network namespace: {error}")))?
            .map_err(|reason| refused(name, reason))
    }
}
