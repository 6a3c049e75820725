//! Reads off libtest's output what became of the tests, while it passes by.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::coverage::COVERED;

/// How a test says that it is skipped, and why: see `needs.rs` of the lab tests.
const SKIPPED: &str = "SKIPPED: ";

/// What the tests of one or more test binaries came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
    /// Tests that were not run, for a reason that they print themselves.
    pub(crate) skipped: usize,
    /// Those that failed.
    pub(crate) failures: Vec<Failure>,
    /// What they say that they cover: see [`super::coverage`].
    pub(crate) covered: Vec<String>,
}

/// A test that failed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Failure {
    /// Its name.
    pub(crate) name: String,
    /// The first lines of its panic, if it had one in its own thread.
    pub(crate) said: Vec<String>,
}

/// So much of a panic is kept: the account of a run is read where its whole output is not.
const KEPT: (usize, usize) = (8, 400);

impl Counts {
    /// Adds one more test.
    pub(crate) fn add(&mut self, name: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(Failure {
                name: name.to_owned(),
                ..Failure::default()
            });
        }
    }
}

/// Passes everything on, and counts.
#[derive(Debug)]
pub(crate) struct Tee<W> {
    to: W,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    line: Vec<u8>,
    in_failures: bool,
    /// Panics since the last summary, by the name of their thread, which is that of the test.
    panics: Vec<Failure>,
    /// The last of them is still being said.
    panicking: bool,
    /// The test that runs has said that it is skipped.
    says_skipped: bool,
    /// Tests since the last summary, which counts them as passed, that were skipped.
    skipped: usize,
    counts: Counts,
}

/// The counts of a [`Tee`] that somebody else owns.
#[derive(Clone, Debug)]
pub(crate) struct Reader(Arc<Mutex<State>>);

impl<W: Write> Tee<W> {
    /// One that passes output on to `to`.
    pub(crate) fn new(to: W) -> (Self, Reader) {
        let state = Arc::new(Mutex::new(State::default()));
        (
            Self {
                to,
                state: Arc::clone(&state),
            },
            Reader(state),
        )
    }
}

impl Reader {
    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .counts
            .clone()
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .feed(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl State {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line_ended(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn line_ended(&mut self, line: &str) {
        // libtest does not know of tests that find out for themselves that they are skipped. The
        // word follows the test's name on its line, and a verdict of libtest must follow it.
        if self.says_skipped && line == "ok" {
            self.skipped += 1;
        }
        self.says_skipped = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
            .is_some_and(|(_, said)| said.starts_with(SKIPPED));
        if let Some((_, covered)) = line.split_once(COVERED) {
            self.counts.covered.push(covered.to_owned());
        }
        self.panic_goes_on(line);
        // The list of names comes under the second such line; the first is followed by a blank one.
        if line == "failures:" {
            self.in_failures = true;
        } else if let Some(name) = line.strip_prefix("    ").filter(|_| self.in_failures) {
            let panic = self.panics.iter().find(|panic| panic.name == name);
            self.counts
                .failures
                .push(panic.cloned().unwrap_or_else(|| Failure {
                    name: name.to_owned(),
                    ..Failure::default()
                }));
        } else {
            self.in_failures = false;
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.panics.clear();
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<usize>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => {
                    let skipped = std::mem::take(&mut self.skipped);
                    self.counts.passed += number.saturating_sub(skipped);
                    self.counts.skipped += skipped;
                }
                "failed" => self.counts.failed += number,
                "ignored" => self.counts.skipped += number,
                _ => (),
            }
        }
    }
}

impl State {
    /// Keeps what a panic says: `thread 'NAME' (ID) panicked at PLACE`, and its message below.
    fn panic_goes_on(&mut self, line: &str) {
        let said: String = line.chars().take(KEPT.1).collect();
        let named = line
            .strip_prefix("thread '")
            .and_then(|rest| rest.split_once('\''))
            .filter(|(_, rest)| rest.contains("panicked at "));
        if let Some((name, _)) = named {
            self.panicking = true;
            self.panics.push(Failure {
                name: name.to_owned(),
                said: vec![said],
            });
        } else if line.is_empty() || line.starts_with("note: ") {
            self.panicking = false;
        } else if self.panicking
            && let Some(panic) = self.panics.last_mut()
            && panic.said.len() < KEPT.0
        {
            panic.said.push(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test a ... ok
test b::c ... child says hello
FAILED
test d ... ignored
test e ... ok

failures:

---- b::c stdout ----
    failures: none of this
thread 'b::c' (77) panicked at src/b.rs:7:9:
assertion failed: 1 == 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
and this is said by somebody else

failures:
    b::c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test f ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s
";

    #[test]
    fn summaries_are_added_up_and_output_is_passed_on() {
        let mut output = Vec::new();
        let (mut tee, reader) = Tee::new(&mut output);
        // In pieces, as pipes have it.
        for piece in OUTPUT.as_bytes().chunks(7) {
            tee.write_all(piece).unwrap();
        }
        let expected = Counts {
            passed: 3,
            failed: 1,
            skipped: 1,
            failures: vec![Failure {
                name: "b::c".to_owned(),
                said: vec![
                    "thread 'b::c' (77) panicked at src/b.rs:7:9:".to_owned(),
                    "assertion failed: 1 == 2".to_owned(),
                ],
            }],
            ..Counts::default()
        };
        assert_eq!(reader.counts(), expected);
        assert_eq!(output, OUTPUT.as_bytes());
    }

    #[test]
    fn a_test_that_says_so_is_skipped_and_not_passed() {
        let output = "\
test a ... SKIPPED: net.loss can't be done on debian-6.1+cgroup1
ok
test b ... SKIPPED: but it fails nevertheless
FAILED
test c ... ok
SKIPPED: said by something else
test d ... ok

failures:
    b

test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
test e ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
";
        let (mut tee, reader) = Tee::new(Vec::new());
        tee.write_all(output.as_bytes()).unwrap();
        let counts = reader.counts();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (3, 1, 1));
        assert_eq!(counts.failures.len(), 1);
        assert_eq!(counts.failures[0].name, "b");
        assert!(counts.failures[0].said.is_empty());
    }
}
