//! Makes all calls of the table on the files of one round, and says with which errno each failed.
//!
//! `filer FOLDER ROUND FILE DIRECTORY`, the last two as descriptors that it was given.

#![expect(clippy::print_stdout, reason = "a test's own program tells by lines")]

use kchaos_tests::files::{CALLS, Fixture};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fixture = Fixture::new(&arguments);
    let errnos: Vec<i32> = CALLS.iter().map(|(_, _, make)| make(&fixture)).collect();
    for errno in errnos {
        println!("{errno}");
    }
}
