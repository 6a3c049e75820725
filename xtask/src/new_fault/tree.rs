//! Edits of the project's files at anchors. Nothing is written here: edits go to copies in memory,
//! and an anchor that is not there once, and only once, is remembered and reported with all others.

use std::ops::Range;

use anyhow::{Result, bail};

use super::kind::Kind;

/// Reads one of the project's files by its path from the root.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A file that is new or was edited.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) is_new: bool,
}

/// The project's files with the edits so far. New texts have a [`Kind`]'s names filled in.
pub(super) struct Tree<'a> {
    read: Read<'a>,
    kind: &'a Kind,
    /// In the order in which they were touched.
    changed: Vec<Changed>,
    lacking: Vec<String>,
}

impl<'a> Tree<'a> {
    /// Before any edit.
    pub(super) fn new(kind: &'a Kind, read: Read<'a>) -> Self {
        Self {
            read,
            kind,
            changed: Vec::new(),
            lacking: Vec::new(),
        }
    }

    /// The changed files, if every anchor was found.
    pub(super) fn finish(self) -> Result<Vec<Changed>> {
        if !self.lacking.is_empty() {
            bail!(
                "nothing was written, because these files are not as the scaffold knows them:\n{}\n\
                 the anchors are in xtask/src/new_fault/edits.rs: put them right there",
                self.lacking.join("\n")
            );
        }
        Ok(self.changed)
    }

    /// A file of its own.
    pub(super) fn create(&mut self, path: &str, template: &str) {
        let path = self.kind.fill(path);
        if self.text(&path).is_some() {
            self.lacking.push(format!("  {path} is there already"));
            return;
        }
        self.changed.push(Changed {
            path,
            text: self.kind.fill(template),
            is_new: true,
        });
    }

    /// Inserts before `anchor`, which occurs once.
    pub(super) fn before(&mut self, path: &str, anchor: &str, new: &str) {
        self.edit(path, anchor, new, |text| {
            let at = only(text, anchor)?;
            Some(at..at)
        });
    }

    /// Inserts behind `anchor`, which occurs once.
    pub(super) fn after(&mut self, path: &str, anchor: &str, new: &str) {
        self.edit(path, anchor, new, |text| {
            let at = only(text, anchor)? + anchor.len();
            Some(at..at)
        });
    }

    /// Inserts before `anchor`, which occurs once in the block that `opening` begins.
    pub(super) fn within(&mut self, path: &str, opening: &str, anchor: &str, new: &str) {
        let what = format!("{opening}` with `{anchor}");
        self.edit(path, &what, new, |text| {
            let block = block(text, opening)?;
            let at = block.start + only(text.get(block)?, anchor)?;
            Some(at..at)
        });
    }

    /// Inserts at the end of the block that `opening` begins.
    pub(super) fn end_of(&mut self, path: &str, opening: &str, new: &str) {
        self.edit(path, opening, new, |text| {
            let end = block(text, opening)?.end;
            Some(end..end)
        });
    }

    /// Puts one more alternative before `pattern` wherever another follows.
    pub(super) fn join(&mut self, path: &str, pattern: &str, new: &str) {
        let what = format!("{pattern} |");
        self.edit_all(path, &what, &format!("{new} | "), |text| {
            let places: Vec<_> = text
                .match_indices(pattern)
                .filter(|(at, _)| text[at + pattern.len()..].trim_start().starts_with('|'))
                .map(|(at, _)| at..at)
                .collect();
            (!places.is_empty()).then_some(places)
        });
    }

    /// Adds a cell to each row of the table that `head` begins: `cells` in turn, the last one for
    /// all rows that are left.
    pub(super) fn column(&mut self, path: &str, head: &str, cells: &[&str]) {
        let mut cells = cells.iter();
        let mut cell = cells.next();
        let Some(found) = self.text(path).and_then(|text| {
            let at = only(&text, head)?;
            let rows = text[at..].find("\n\n").map_or(text.len(), |end| at + end);
            Some((at..rows, text))
        }) else {
            return self.lack(path, head);
        };
        let (range, text) = found;
        let mut table = String::new();
        for row in text[range.clone()].lines() {
            table.push_str(row);
            table.push_str(cell.unwrap_or(&""));
            table.push('\n');
            cell = cells.next().or(cell);
        }
        self.edit(path, head, table.trim_end(), |_| Some(range));
    }

    /// Adds to the number that follows `anchor`, and says what it was.
    pub(super) fn count(&mut self, path: &str, anchor: &str, by: isize) -> usize {
        let mut before = 0_usize;
        let Some((range, number)) = self.text(path).and_then(|text| {
            let at = only(&text, anchor)? + anchor.len();
            let digits = text[at..].find(|c: char| !c.is_ascii_digit())?;
            before = text[at..at + digits].parse().ok()?;
            Some((at..at + digits, before.checked_add_signed(by)?))
        }) else {
            self.lack(path, anchor);
            return 0;
        };
        self.edit(path, anchor, &number.to_string(), |_| Some(range));
        before
    }

    /// One more than the highest number after ` = ` in the block that `opening` begins.
    pub(super) fn next_number(&mut self, path: &str, opening: &str) -> u32 {
        let text = self.text(path).unwrap_or_default();
        let highest: Option<u32> = block(&text, opening).and_then(|block| {
            let numbers = text[block].lines().filter_map(|line| {
                let (_, number) = line.split_once(" = ")?;
                number.trim_end_matches([';', ',']).parse().ok()
            });
            numbers.max()
        });
        if highest.is_none() {
            self.lack(path, opening);
        }
        highest.map_or(0, |highest| highest + 1)
    }

    /// Takes a text out that occurs once, if it is there; says whether it was.
    pub(super) fn take_out(&mut self, path: &str, text: &str) -> bool {
        let text = self.kind.fill(text);
        let Some(at) = self.text(path).and_then(|all| only(&all, &text)) else {
            return false;
        };
        self.edit(path, &text, "", |_| Some(at..at + text.len()));
        true
    }

    /// What a file holds after the edits so far.
    fn text(&self, path: &str) -> Option<String> {
        match self.changed.iter().find(|changed| changed.path == path) {
            Some(changed) => Some(changed.text.clone()),
            None => (self.read)(path),
        }
    }

    /// Puts `new` in place of the range.
    fn edit(
        &mut self,
        path: &str,
        anchor: &str,
        new: &str,
        find: impl FnOnce(&str) -> Option<Range<usize>>,
    ) {
        self.edit_all(path, anchor, new, |text| {
            find(text).map(|range| std::iter::once(range).collect())
        });
    }

    /// Puts `new` in place of each of the ranges.
    fn edit_all(
        &mut self,
        path: &str,
        anchor: &str,
        new: &str,
        find: impl FnOnce(&str) -> Option<Vec<Range<usize>>>,
    ) {
        let Some(mut text) = self.text(path) else {
            self.lacking.push(format!("  there is no {path}"));
            return;
        };
        let Some(ranges) = find(&text) else {
            return self.lack(path, anchor);
        };
        for range in ranges.into_iter().rev() {
            text.replace_range(range, &self.kind.fill(new));
        }
        match self.changed.iter_mut().find(|changed| changed.path == path) {
            Some(changed) => changed.text = text,
            None => self.changed.push(Changed {
                path: path.to_owned(),
                text,
                is_new: false,
            }),
        }
    }

    fn lack(&mut self, path: &str, anchor: &str) {
        // An anchor of several lines is one line of a message.
        let anchor = anchor.split_whitespace().collect::<Vec<_>>().join(" ");
        self.lacking
            .push(format!("  {path} does not have exactly once: `{anchor}`"));
    }
}

/// Where the only occurrence begins.
fn only(text: &str, wanted: &str) -> Option<usize> {
    let mut found = text.match_indices(wanted);
    let (at, _) = found.next()?;
    found.next().is_none().then_some(at)
}

/// From the line with `opening` to the line that closes it: the next one that is indented as much
/// and closes something, as rustfmt leaves it.
fn block(text: &str, opening: &str) -> Option<Range<usize>> {
    let at = only(text, opening)?;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent = text[start..].find(|c| c != ' ')?;
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        let closes = line.trim_start().starts_with(['}', ']'])
            // `} else {` goes on.
            && !line.trim_end().ends_with('{');
        if end > start && closes && line.find(|c| c != ' ') == Some(indent) {
            return Some(start..end);
        }
        end += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "const N: [u8; 2] = [\n    1,\n    2,\n];\n\nfn f(\n    a: u8,\n) -> u8 {\n    \
                        match a {\n        1 => 2,\n        5 | 6 | 5 => 3,\n    }\n}\n\nenum E {\n    \
                        A = 4,\n    B = 9,\n}\n\n| a |\n|---|\n| b |\n\nend\n";

    fn read(path: &str) -> Option<String> {
        (path == "file").then(|| FILE.to_owned())
    }

    fn kind() -> Kind {
        Kind::new("net.delay", None, false).unwrap()
    }

    #[test]
    fn edits_are_made_at_their_anchors() {
        let kind = kind();
        let mut tree = Tree::new(&kind, &read);
        assert_eq!(tree.count("file", "const N: [u8; ", 1), 2);
        tree.end_of("file", "const N", "    3,\n");
        tree.within("file", "fn f(", "1 => 2", "7 => 7,\n        ");
        tree.join("file", "5", "4");
        tree.column("file", "| a |", &[" @stem@ |", "---|", " y |"]);
        assert_eq!(tree.next_number("file", "enum E {"), 10);
        assert!(tree.take_out("file", "end\n"));
        assert!(!tree.take_out("file", "not there"));
        tree.create("@stem@", "@name@");
        let changed = tree.finish().unwrap();
        let expected = FILE
            .replace("u8; 2", "u8; 3")
            .replace("    2,\n", "    2,\n    3,\n")
            .replace("1 => 2", "7 => 7,\n        1 => 2")
            .replace("5 | 6", "4 | 5 | 6")
            .replace(
                "| a |\n|---|\n| b |",
                "| a | net_delay |\n|---|---|\n| b | y |",
            )
            .replace("end\n", "");
        assert_eq!(changed[0].text, expected);
        assert!(changed[1].is_new && !changed[0].is_new);
        assert_eq!(
            (changed[1].path.as_str(), changed[1].text.as_str()),
            ("net_delay", "net.delay")
        );
    }

    #[test]
    fn everything_that_is_not_as_it_should_be_is_named() {
        let kind = kind();
        let mut tree = Tree::new(&kind, &read);
        tree.before("file", "=> 4", "");
        tree.after("file", "a", "twice and more");
        tree.within("file", "enum E {", "C", "");
        tree.join("file", "1", "");
        tree.count("file", "enum ", 1);
        tree.before("none", "a", "");
        tree.create("file", "");
        let said = tree.finish().unwrap_err().to_string();
        for line in [
            "  file does not have exactly once: `=> 4`\n",
            "  file does not have exactly once: `a`\n",
            "  file does not have exactly once: `enum E {` with `C`\n",
            "  file does not have exactly once: `1 |`\n",
            "  file does not have exactly once: `enum`\n",
            "  there is no none\n",
            "  file is there already\n",
        ] {
            assert!(said.contains(line), "{line}{said}");
        }
    }
}
