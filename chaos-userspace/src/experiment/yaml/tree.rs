//! YAML as a plain tree of bounded depth, with nothing decided about what it means.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::whole;
use crate::experiment::{
    violation::Violations,
    wording::{quoted, shown},
};

/// An experiment needs seven levels. The tree is walked and dropped by recursion.
const MAX_DEPTH: usize = 32;

#[derive(Debug, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Flag(bool),
    /// As it is written.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the order of the file, repeated keys included.
    Map(Vec<(Node<'a>, Node<'a>)>),
}

impl Node<'_> {
    /// What was found, for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::Number(number) => format!("the number {}", shown(number)),
            Self::Text(text) => format!("the text {}", quoted(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A collection that has not ended yet.
enum Open<'a> {
    List(Vec<Node<'a>>),
    /// With the key whose value comes next.
    Map(Vec<(Node<'a>, Node<'a>)>, Option<Node<'a>>),
}

/// Reads the one document of a file.
///
/// # Errors
/// One violation with line and column: after the first, the rest of the text means nothing.
pub(super) fn read(text: &str) -> Result<Node<'_>, Violations> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut root = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| not_yaml(&error))?;
        let at = span.start;
        let done = match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {
                if matches!(event, Event::DocumentStart(_)) && root.is_some() {
                    return Err(refused(
                        at,
                        "a second document begins",
                        "say one experiment in one file",
                    ));
                }
                continue;
            }
            Event::Alias(_) => {
                return Err(refused(at, "aliases are not read", "write the value out"));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(refused(at, "tags are not read", "leave the tag out"));
            }
            Event::Scalar(text, style, _, None) => scalar(text, style),
            Event::SequenceStart(_, None) | Event::MappingStart(_, None) => {
                if open.len() == MAX_DEPTH {
                    return Err(refused(at, "it is nested too deep", "no field is so deep"));
                }
                open.push(match event {
                    Event::SequenceStart(..) => Open::List(Vec::new()),
                    _ => Open::Map(Vec::new(), None),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Node::List(items),
                Some(Open::Map(pairs, _)) => Node::Map(pairs),
                // The parser balances its events.
                None => continue,
            },
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Map(pairs, key)) => match key.take() {
                None => *key = Some(done),
                Some(key) => pairs.push((key, done)),
            },
        }
    }
    root.ok_or_else(|| {
        whole(
            "the file is empty".to_owned(),
            "an experiment begins with apiVersion: kchaos.dev/v1alpha1",
        )
    })
}

fn refused(at: Marker, problem: &str, remedy: &str) -> Violations {
    whole(format!("{}: {problem}", position(at)), remedy)
}

fn not_yaml(error: &ScanError) -> Violations {
    let problem = format!(
        "{}: this is not YAML: {}",
        position(*error.marker()),
        error.info()
    );
    whole(
        problem,
        "check its indentation, colons, quotes and brackets",
    )
}

fn position(at: Marker) -> String {
    format!("line {}, column {}", at.line(), at.col() + 1)
}

/// The core schema of YAML 1.2: `yes`, `on` and the like are texts.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Node<'_> {
    if style != ScalarStyle::Plain {
        return Node::Text(text);
    }
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" => Node::Flag(true),
        "false" | "False" | "FALSE" => Node::Flag(false),
        plain if is_number(plain) => Node::Number(text),
        _ => Node::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    let has_digits =
        |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(digits) = text.strip_prefix("0x") {
        return has_digits(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return has_digits(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        // Rust reads the same numbers, and words such as `inf` that YAML does not.
        || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn refusal(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn scalars_are_what_yaml_1_2_says() {
        for text in [
            "0", "42", "-1", "+1", "0x2a", "0o52", "1.5", ".5", "1e3", "-.inf", ".nan",
        ] {
            assert_eq!(read(text).unwrap(), Node::Number(text.into()), "{text}");
        }
        for text in [
            "yes", "on", "n", "inf", "nan", "5%", "3m", "1_000", "0x", "12:30", "3+", ".",
        ] {
            assert_eq!(read(text).unwrap(), Node::Text(text.into()), "{text}");
        }
        assert_eq!(read("'42'").unwrap(), Node::Text("42".into()));
        assert_eq!(read("True").unwrap(), Node::Flag(true));
        assert_eq!(read("~").unwrap(), Node::Null);
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let message = refusal("a: 1\nb: [1, 2\nc: 3\n");
        assert!(message.starts_with("line "), "{message}");
        assert!(message.contains(": this is not YAML: "), "{message}");
    }

    #[test]
    fn what_is_yaml_and_not_read() {
        assert_eq!(
            refusal("a: 1\n---\nb: 2\n"),
            "line 2, column 1: a second document begins; say one experiment in one file"
        );
        assert_eq!(
            refusal("a: &x 1\nb: *x\n"),
            "line 2, column 4: aliases are not read; write the value out"
        );
        assert_eq!(
            refusal("a: !!str 1\n"),
            "line 1, column 4: tags are not read; leave the tag out"
        );
        for empty in ["", "\n\n", "# nothing\n"] {
            assert_eq!(
                refusal(empty),
                "the file is empty; an experiment begins with apiVersion: kchaos.dev/v1alpha1"
            );
        }
    }

    #[test]
    fn hostile_files_cost_no_time_and_no_stack() {
        // A quarter of the largest file: still seconds, were any of it quadratic.
        let size = super::super::MAX_BYTES / 4;
        let level = |i: usize| format!("a{i}: &a{i} [{}x]\n", format!("*a{}, ", i - 1).repeat(9));
        let alias_bomb = format!(
            "a0: &a0 x\n{}",
            (1..40).map(level).collect::<Vec<_>>().concat()
        );
        let stairs: Vec<String> = (0..700).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        for (name, text) in [
            ("alias bomb", alias_bomb),
            ("lists", "[".repeat(size)),
            ("mappings", "{".repeat(size)),
            ("pairs", "{a: ".repeat(size / 4)),
            ("block lists", "- ".repeat(size / 2)),
            ("explicit keys", "? ".repeat(size / 2)),
            ("items", "- a\n".repeat(size / 4)),
            ("flow items", format!("[{}]", "a,".repeat(size / 2 - 1))),
            ("flow commas", format!("[{}]", ",".repeat(size - 2))),
            ("keys", "a: b\n".repeat(size / 5)),
            ("one key", format!("{}: b", "a".repeat(size - 3))),
            ("quoted", format!("\"{}", "a".repeat(size - 1))),
            ("spaces", " ".repeat(size)),
            ("lines", "\n".repeat(size)),
            ("words", "a ".repeat(size / 2)),
            ("plain lines", "a\n".repeat(size / 2)),
            (
                "block scalar",
                format!("a: |\n{}", " b\n".repeat(size / 3 - 2)),
            ),
            (
                "indented block scalar",
                format!("a: |\n{}", " \n".repeat(size / 2 - 3)),
            ),
            ("tabs", "\t".repeat(size)),
            ("comments", "#\n".repeat(size / 2)),
            ("anchors", "- &a\n".repeat(size / 5)),
            ("documents", "---\n".repeat(size / 4)),
            ("percents", "%a\n".repeat(size / 3)),
            ("colons", ":".repeat(size)),
            ("colon spaces", ": ".repeat(size / 2)),
            ("flow colons", format!("[{}", "a:".repeat(size / 2 - 1))),
            ("flow keys", format!("{{{}", "a: b, ".repeat(size / 6 - 1))),
            ("stairs", stairs.concat()),
            ("zero bytes", "\0".repeat(size)),
            ("bangs", "!".repeat(size)),
            ("tags", "%TAG !a! b\n".repeat(size / 11)),
        ] {
            assert!(text.len() <= size, "{name}");
            let begin = Instant::now();
            drop(read(&text));
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(10), "{name} took {took:?}");
        }
    }
}
