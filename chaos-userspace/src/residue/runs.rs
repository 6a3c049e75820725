//! Runs that could not write themselves down: those without privileges, whose faults are done by a
//! seccomp filter. They are found by their guards of calls.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::{
    seccomp::guard::SUBCOMMAND,
    state::{self, Owner, Registration, Role, StateDir},
    target::Stat,
};

/// Those that would have used this folder, as if they had: their files are not there. Of processes
/// that may not be looked at (ptrace(2), "Ptrace access mode checking") nothing is known.
pub(crate) fn unregistered(state: &StateDir) -> Vec<Registration> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let known = state.registrations();
    let mut owners: Vec<Owner> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| run_of(pid, state))
        .filter(|owner| known.iter().all(|one| one.owner != *owner))
        .collect();
    // One that has lost a guard has two for a moment.
    owners.sort_unstable();
    owners.dedup();
    let registration = |owner: Owner| Registration {
        role: Role::Run,
        file: state.path().join(format!("{}-{owner}", Role::Run.name())),
        owner,
    };
    owners.into_iter().map(registration).collect()
}

/// Whose guard of calls this is, if it is one. Somebody else's child it is when its kchaos has ended,
/// and then hits nobody.
fn run_of(guard: u32, state: &StateDir) -> Option<Owner> {
    let words = fs::read(about(guard, "cmdline")).ok()?;
    if words.split(|byte| *byte == 0).nth(1)? != SUBCOMMAND.as_bytes() {
        return None;
    }
    let stat = fs::read_to_string(about(guard, "stat")).ok()?;
    let owner = Owner::of(Stat::parse(&stat)?.parent);
    let is_run = program(owner.pid)? == program(guard)? && folder_of(owner.pid)? == *state;
    (is_run && owner.is_alive()).then_some(owner)
}

/// The file that it executes.
fn program(pid: u32) -> Option<(u64, u64)> {
    let file = fs::metadata(about(pid, "exe")).ok()?;
    Some((file.dev(), file.ino()))
}

/// Where it would have written itself down.
fn folder_of(pid: u32) -> Option<StateDir> {
    let environment = fs::read(about(pid, "environ")).ok()?;
    let named = environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(state::VARIABLE.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="))
        .filter(|named| !named.is_empty());
    let folder = named.map_or(Path::new(state::DEFAULT), |named| {
        Path::new(OsStr::from_bytes(named))
    });
    Some(StateDir::at(folder))
}

fn about(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        thread,
    };

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    #[test]
    fn where_a_process_looks_is_told_by_its_environment() {
        let sleep = Killed(
            Command::new("sleep")
                .arg("100")
                .env(state::VARIABLE, "/somewhere")
                .spawn()
                .unwrap(),
        );
        // Its parent goes on before the kernel says where its environment is (fs/binfmt_elf.c).
        while fs::read(about(sleep.0.id(), "environ")).is_ok_and(|all| all.is_empty()) {
            thread::yield_now();
        }
        assert_eq!(folder_of(sleep.0.id()), Some(StateDir::at("/somewhere")));
    }
}
