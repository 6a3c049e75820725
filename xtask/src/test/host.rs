//! The tests of the workspace's default members on this machine.

use std::{
    io,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::libtest::{Counts, Tee};
use crate::{
    project,
    setup::{self, Need, VICTIMS},
};

/// Fetches what they hit and runs them; the second value says what went wrong apart from tests.
pub(super) fn run(filter: Option<&str>) -> Result<(Counts, Option<String>)> {
    let needs: Vec<Need> = VICTIMS.iter().map(Need::Victim).collect();
    setup::ensure(&needs)?;
    let mut command = Command::new(project::cargo());
    command
        .args(["test", "--locked", "--no-fail-fast"])
        .args(filter)
        .current_dir(project::root())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("start cargo test")?;
    let (mut tee, reader) = Tee::new(io::stdout());
    if let Some(mut output) = child.stdout.take() {
        io::copy(&mut output, &mut tee).context("read the output of cargo test")?;
    }
    let status = child.wait()?;
    let counts = reader.counts();
    let unexplained = !status.success() && counts.failed == 0;
    Ok((counts, unexplained.then(|| format!("cargo test: {status}"))))
}
