//! From the tree to an experiment, with everything that is wrong on the way.
//!
//! Whatever is bad gets a value that breaks no rule, so that the walk goes on to the end.

use std::time::Duration;

use super::{
    API_VERSION, KIND,
    fields::{Level, fields},
    tree::Node,
};
use crate::experiment::{
    Complete, Experiment, Fault, Target,
    keys::{KINDS, Kind, ON_FAULT},
    validate::number_ids,
    violation::{Collector, Violation, Violations},
    wording::{all_of, quoted},
};

pub(super) fn experiment(root: &Node<'_>, complete: Complete) -> Result<Experiment, Violations> {
    let mut walk = Walk {
        found: Collector::default(),
        short: Vec::new(),
    };
    let experiment = walk.experiment(root);
    experiment.rules(complete, &mut walk.found);
    for (block, short) in &walk.short {
        walk.found.rename(block, short);
    }
    walk.found.sort_by_key(|violation| order(&violation.field));
    walk.found.finish(experiment)
}

/// Fault by fault, behind what concerns all of them.
fn order(field: &str) -> (u8, usize) {
    let Some(below) = field.strip_prefix("spec.faults[") else {
        return (u8::from(field.starts_with("spec")), 0);
    };
    let index = below.split(']').next().and_then(|index| index.parse().ok());
    (2, index.unwrap_or(0))
}

pub(super) struct Walk {
    pub(super) found: Collector,
    /// For each block with a short name, as the rules call it and as the file does, with its path.
    short: Vec<(String, String)>,
}

impl Walk {
    pub(super) fn push(
        &mut self,
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: &str,
    ) {
        self.found
            .push(Violation::new(field, problem).with_remedy(remedy));
    }

    pub(super) fn wrong_type(&mut self, field: &str, found: &Node<'_>, wanted: &str, remedy: &str) {
        let problem = match found {
            Node::Null => "is empty".to_owned(),
            found => format!("is {} instead of {wanted}", found.describe()),
        };
        self.push(field, problem, remedy);
    }

    fn experiment(&mut self, root: &Node<'_>) -> Experiment {
        let top = fields(root, "", Level::Top, &mut self.found);
        if !matches!(root, Node::Map(_)) {
            return placeholder_experiment();
        }
        self.constant("apiVersion", top.get("apiVersion"), API_VERSION);
        self.constant("kind", top.get("kind"), KIND);
        let name = self.metadata(top.get("metadata"));
        let Some(node) = top.get("spec") else {
            self.push(
                "spec",
                "is missing",
                "it says what is hit, for how long and how",
            );
            return Experiment {
                name,
                ..placeholder_experiment()
            };
        };
        let spec = fields(node, "spec", Level::Spec, &mut self.found);
        if !matches!(node, Node::Map(_)) {
            return Experiment {
                name,
                ..placeholder_experiment()
            };
        }
        let target = spec
            .get("target")
            .map(|node| self.target("spec.target", node));
        let duration = spec
            .get("duration")
            .map(|node| self.duration("spec.duration", node));
        let seed = spec
            .get("seed")
            .and_then(|node| self.number("spec.seed", node, "42"));
        let faults = match spec.get("faults") {
            Some(Node::List(faults)) => self.faults(faults),
            Some(other) => {
                self.wrong_type("spec.faults", other, "a list", "begin each fault with '- '");
                vec![placeholder()]
            }
            None => Vec::new(),
        };
        let checks = spec
            .get("checks")
            .map(|node| self.checks(node))
            .unwrap_or_default();
        Experiment {
            name,
            target,
            duration,
            seed,
            faults,
            checks,
        }
    }

    fn constant(&mut self, field: &str, node: Option<&Node<'_>>, wanted: &str) {
        let remedy = format!("say {field}: {wanted}");
        match node {
            None => self.push(field, "is missing", &remedy),
            Some(Node::Text(text)) if text == wanted => {}
            Some(Node::Text(text)) => {
                self.push(
                    field,
                    format!("{} is not in this version", quoted(text)),
                    &remedy,
                );
            }
            Some(other) => self.wrong_type(field, other, "a text", &remedy),
        }
    }

    fn metadata(&mut self, node: Option<&Node<'_>>) -> String {
        let name = match node {
            Some(node @ Node::Map(_)) => {
                let metadata = fields(node, "metadata", Level::Metadata, &mut self.found);
                let name = metadata.get("name");
                if name.is_none() {
                    let remedy = "say a name, such as name: pg-fsync";
                    self.push("metadata.name", "is missing", remedy);
                }
                name.and_then(|name| self.text("metadata.name", name, "pg-fsync"))
            }
            Some(other) => {
                self.wrong_type(
                    "metadata",
                    other,
                    "a mapping",
                    "say metadata: {name: pg-fsync}",
                );
                None
            }
            None => {
                self.push(
                    "metadata.name",
                    "is missing",
                    "say metadata: {name: pg-fsync}",
                );
                None
            }
        };
        name.unwrap_or_else(|| "placeholder".to_owned())
    }

    fn faults(&mut self, nodes: &[Node<'_>]) -> Vec<Fault> {
        let max = Experiment::MAX_FAULTS;
        if nodes.len() > max {
            let problem = format!("has {} faults", nodes.len());
            self.push("spec.faults", problem, &format!("say at most {max}"));
        }
        let (mut faults, is_default): (Vec<Fault>, Vec<bool>) = nodes
            .iter()
            .take(max)
            .enumerate()
            .map(|(i, node)| self.fault(&format!("spec.faults[{i}]"), node))
            .unzip();
        number_ids(&mut faults, &is_default);
        faults
    }

    /// A fault, and whether its id is the default.
    fn fault(&mut self, path: &str, node: &Node<'_>) -> (Fault, bool) {
        let found = fields(node, path, Level::Fault, &mut self.found);
        if !matches!(node, Node::Map(_)) {
            return (placeholder(), true);
        }
        let blocks: Vec<&'static Kind> = Kind::every()
            .filter(|kind| found.get(kind.block).is_some())
            .collect();
        let mut fault = match blocks.as_slice() {
            [] => {
                if !found.has_unknown_kind() {
                    let names = KINDS.each_ref().map(|kind| kind.block);
                    self.push(
                        path,
                        "says no kind of fault",
                        &format!("there are {}", all_of(&names)),
                    );
                }
                placeholder()
            }
            [kind, others @ ..] => {
                if !others.is_empty() {
                    let names: Vec<&str> = blocks.iter().map(|kind| kind.block).collect();
                    let problem = format!("is of {} kinds: {}", names.len(), all_of(&names));
                    self.push(path, problem, "make it one fault for each");
                }
                let mut fault = kind.fault();
                let block = fault.kind.block();
                if block != kind.block {
                    let at = |block: &str| format!("{path}.{block}.");
                    self.short.push((at(block), at(kind.block)));
                }
                if let Some(block) = found.get(kind.block) {
                    self.block(&format!("{path}.{}", kind.block), kind, block, &mut fault);
                }
                fault
            }
        };
        for key in &ON_FAULT {
            if let Some(value) = found.get(key.name) {
                self.value(&format!("{path}.{}", key.name), key, value, &mut fault);
            }
        }
        fault.target = found
            .get("target")
            .map(|target| self.target(&format!("{path}.target"), target));
        let id = found
            .get("id")
            .map(|id| self.text(&format!("{path}.id"), id, "fsync"));
        match id {
            Some(Some(id)) => {
                fault.id = id;
                (fault, false)
            }
            _ => (fault, true),
        }
    }

    fn block(&mut self, path: &str, kind: &'static Kind, node: &Node<'_>, fault: &mut Fault) {
        let found = fields(node, path, Level::Block(kind), &mut self.found);
        let is_map = matches!(node, Node::Map(_));
        for key in kind.required {
            if found.get(key.name).is_none() {
                if is_map {
                    let remedy = format!("say {}: {}", key.name, key.example);
                    self.push(format!("{path}.{}", key.name), "is missing", &remedy);
                }
                fault.fill(kind, key.name);
            }
        }
        if !is_map {
            // No rule about what was not said.
            drop(fault.set("direction", "ingress"));
            drop(fault.set("delay", "1ms"));
        }
        for key in kind.block_keys() {
            let Some(value) = found.get(key.name) else {
                continue;
            };
            if !self.value(&format!("{path}.{}", key.name), key, value, fault) {
                fault.fill(kind, key.name);
            }
        }
    }
}

/// Stands for a fault that can't be read.
fn placeholder() -> Fault {
    let kind = Kind::stand_in();
    let mut fault = kind.fault();
    fault.fill(kind, "ops");
    fault
}

/// Breaks no rule.
fn placeholder_experiment() -> Experiment {
    Experiment {
        name: "placeholder".to_owned(),
        target: Some(placeholder_target()),
        duration: Some(Duration::from_secs(1)),
        seed: None,
        faults: vec![placeholder()],
        checks: Vec::new(),
    }
}

/// Breaks no rule.
pub(super) fn placeholder_target() -> Target {
    Target::Cgroup("/placeholder".to_owned())
}
