//! The values of fields: of the right type, then through the parsers that fault words have too.

use std::time::Duration;

use super::{
    fields::{Level, fields},
    tree::Node,
    walk::{Walk, placeholder_target},
};
use crate::experiment::{
    Fault, FaultKind, Target,
    keys::{Key, Type},
    names::bad_pid,
    net_link::OF_LINK,
    quantity::parse_duration,
    set::parse_count,
    violation::{BadValue, Violation},
    wording::{all_of, either},
};

impl Type {
    /// What a message calls it.
    fn describe(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Count => "a whole number",
            Self::CountOrText => "a number or a text",
            Self::Flag => "true or false",
            Self::List => "a list",
        }
    }
}

impl Walk {
    /// Sets a key of a fault; whether the value is good.
    pub(super) fn value(
        &mut self,
        path: &str,
        key: &Key,
        node: &Node<'_>,
        fault: &mut Fault,
    ) -> bool {
        let text = match (key.ty, node) {
            (Type::List, Node::List(items)) => return self.list(path, key, items, fault),
            // The value's own parser says best why a number is none of its texts.
            (Type::Text | Type::CountOrText, Node::Text(text) | Node::Number(text))
            | (Type::Count, Node::Number(text)) => text.as_ref(),
            (Type::Flag, Node::Flag(true)) => "true",
            (Type::Flag, Node::Flag(false)) => "false",
            _ => {
                let remedy = match (key.ty, node) {
                    (Type::Count, Node::Text(text)) if parse_count(text).is_ok() => {
                        "leave the quotes out".to_owned()
                    }
                    _ => format!("such as {}: {}", key.name, key.example),
                };
                self.wrong_type(path, node, key.ty.describe(), &remedy);
                // Where the default would break a rule of its own, a value that does not. All that a link
                // does may be left out, but not all of it.
                let of_link = matches!(fault.kind, FaultKind::NetLink(_))
                    && OF_LINK.iter().any(|own| own.name == key.name);
                if of_link && key.ty == Type::Text || matches!(key.name, "direction" | "duration") {
                    drop(fault.set(key.name, key.example));
                }
                return false;
            }
        };
        self.set(path, key, text, fault)
    }

    fn set(&mut self, path: &str, key: &Key, text: &str, fault: &mut Fault) -> bool {
        let result = fault.set(key.name, text);
        let good = result.is_ok();
        self.found
            .extend(result.err().map(|bad| Violation::of(path, bad)));
        good
    }

    fn list(&mut self, path: &str, key: &Key, items: &[Node<'_>], fault: &mut Fault) -> bool {
        if items.is_empty() {
            self.push(
                path,
                "is empty",
                &format!("such as {}: {}", key.name, key.example),
            );
        }
        let mut good = !items.is_empty();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if let Node::Text(text) = item {
                good &= self.set(&path, key, text, fault);
            } else {
                good = false;
                self.wrong_type(&path, item, "a text", &format!("such as {}", key.example));
            }
        }
        good
    }

    pub(super) fn target(&mut self, path: &str, node: &Node<'_>) -> Target {
        const KEYS: [&str; 5] = ["cgroup", "cgroups", "unit", "pid", "command"];
        let found = fields(node, path, Level::Target, &mut self.found);
        let given: Vec<_> = KEYS
            .into_iter()
            .filter_map(|key| Some((key, found.get(key)?)))
            .collect();
        let target = match given.as_slice() {
            [] => {
                if matches!(node, Node::Map(_)) && !found.has_unknown() {
                    let remedy = format!("say one of {}", either(&KEYS));
                    self.push(path, "names nothing", &remedy);
                }
                None
            }
            [(key, node)] => self.target_of(&format!("{path}.{key}"), key, node),
            several => {
                let keys: Vec<&str> = several.iter().map(|(key, _)| *key).collect();
                let problem = format!("names {} targets: {}", keys.len(), all_of(&keys));
                self.push(path, problem, "keep exactly one");
                None
            }
        };
        target.unwrap_or_else(placeholder_target)
    }

    fn target_of(&mut self, path: &str, key: &str, node: &Node<'_>) -> Option<Target> {
        match key {
            "cgroup" => {
                let example = "/system.slice/nginx.service";
                self.text(path, node, example).map(Target::Cgroup)
            }
            "cgroups" => {
                let remedy = "say their paths: [/web.slice/a, /web.slice/b]";
                self.texts(path, node, "/web.slice/a", remedy)
                    .map(Target::Cgroups)
            }
            "unit" => self.text(path, node, "nginx.service").map(Target::Unit),
            "pid" => self.pid(path, node).map(Target::Pid),
            _ => self.command(path, node).map(Target::Command),
        }
    }

    fn pid(&mut self, path: &str, node: &Node<'_>) -> Option<u32> {
        let count = self.number(path, node, "1234")?;
        let pid = u32::try_from(count).ok();
        if pid.is_none() {
            self.found.push(Violation::of(path, bad_pid(count)));
        }
        pid
    }

    fn command(&mut self, path: &str, node: &Node<'_>) -> Option<Vec<String>> {
        let remedy = "say the program and its arguments: [cat, /etc/hosts]";
        self.texts(path, node, "cat", remedy)
    }

    fn texts(
        &mut self,
        path: &str,
        node: &Node<'_>,
        example: &str,
        remedy: &str,
    ) -> Option<Vec<String>> {
        let Node::List(items) = node else {
            self.wrong_type(path, node, "a list", remedy);
            return None;
        };
        let mut texts = Vec::new();
        for (i, item) in items.iter().enumerate() {
            texts.push(self.text(&format!("{path}[{i}]"), item, example));
        }
        texts.into_iter().collect()
    }

    pub(super) fn text(&mut self, path: &str, node: &Node<'_>, example: &str) -> Option<String> {
        match node {
            Node::Text(text) => return Some(text.clone().into_owned()),
            Node::Number(_) | Node::Flag(_) => {
                self.wrong_type(path, node, "a text", "put it in quotes");
            }
            _ => self.wrong_type(path, node, "a text", &format!("such as {example}")),
        }
        None
    }

    pub(super) fn number(&mut self, path: &str, node: &Node<'_>, example: &str) -> Option<u64> {
        match node {
            Node::Number(text) => {
                let result = parse_count(text);
                let bad = result.as_ref().err().cloned();
                self.found.extend(bad.map(|bad| Violation::of(path, bad)));
                return result.ok();
            }
            Node::Text(text) if parse_count(text).is_ok() => {
                self.wrong_type(path, node, "a whole number", "leave the quotes out");
            }
            _ => self.wrong_type(path, node, "a whole number", &format!("such as {example}")),
        }
        None
    }

    pub(super) fn duration(&mut self, path: &str, node: &Node<'_>) -> Duration {
        let result = match node {
            Node::Text(text) | Node::Number(text) => parse_duration(text),
            Node::Null => Err(BadValue::new("is empty", "such as 30s")),
            other => Err(BadValue::new(
                format!("is {} instead of a duration", other.describe()),
                "such as 30s",
            )),
        };
        result.unwrap_or_else(|bad| {
            self.found.push(Violation::of(path, bad));
            Duration::from_secs(1)
        })
    }
}
