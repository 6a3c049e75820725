//! Measures what faults cost, and prints it: `cargo xtask bench` runs it in the lab.
//!
//! `bench [FILTER]`: only what has the filter in its name, such as `lsm`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that can't do its part fails, and prints what it is for"
)]

use std::process::ExitCode;

use kchaos_tests::{
    bench::{Form, Way, heading, measure},
    long,
};

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let (ways, others): (Vec<_>, Vec<_>) = Way::all()
        .into_iter()
        .partition(|way| way.name().contains(&filter));
    if ways.is_empty() {
        let others: Vec<String> = others.iter().map(Way::name).collect();
        eprintln!(
            "nothing here is called like '{filter}': {}",
            others.join(", ")
        );
        return ExitCode::from(2);
    }
    println!("{}\n", heading());
    let own = std::env::current_exe().expect("a program knows where it lies");
    let form = if long() { Form::LONG } else { Form::SHORT };
    println!("{}", measure(&own.with_file_name("timed"), form, &ways));
    ExitCode::SUCCESS
}
