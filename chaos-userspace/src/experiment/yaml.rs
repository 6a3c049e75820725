//! A `FaultExperiment` file.
//!
//! YAML 1.2 without anchors, aliases, tags and merge keys: what is read is what stands there. The
//! file is read into a plain tree first, which a walker then goes through, so that everything that
//! is wrong is found at once and named by its path.

mod checks;
mod fields;
mod format;
mod tree;
mod values;
mod walk;

use super::{
    Complete, Experiment,
    violation::{Violation, Violations},
};

pub use format::{format, format_fault};

/// The only `apiVersion` of this version.
pub const API_VERSION: &str = "kchaos.dev/v1alpha1";
/// The only `kind` of this version.
pub const KIND: &str = "FaultExperiment";
/// Larger files are refused unread, so nobody has to read more of one than a byte over this.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads an experiment that says everything by itself.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Experiment, Violations> {
    parse_for(bytes, Complete::File)
}

/// Reads an experiment that may leave out what `complete` says.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_for(bytes: &[u8], complete: Complete) -> Result<Experiment, Violations> {
    if bytes.len() > MAX_BYTES {
        return Err(whole(
            "the file is larger than 1 MiB".to_owned(),
            "no experiment is: name the right file",
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|b| *b == b'\n').count();
        let problem = format!("the file is not UTF-8, first on line {line}");
        whole(problem, "save it as UTF-8")
    })?;
    walk::experiment(&tree::read(text)?, complete)
}

/// A violation of no field in particular.
fn whole(problem: String, remedy: &str) -> Violations {
    Violation::new("", problem).with_remedy(remedy).into()
}
