//! How messages speak: quoting what was found, listing choices, and guessing what was meant.

use std::fmt::Write as _;

/// More of a value than this does not help to recognise it.
const SHOWN_CHARS: usize = 60;

/// A guess costs the product of both lengths, and nobody misspells this much.
const GUESS_MAX_BYTES: usize = 64;

/// The text without anything that would move a terminal's cursor, cut to a readable length.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() {
            // Writing into a String can't fail.
            write!(out, "{}", c.escape_default()).ok();
        } else {
            out.push(c);
        }
    }
    out
}

/// [`shown`] in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", shown(text))
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either(names: &[&str]) -> String {
    joined(names, "or")
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn all_of(names: &[&str]) -> String {
    joined(names, "and")
}

fn joined(names: &[&str], word: &str) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [start @ .., last] => format!("{} {word} {last}", start.join(", ")),
    }
}

/// The name that was probably meant; nothing when none is near.
pub(super) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > GUESS_MAX_BYTES {
        return None;
    }
    let lower = text.to_lowercase();
    let reach = (text.chars().count() / 3).max(2);
    names
        .into_iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        // A guess that shares no letter with what was written is noise.
        .filter(|(distance, name)| *distance <= reach && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean X?`, or what may be said when nothing is near.
pub(super) fn guess(text: &str, names: &[&str]) -> String {
    match nearest(text, names.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("say {}", either(names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_control_characters_and_no_novels() {
        assert_eq!(quoted("a\x1b[2J\n"), r"'a\u{1b}[2J\n'");
        assert_eq!(shown(&"ä".repeat(70)).chars().count(), 61);
    }

    #[test]
    fn lists_like_a_person() {
        assert_eq!(either(&["a"]), "a");
        assert_eq!(either(&["a", "b"]), "a or b");
        assert_eq!(all_of(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn guesses_only_what_is_near() {
        let names = ["path", "when", "times", "includeExec"];
        assert_eq!(nearest("pth", names), Some("path"));
        assert_eq!(nearest("include_exec", names), Some("includeExec"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), names), None);
    }
}
