//! Asks for memory in the ways that are named, one after the other, and says what became of each: `0`,
//! or the errno. What it says is put together beforehand and told at the end, because under a fault it
//! may get no memory for that.
//!
//! `mapper HOW…`

use std::{fmt::Write as _, io};

use kchaos_tests::memory::ask;
use nix::errno::Errno;

fn main() {
    let ways: Vec<String> = std::env::args().skip(1).collect();
    let mut became = vec![0; ways.len()];
    for (way, became) in ways.iter().zip(&mut became) {
        *became = ask(way);
    }
    let mut told = String::new();
    for (way, became) in ways.iter().zip(became) {
        // Writing into a String can't fail.
        writeln!(told, "{way} {became}").ok();
    }
    let mut rest = told.as_bytes();
    while !rest.is_empty() {
        match nix::unistd::write(io::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            // A pipe is made of pages as well.
            Err(Errno::ENOMEM) => {}
            Err(_) => return,
        }
    }
}
