//! Follows the guest's lines while they arrive.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use super::account::{Account, Event};

/// Takes the guest's standard output: prints notes as they come, keeps the account.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    start: Instant,
    to_stderr: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    line: Vec<u8>,
    last: Option<Result<Account, String>>,
}

impl Follower {
    /// One that prints seconds since `start`.
    pub(super) fn new(start: Instant, to_stderr: bool) -> Self {
        Self {
            start,
            to_stderr,
            state: Arc::default(),
        }
    }

    /// Says what happens now.
    pub(super) fn say(&self, text: &str) {
        let line = format!("{:>5.1} s  {text}", self.start.elapsed().as_secs_f64());
        if self.to_stderr {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// The guest's last word.
    pub(super) fn account(&self) -> Result<Account> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.last.take().context("the guest gave no account")? {
            Ok(account) => Ok(account),
            Err(why) => bail!("the demonstration could not be carried out: {why}"),
        }
    }

    fn line_ended(&self, line: &[u8]) -> Option<Result<Account, String>> {
        match serde_json::from_slice(line) {
            Ok(Event::Note(text)) => {
                self.say(&text);
                None
            }
            Ok(Event::Account(account)) => Some(Ok(*account)),
            Ok(Event::Failed(why)) => Some(Err(why)),
            Err(error) => {
                let line = String::from_utf8_lossy(line);
                Some(Err(format!("the guest printed {line:?}: {error}")))
            }
        }
    }
}

impl Write for Follower {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut state.line);
                state.last = self.line_ended(&line).or_else(|| state.last.take());
            } else {
                state.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_however_it_is_cut() {
        let mut follower = Follower::new(Instant::now(), true);
        for piece in ["{\"failed\":\"no ", "nginx\"}\n", "{\"note\":\"x\"}\n"] {
            follower.write_all(piece.as_bytes()).unwrap();
        }
        let error = follower.account().unwrap_err().to_string();
        assert!(error.ends_with("no nginx"), "{error}");
    }

    #[test]
    fn silence_and_nonsense_are_errors() {
        let mut follower = Follower::new(Instant::now(), true);
        assert!(follower.account().is_err());
        follower.write_all(b"Segmentation fault\n").unwrap();
        let error = follower.account().unwrap_err().to_string();
        assert!(error.contains("Segmentation"), "{error}");
    }
}
