//! Marks that `cargo xtask new-fault` leaves where a person has to decide: as long as there is one,
//! a kind is not done.

/// What a mark begins with; the name of its kind and `)` follow.
const MARK: &str = concat!("UNFINI", "SHED(");

/// The lines of a text that have a mark, counted from 1, and the kind that it is of.
pub(super) fn of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter_map(|(number, line)| Some((number + 1, kind(line)?)))
}

/// Not what only speaks of marks, which names no kind there.
fn kind(line: &str) -> Option<&str> {
    line.split(MARK).skip(1).find_map(|rest| {
        let (kind, _) = rest.split_once(')')?;
        let (family, name) = kind.split_once('.')?;
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        (is_word(family) && is_word(name)).then_some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_kinds_are_found_by_their_lines() {
        let text =
            format!("one\n// {MARK}net.delay): decide\n{MARK}KIND)\n{MARK}@name@) {MARK}a.b)\n");
        let found: Vec<_> = of(&text).collect();
        assert_eq!(found, [(2, "net.delay"), (4, "a.b")]);
    }
}
