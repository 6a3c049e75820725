//! A fault in one shell word: `KIND[:WHAT[+WHAT]…][=EFFECT][@PROBABILITY][,KEY=VALUE]…`.
//!
//! ```text
//! file.error:open=EIO@5%,path=/data/
//! net.loss=10%,direction=ingress,pulse=2s/10s
//! ```
//! A comma in a value is `\,` and a backslash is `\\`.

mod format;
mod scan;

use std::ops::Range;

use super::{
    Fault,
    keys::{IN_BLOCK, KINDS, Kind, ON_FAULT, PLANNED_KEYS, Type, no_such_kind},
    violation::{BadValue, Collector, Violation, Violations},
    wording::{all_of, nearest, quoted, shown},
};

pub use format::{format, render};
use scan::{Head, Part, scan};

/// Words longer than this are no words: paths have their own, much smaller limit.
const MAX_BYTES: usize = 16 * 1024;

/// Reads a fault. Its id is the kind's name, and it has no target: a word never names one.
///
/// # Errors
/// Everything that is wrong, each with the bytes that are meant; [`render`] shows the places.
pub fn parse(word: &str) -> Result<Fault, Violations> {
    if word.len() > MAX_BYTES {
        let problem = format!("the word has {} bytes", word.len());
        let remedy = format!("a fault word has at most {MAX_BYTES}");
        return Err(Violation::new("", problem)
            .with_remedy(remedy)
            .at(0..0)
            .into());
    }
    let mut found = Collector::default();
    let scanned = scan(word, &mut found);
    let head = &scanned.head;
    let mut kind = Kind::named(head.kind.text);
    if kind.is_none() {
        found.push(Violation::of("kind", bad_kind(&head.kind)).at(head.kind.place()));
        // What was probably meant is good enough for judging the rest.
        let guess = nearest(head.kind.text, Kind::every().map(|kind| kind.name));
        kind = guess.and_then(Kind::named);
    }
    let mut reader = Reader {
        kind,
        fault: kind.unwrap_or_else(Kind::stand_in).fault(),
        spans: Vec::new(),
        found,
    };
    if let Some(kind) = kind {
        reader.what(kind, head);
        reader.effect(kind, head);
    }
    if let Some(probability) = &head.probability {
        if probability.text.contains(['=', ':']) {
            let bad = BadValue::new(
                format!("{} stands after the '@'", quoted(probability.text)),
                "the order is KIND:WHAT=EFFECT@PROBABILITY",
            );
            reader
                .found
                .push(Violation::of("probability", bad).at(probability.place()));
        } else {
            reader.set("probability", probability.text, probability.place());
        }
    }
    for part in &scanned.keys {
        reader.key(part);
    }
    reader.rules(head);
    let start = |violation: &Violation| violation.span.as_ref().map(|span| span.start);
    reader.found.sort_by_key(start);
    reader.found.finish(reader.fault)
}

struct Reader {
    kind: Option<&'static Kind>,
    fault: Fault,
    /// Where the keys were, for the rules that are checked at the end.
    spans: Vec<(&'static str, Range<usize>)>,
    found: Collector,
}

impl Reader {
    fn what(&mut self, kind: &Kind, head: &Head<'_>) {
        match (kind.what, head.what.as_slice()) {
            (None, []) => {}
            (None, [first, .., last] | [first @ last]) => {
                let bad = BadValue::new(
                    format!("{} takes nothing after ':'", kind.name),
                    format!("write {}", kind.example),
                );
                let span = first.span.start - 1..last.span.end;
                self.found.push(Violation::of("kind", bad).at(span));
            }
            (Some(field), []) => {
                if kind.required.iter().any(|key| key.name == field) {
                    self.missing(field, kind, head.kind.span.end);
                }
            }
            (Some(field), items) => {
                let mut good = true;
                for item in items {
                    good &= self.set(field, item.text, item.place());
                }
                if !good {
                    self.fault.fill(kind, field);
                }
            }
        }
    }

    fn effect(&mut self, kind: &Kind, head: &Head<'_>) {
        match (kind.effect, &head.effect) {
            (None, None) => {}
            (None, Some(effect)) => {
                let bad = BadValue::new(
                    format!("{} takes nothing after '='", kind.name),
                    format!("write {}", kind.example),
                );
                let span = effect.span.start - 1..effect.span.end;
                self.found.push(Violation::of("kind", bad).at(span));
            }
            (Some(field), None) => self.missing(field, kind, head.effect_place()),
            (Some(field), Some(effect)) if effect.text.is_empty() => {
                self.missing(field, kind, effect.span.start);
            }
            (Some(field), Some(effect)) => {
                self.set(field, effect.text, effect.place());
            }
        }
    }

    fn missing(&mut self, field: &'static str, kind: &Kind, at: usize) {
        let violation = Violation::new(field, "is missing")
            .with_remedy(format!("write it as in {}", kind.example))
            .at(at..at);
        self.found.push(violation);
        self.spans.push((field, at..at));
        self.fault.fill(kind, field);
    }

    fn key(&mut self, part: &scan::KeyValue<'_>) {
        let name = part.key.text;
        let known = match self.kind {
            Some(kind) => kind.word_keys().find(|key| key.name == name),
            // Of an unknown kind, only the keys that every kind has can be judged.
            None => IN_BLOCK
                .iter()
                .chain(&ON_FAULT)
                .find(|key| key.name == name),
        };
        let Some(key) = known else {
            if self.kind.is_some() || PLANNED_KEYS.contains(&name) {
                let bad = self.bad_key(&part.key);
                self.found
                    .push(Violation::of(shown(name), bad).at(part.key.place()));
            }
            return;
        };
        let repeated = self.spans.iter().any(|(seen, _)| *seen == key.name);
        // A list repeats its key.
        let bad = if repeated && key.ty != Type::List {
            Some(BadValue::new("is given twice", "give it once"))
        } else if part.value.is_none() {
            let example = format!("write {}={}", key.name, key.example);
            Some(BadValue::new("has no value", example))
        } else {
            None
        };
        match (&part.value, bad) {
            (Some(value), None) => {
                self.set(key.name, &value.text, value.place());
            }
            (_, Some(bad)) => {
                self.found
                    .push(Violation::of(key.name, bad).at(part.key.place()));
            }
            (None, None) => {}
        }
    }

    /// Whether the value is good.
    fn set(&mut self, key: &'static str, text: &str, span: Range<usize>) -> bool {
        let result = self.fault.set(key, text);
        let good = result.is_ok();
        self.found.extend(
            result
                .err()
                .map(|bad| Violation::of(key, bad).at(span.clone())),
        );
        self.spans.push((key, span));
        good
    }

    fn bad_key(&self, key: &Part<'_>) -> BadValue {
        let name = key.text;
        if name.is_empty() {
            return BadValue::new(
                "there is nothing between two commas, or after the last",
                "write KEY=VALUE after each comma; a comma in a value is '\\,'",
            );
        }
        if matches!(name, "id" | "target") {
            return BadValue::new("a fault word has none", "say it in an experiment file");
        }
        let kind = self.kind.unwrap_or_else(Kind::stand_in);
        let keys = kind.word_keys().filter(|key| kind.uses(key));
        let keys: Vec<&str> = keys.map(|key| key.name).collect();
        if PLANNED_KEYS.contains(&name) {
            let there_are = format!("{} has {}", kind.name, all_of(&keys));
            return BadValue::new("this key is not in this version", there_are);
        }
        if kind.what == Some(name) || kind.effect == Some(name) || name == "probability" {
            let place = if name == "probability" {
                "@PROBABILITY"
            } else {
                kind.example
            };
            return BadValue::new("is not a key", format!("write it in front, as in {place}"));
        }
        let remedy = match nearest(name, keys.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it has {}", all_of(&keys)),
        };
        BadValue::new(format!("{} has no such key", kind.name), remedy)
    }

    /// What holds between the parts of a word.
    fn rules(&mut self, head: &Head<'_>) {
        if self.kind.is_none() {
            return;
        }
        for broken in self.fault.rules() {
            let spans = &self.spans;
            let span = spans.iter().find(|(key, _)| *key == broken.key);
            let span = span.map_or_else(|| head.kind.place(), |(_, span)| span.clone());
            self.found
                .push(Violation::of(broken.key, broken.bad).at(span));
        }
    }
}

fn bad_kind(kind: &Part<'_>) -> BadValue {
    if kind.text.is_empty() {
        let examples = KINDS.each_ref().map(|kind| kind.example);
        return BadValue::new(
            "a fault word begins with a kind of fault",
            format!("such as {}", super::wording::either(&examples)),
        );
    }
    no_such_kind(kind.text, false)
}
