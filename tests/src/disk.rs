//! What is done to a disk that takes no more, and what each of it comes to: on a real one, and under a
//! fault.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{agent::Agent, cgroup::Cgroup};

/// Each operation by a program of its own, and the last words of what it says of it.
const OPERATIONS: &str = r#"
cd "$1" || exit 1
export LC_ALL=C
try() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1 >/dev/null); then
        echo "$name: done"
    else
        echo "$name: ${said##*: }"
    fi
}
try append dd if=/dev/zero of=known oflag=append conv=notrunc bs=8192 count=1 status=none
try create touch new
try copy cp known new-copy
try mkdir mkdir new-folder
try symlink ln -s known new-link
try link ln known new-name
try mkfifo mkfifo new-pipe
try fallocate fallocate -l 1M known
try truncate truncate -s 1M known
try rename mv moved moved-on
try chmod chmod 600 known
try times touch -c known
try read cat known
try list ls
try unlink rm -f gone
try rmdir rmdir folder
"#;

/// Names of what [`OPERATIONS`] makes.
const MADE: [&str; 7] = [
    "new", "new-copy", "new-link", "new-name", "new-pipe", "moved-on", "filler",
];

/// What the operations are about, as if none had been tried.
pub fn prepare(folder: &Path) {
    for name in MADE {
        fs::remove_file(folder.join(name)).ok();
    }
    fs::remove_dir(folder.join("new-folder")).ok();
    for name in ["known", "moved", "gone"] {
        fs::write(folder.join(name), "some bytes\n").unwrap();
    }
    fs::create_dir_all(folder.join("folder")).unwrap();
}

/// Tries all operations from a cgroup: a line for each.
pub fn outcomes(cgroup: &Cgroup, folder: &Path) -> Vec<String> {
    let mut command = cgroup.script(OPERATIONS);
    command.arg("bash").arg(folder);
    lines(&mut command)
}

/// What a script prints, which is run in a cgroup and a folder.
pub fn script(cgroup: &Cgroup, folder: &Path, text: &str) -> Vec<String> {
    lines(cgroup.script(text).current_dir(folder).env("LC_ALL", "C"))
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Those that failed.
pub fn failed(outcomes: &[String]) -> Vec<&str> {
    let outcomes = outcomes.iter().map(String::as_str);
    outcomes.filter(|line| !line.ends_with(": done")).collect()
}

/// Applies one fault on a target.
pub fn apply(agent: &Agent, target: &Cgroup, fault: &str) {
    agent.apply(&format!(
        "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: disk}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - {fault}
",
        target.path()
    ));
}

/// Ends it; its counters.
pub fn stop(agent: &Agent) -> Value {
    let said = agent.ask(&["stop", "disk", "--json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let said: Value = serde_json::from_str(said.out.trim()).unwrap();
    said["nodes"][0]["faults"][0]["counters"].clone()
}
