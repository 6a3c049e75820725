//! Where the parts of a fault word are.

use std::{borrow::Cow, ops::Range};

use crate::experiment::{
    violation::{Collector, Violation},
    wording::shown,
};

/// A piece of the word as it is written.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
}

impl Part<'_> {
    pub(super) fn place(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// A value without its backslashes; the span has them.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) span: Range<usize>,
}

impl Value<'_> {
    pub(super) fn place(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// `KEY=VALUE`; without `=` there is no value.
#[derive(Debug)]
pub(super) struct KeyValue<'a> {
    pub(super) key: Part<'a>,
    pub(super) value: Option<Value<'a>>,
}

/// `KIND[:WHAT[+WHAT]…][=EFFECT][@PROBABILITY]`
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) kind: Part<'a>,
    pub(super) what: Vec<Part<'a>>,
    pub(super) effect: Option<Part<'a>>,
    pub(super) probability: Option<Part<'a>>,
}

impl Head<'_> {
    /// Where an effect would stand that is not there.
    pub(super) fn effect_place(&self) -> usize {
        self.what
            .last()
            .map_or(self.kind.span.end, |what| what.span.end)
    }
}

#[derive(Debug)]
pub(super) struct Scanned<'a> {
    pub(super) head: Head<'a>,
    pub(super) keys: Vec<KeyValue<'a>>,
}

/// Never fails: whatever is odd ends up in a part that is refused when it is read.
pub(super) fn scan<'a>(word: &'a str, found: &mut Collector) -> Scanned<'a> {
    let mut pieces = commas(word).into_iter();
    let head = head(word, pieces.next().unwrap_or(0..0));
    let keys = pieces.map(|piece| key_value(word, piece, found)).collect();
    Scanned { head, keys }
}

/// The ranges between commas that no backslash stands before.
fn commas(word: &str) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (i, byte) in word.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                pieces.push(start..i);
                start = i + 1;
            }
            _ => {}
        }
    }
    pieces.push(start..word.len());
    pieces
}

fn part(word: &str, span: Range<usize>) -> Part<'_> {
    Part {
        // Every bound is beside an ASCII character, or an end.
        text: word.get(span.clone()).unwrap_or_default(),
        span,
    }
}

/// Cuts `span` before the first of `separators`.
fn cut(word: &str, span: Range<usize>, separators: &[char]) -> (Range<usize>, Range<usize>) {
    let text = word.get(span.clone()).unwrap_or_default();
    let middle = text.find(separators).map_or(span.end, |i| span.start + i);
    (span.start..middle, middle..span.end)
}

fn head(word: &str, span: Range<usize>) -> Head<'_> {
    let (kind, mut rest) = cut(word, span, &[':', '=', '@']);
    let mut after = |separator: u8, ends: &[char]| {
        if word.as_bytes().get(rest.start) != Some(&separator) || rest.is_empty() {
            return None;
        }
        let (span, tail) = cut(word, rest.start + 1..rest.end, ends);
        rest = tail;
        Some(span)
    };
    let mut what = Vec::new();
    if let Some(mut list) = after(b':', &['=', '@']) {
        loop {
            let (item, tail) = cut(word, list, &['+']);
            what.push(part(word, item));
            if tail.is_empty() {
                break;
            }
            list = tail.start + 1..tail.end;
        }
    }
    let effect = after(b'=', &['@']).map(|span| part(word, span));
    let probability = after(b'@', &[]).map(|span| part(word, span));
    Head {
        kind: part(word, kind),
        what,
        effect,
        probability,
    }
}

fn key_value<'a>(word: &'a str, span: Range<usize>, found: &mut Collector) -> KeyValue<'a> {
    let (key, tail) = cut(word, span, &['=']);
    let value = (!tail.is_empty()).then(|| {
        let span = tail.start + 1..tail.end;
        Value {
            text: unescape(
                part(word, key.clone()).text,
                &part(word, span.clone()),
                found,
            ),
            span,
        }
    });
    KeyValue {
        key: part(word, key),
        value,
    }
}

fn unescape<'a>(key: &str, value: &Part<'a>, found: &mut Collector) -> Cow<'a, str> {
    if !value.text.contains('\\') {
        return Cow::Borrowed(value.text);
    }
    let mut out = String::new();
    let mut chars = value.text.char_indices();
    while let Some((i, c)) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some((_, c @ (',' | '\\'))) => out.push(c),
            other => {
                let start = value.span.start + i;
                let end = start + 1 + other.map_or(0, |(_, c)| c.len_utf8());
                found.push(
                    Violation::new(
                        shown(key),
                        "a backslash stands before a comma or a backslash only",
                    )
                    .with_remedy("write '\\\\' for a backslash")
                    .at(start..end),
                );
                out.extend(other.map(|(_, c)| c));
            }
        }
    }
    Cow::Owned(out)
}
