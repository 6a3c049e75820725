//! What kchaos makes of what it is started with: ignored signals, limits, files and pipes.

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use crate::lab::{Lab, send};

const FAULT: &str = "syscall.error:fsync=EIO,mechanism=seccomp-notify";

/// A shell that does something and then becomes `kchaos` with these arguments.
fn after(lab: &Lab, first: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{first}; exec \"$0\" \"$@\"")])
        .arg(lab.kchaos())
        .args(arguments)
        .current_dir(lab.folder())
        .env("KCHAOS_STATE_DIR", lab.folder().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Whether a process ignores a signal.
fn ignores(pid: u32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    has(ignored.unwrap(), signal)
}

/// Whether a signal is in a set as /proc has it.
fn has(set: &str, signal: i32) -> bool {
    u64::from_str_radix(set.trim(), 16).unwrap() & 1 << (signal - 1) != 0
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_so() {
    let lab = Lab::new();
    let command = "sleep 1; grep SigIgn /proc/self/status";
    let arguments = [
        "run",
        "--fault",
        FAULT,
        "--allow-no-hit",
        "--",
        "sh",
        "-c",
        command,
    ];
    let running = after(&lab, "trap '' HUP", &arguments).spawn().unwrap();
    // Before the shell has said so it would be killed.
    while !ignores(running.id(), libc::SIGHUP) {
        thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..50 {
        send(running.id(), libc::SIGHUP);
        thread::sleep(Duration::from_millis(10));
    }
    let (status, out, err) = said(&running.wait_with_output().unwrap());
    assert_eq!(status, Some(0), "{err}");
    let ignored = out.trim().rsplit('\t').next().unwrap();
    assert!(
        has(ignored, libc::SIGHUP),
        "the command ignores it as well: {out}"
    );
    assert!(
        !has(ignored, libc::SIGXFSZ),
        "that is kchaos' own affair: {out}"
    );
}

#[test]
fn a_limit_of_file_sizes_is_told() {
    let lab = Lab::new();
    let arguments = ["run", "--fault", FAULT, "--", "true"];
    let output = after(&lab, "ulimit -f 1", &arguments).output().unwrap();
    let (status, _, err) = said(&output);
    assert_eq!(status, Some(125), "{err}");
    assert!(err.contains("ulimit -f"), "{err}");
}

#[test]
fn a_status_that_cannot_be_written_costs_no_account() {
    let lab = Lab::new();
    let file = ["--status-file", "/dev/full"];
    let ran = lab.run_command(&[FAULT], &file, &["sh", "-c", "sync file; exit 7"]);
    assert_eq!(ran.status, 7, "{ran:?}");
    assert_eq!(ran.account()["status"], 7);
    assert!(ran.err.contains("/dev/full: No space left"), "{ran:?}");
}

#[test]
fn guards_bear_a_name() {
    let lab = Lab::new();
    let running = lab.start(&[FAULT], &["during", "500"]);
    crate::lab::wait_until("it is guarded", || !running.guards().is_empty());
    let guard = running.guards()[0];
    crate::lab::wait_until("it has its name", || {
        fs::read_to_string(format!("/proc/{guard}/comm")).unwrap() == "kchaos-guard\n"
    });
    running.wait();
}

#[test]
fn an_agent_is_looked_for_where_the_state_is() {
    let lab = Lab::new();
    let (status, _, err) = said(&after(&lab, ":", &["ls"]).output().unwrap());
    assert_eq!(status, Some(1), "{err}");
    let socket = lab.folder().join("state/kchaos.sock");
    let expected = format!("no agent at unix://{}", socket.display());
    assert!(err.contains(&expected), "{err}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let lab = Lab::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = after(&lab, ":", &["explain", FAULT])
        .stdout(writer)
        .output()
        .unwrap();
    let (status, _, err) = said(&output);
    assert_eq!((status, err.as_str()), (Some(141), ""));
}

#[test]
fn doctor_says_that_faults_are_forbidden() {
    let lab = Lab::new();
    lab.forbid();
    // Without privileges it tries nothing out.
    let nobody = "exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$0\" \"$@\"";
    let first = if Lab::as_nobody() { nobody } else { ":" };
    let (status, out, err) = said(&after(&lab, first, &["doctor"]).output().unwrap());
    assert_eq!(status, Some(3), "{err}");
    assert!(out.contains("Faults are forbidden here"), "{out}");
    assert!(out.contains("state/DISABLED"), "{out}");
}
