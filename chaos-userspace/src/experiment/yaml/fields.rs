//! The fields of one mapping: which there are, and what is said about those that there are not.

use std::collections::HashSet;

use super::tree::Node;
use crate::experiment::{
    keys::{IN_BLOCK, KINDS, Kind, ON_FAULT, PLANNED_KEYS, is_planned_kind, no_such_kind},
    violation::{BadValue, Collector, Violation},
    wording::{nearest, shown},
};

/// Which mapping of an experiment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    Top,
    Metadata,
    Spec,
    Target,
    Fault,
    Block(&'static Kind),
    Check,
    Evidence,
}

impl Level {
    fn fields(self) -> Vec<&'static str> {
        match self {
            Self::Top => vec!["apiVersion", "kind", "metadata", "spec"],
            Self::Metadata => vec!["name"],
            Self::Spec => vec!["target", "duration", "seed", "faults", "checks"],
            Self::Target => vec!["cgroup", "cgroups", "unit", "pid", "command"],
            Self::Fault => {
                let on_fault = ON_FAULT.iter().map(|key| key.name);
                let kinds = Kind::every().map(|kind| kind.block);
                ["id", "target"]
                    .into_iter()
                    .chain(on_fault)
                    .chain(kinds)
                    .collect()
            }
            Self::Check => vec!["id", "evidence", "pass", "at", "onFail"],
            Self::Evidence => vec!["fault", "field"],
            Self::Block(kind) => kind.block_keys().map(|key| key.name).collect(),
        }
    }

    /// Those of them that are worth naming: a kind has all that every kind has, and refuses some of it.
    fn offered(self) -> Vec<&'static str> {
        match self {
            Self::Block(kind) => {
                let keys = kind.block_keys().filter(|key| kind.uses(key));
                keys.map(|key| key.name).collect()
            }
            _ => self.fields(),
        }
    }

    /// Fields that a later version has.
    fn planned(self) -> &'static [&'static str] {
        match self {
            Self::Metadata => &["namespace", "labels", "annotations"],
            Self::Spec => &["contactTimeout", "onLostContact"],
            Self::Check => &["http", "tcp", "prometheus", "exec"],
            Self::Target => &["pods", "container"],
            Self::Block(_) => &PLANNED_KEYS,
            Self::Top | Self::Fault | Self::Evidence => &[],
        }
    }
}

/// The known fields of a mapping.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    known: Vec<(&'static str, &'t Node<'t>)>,
    unknown: bool,
    unknown_kind: bool,
}

impl<'t> Fields<'t> {
    pub(super) fn get(&self, name: &str) -> Option<&'t Node<'t>> {
        self.known
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, node)| *node)
    }

    /// Whether there was a field that is none, which has been said.
    pub(super) fn has_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether there was a field that was probably meant as a kind, which has been said.
    pub(super) fn has_unknown_kind(&self) -> bool {
        self.unknown_kind
    }
}

/// The fields of `node`; everything else in it is a violation.
pub(super) fn fields<'t>(
    node: &'t Node<'t>,
    path: &str,
    level: Level,
    found: &mut Collector,
) -> Fields<'t> {
    let mut fields = Fields {
        known: Vec::new(),
        unknown: false,
        unknown_kind: false,
    };
    let names = level.fields();
    let offered = || level.offered();
    let Node::Map(pairs) = node else {
        found.push(no_mapping(path, node, &offered()));
        return fields;
    };
    // The kind of a fault, for saying where in it a field belongs.
    let block = pairs.iter().find_map(|(key, _)| match key {
        Node::Text(key) => Kind::of_block(key),
        _ => None,
    });
    let mut seen = HashSet::new();
    for (key, value) in pairs {
        let Node::Text(key) = key else {
            let problem = format!("a key is {} instead of a word", key.describe());
            let remedy = format!("fields here: {}", offered().join(", "));
            found.push(Violation::new(path, problem).with_remedy(remedy));
            continue;
        };
        let field = if path.is_empty() {
            shown(key)
        } else {
            format!("{path}.{}", shown(key))
        };
        if !seen.insert(key.as_ref()) {
            found.push(Violation::new(field, "is given twice").with_remedy("give it once"));
        } else if let Some(name) = names.iter().find(|name| **name == key.as_ref()) {
            fields.known.push((name, value));
        } else {
            fields.unknown = true;
            fields.unknown_kind |= is_planned_kind(key, true)
                || nearest(key, names.iter().copied())
                    .and_then(Kind::of_block)
                    .is_some();
            found.push(Violation::of(
                field,
                no_such_field(key, path, level, &offered(), block),
            ));
        }
    }
    fields
}

fn no_mapping(path: &str, node: &Node<'_>, names: &[&str]) -> Violation {
    let remedy = format!("its fields: {}", names.join(", "));
    let problem = match (path, node) {
        ("", node) => format!("the file is {} instead of a mapping", node.describe()),
        (_, Node::Null) => "is empty".to_owned(),
        (_, node) => format!("is {} instead of a mapping", node.describe()),
    };
    Violation::new(path, problem).with_remedy(remedy)
}

fn no_such_field(
    key: &str,
    path: &str,
    level: Level,
    names: &[&str],
    block: Option<&'static Kind>,
) -> BadValue {
    let fields_are = || format!("fields here: {}", names.join(", "));
    if level.planned().contains(&key) {
        return BadValue::new("is not in this version", fields_are());
    }
    if let Some(place) = right_place(key, path, level, block) {
        return BadValue::new("does not belong here", format!("it is {place}"));
    }
    if matches!(level, Level::Fault) && is_planned_kind(key, true) {
        return no_such_kind(key, true);
    }
    let remedy = match nearest(key, names.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None => fields_are(),
    };
    BadValue::new("unknown field", remedy)
}

/// Where a field belongs that is right somewhere else; `here` is the kind of the fault at hand.
fn right_place(key: &str, path: &str, level: Level, here: Option<&'static Kind>) -> Option<String> {
    let has_key = |kind: &&Kind| kind.block_keys().any(|block_key| block_key.name == key);
    let block = if IN_BLOCK.iter().any(|common| common.name == key) {
        Some(here.map_or("<kind>", |kind| kind.block))
    } else {
        here.filter(has_key)
            .or_else(|| KINDS.iter().find(has_key))
            .map(|kind| kind.block)
    };
    let is_useless = |kind: &Kind| ON_FAULT.iter().any(|on| on.name == key && !kind.uses(on));
    let on_fault = Level::Fault.fields().contains(&key);
    match level {
        Level::Top | Level::Metadata if Level::Spec.fields().contains(&key) => {
            Some(format!("spec.{key}"))
        }
        Level::Top | Level::Spec if key == "name" => Some("metadata.name".to_owned()),
        Level::Top | Level::Metadata | Level::Spec if on_fault => {
            Some(format!("spec.faults[N].{key}"))
        }
        Level::Top | Level::Metadata | Level::Spec => {
            block.map(|block| format!("spec.faults[N].{block}.{key}"))
        }
        Level::Fault => block.map(|block| format!("{path}.{block}.{key}")),
        Level::Block(kind) if on_fault && !is_useless(kind) => {
            let fault = path.rsplit_once('.').map_or(path, |(fault, _)| fault);
            Some(format!("{fault}.{key}"))
        }
        Level::Target | Level::Block(_) | Level::Check | Level::Evidence => None,
    }
}
