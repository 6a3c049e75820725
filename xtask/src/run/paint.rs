//! Colour, where it is wanted.

use std::{
    env,
    io::{self, IsTerminal as _},
};

/// Paints words, or leaves them as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Leaves everything as it is.
    #[cfg(test)]
    pub(super) const NONE: Self = Self(false);

    /// For standard output: only on a terminal, and not for who asked for none
    /// (<https://no-color.org>).
    pub(super) fn for_stdout() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !refused)
    }

    /// What is as it should be.
    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is not.
    pub(super) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Where something begins.
    pub(super) fn heading(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
