//! A victim in C, cgroups of its own, and kchaos around them.

use std::{
    fs,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

pub(crate) const KCHAOS: &str = env!("CARGO_BIN_EXE_kchaos");

/// The victim, built once by whatever links this test.
pub(crate) fn victim() -> &'static str {
    static VICTIM: OnceLock<String> = OnceLock::new();
    VICTIM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/victims/clock.c");
        let program = format!("{}/clock-victim", env!("CARGO_TARGET_TMPDIR"));
        build(&["-O2", "-pthread", "-o", &program, source]);
        program
    })
}

/// The same without a dynamic linker.
pub(crate) fn static_victim() -> &'static str {
    static VICTIM: OnceLock<String> = OnceLock::new();
    VICTIM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/victims/clock.c");
        let program = format!("{}/clock-victim-static", env!("CARGO_TARGET_TMPDIR"));
        build(&["-static", "-O2", "-pthread", "-o", &program, source]);
        program
    })
}

fn build(arguments: &[&str]) {
    let built = Command::new("cc").args(arguments).output().unwrap();
    assert!(built.status.success(), "{built:?}");
}

/// Why nothing can be tried on this machine, if that is so.
pub(crate) fn missing() -> Option<&'static str> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return Some("only root makes cgroups and stops processes of others");
    }
    mount().is_none().then_some("no cgroup v2 tree is mounted")
}

fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(fields[1]))
    })
}

/// A cgroup, removed with all that is in it.
pub(crate) struct Cgroup {
    name: String,
    folder: PathBuf,
}

impl Cgroup {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("clock-test-{}-{name}", std::process::id());
        let folder = mount().unwrap().join(&name);
        fs::create_dir(&folder).unwrap();
        Self { name, folder }
    }

    pub(crate) fn target(&self) -> String {
        format!("cgroup=/{}", self.name)
    }

    /// A command in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let procs = self.folder.join("cgroup.procs");
        let mut command = Command::new(program);
        let enter = move || fs::write(&procs, "0");
        // SAFETY: there is nobody else with a lock: the tests start commands one at a time.
        unsafe { command.pre_exec(enter) };
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Freezes who is in it, and waits until it is so; or thaws.
    pub(crate) fn freeze(&self, frozen: bool) {
        let text = if frozen { "1" } else { "0" };
        fs::write(self.folder.join("cgroup.freeze"), text).unwrap();
    }

    /// Who is in it.
    pub(crate) fn members(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    pub(crate) fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        self.command(program).args(arguments).spawn().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::write(self.folder.join("cgroup.kill"), "1").unwrap();
        eventually("empty", || fs::remove_dir(&self.folder).is_ok());
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a program has said, and that it ended well.
pub(crate) fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    out
}

/// A victim that checks itself, at its end: how often it saw the truth, and how often not.
pub(crate) fn checked(child: Child) -> (u64, u64, Vec<(bool, u64)>) {
    let out = said(&child.wait_with_output().unwrap());
    let mut changes = Vec::new();
    for line in out.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields.as_slice() {
            ["done", seen, bent] => return (seen.parse().unwrap(), bent.parse().unwrap(), changes),
            [what, at] => changes.push((*what == "bent", at.parse().unwrap())),
            _ => panic!("{out}"),
        }
    }
    panic!("{out}")
}

/// One test at a time: some keep all processors busy, and a tender that has none for a second is killed
/// by its own watchdog.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // One that has failed does not fail all others.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Each test has a thread, and so a state directory, of its own: no test waits for another one's
    /// journal, nor heals what another one does.
    static STATE: tempfile::TempDir = state_dir();
}

/// A state directory in memory, as /run is: who stands still waits for the journal.
pub(crate) fn state_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// `kchaos`, beside no other.
pub(crate) fn program() -> Command {
    let mut command = Command::new(KCHAOS);
    STATE.with(|state| command.env("KCHAOS_STATE_DIR", state.path()));
    command
}

/// `kchaos` to its end.
pub(crate) fn kchaos(arguments: &[&str]) -> Output {
    program()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// `kchaos inject`, once it has said that it is on: it tells people, and has no account.
pub(crate) fn inject_and_wait(cgroup: &Cgroup, fault: &str, duration: &str) -> Child {
    let target = cgroup.target();
    let mut child = program()
        .args(["inject", "--target", &target, "--fault", fault])
        .args(["--duration", duration])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = child.stdout.as_mut().unwrap();
    said.read_exact(&mut [0]).unwrap();
    child
}

/// `kchaos inject`, with the account at its end.
pub(crate) fn inject(cgroup: &Cgroup, fault: &str, duration: &str) -> Child {
    let target = cgroup.target();
    let arguments = [
        "--json",
        "--target",
        &target,
        "--fault",
        fault,
        "--duration",
        duration,
    ];
    program()
        .arg("inject")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The last object that it has printed, at its end, which was a good one.
pub(crate) fn account(child: Child) -> serde_json::Value {
    last_object(&said(&child.wait_with_output().unwrap()))
}

/// The same, however it ended.
pub(crate) fn account_of_any(child: Child) -> serde_json::Value {
    let output = child.wait_with_output().unwrap();
    last_object(&String::from_utf8_lossy(&output.stdout))
}

fn last_object(out: &str) -> serde_json::Value {
    out.lines().last().map_or(serde_json::Value::Null, |line| {
        serde_json::from_str(line).unwrap()
    })
}

/// The process that bends clocks for a kchaos, once there is one.
pub(crate) fn tender_of(owner: u32) -> u32 {
    let mut tender = None;
    eventually("a tender", || {
        tender = descendants(owner).into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(12).any(|part| part == b"clock-tender")
        });
        tender.is_some()
    });
    tender.unwrap()
}

/// Whether a victim handles its signals yet.
pub(crate) fn is_at_work(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 1 << (libc::SIGTERM - 1) != 0)
}

/// Processes that this one has started, and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let children = |pid: u32| -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| {
                text.split_ascii_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect::<Vec<u32>>()
            })
            .collect()
    };
    let mut all = children(pid);
    let mut next = 0;
    while next < all.len() {
        all.extend(children(all[next]));
        next += 1;
    }
    all
}

pub(crate) fn kill(pid: u32, signal: i32) {
    // SAFETY: takes two integers; the process is one that the test has started.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// The kernel's monotonic clock.
pub(crate) fn now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(Duration::from(now).as_nanos()).unwrap()
}

/// Whether a process jumps out of its vDSO: its image is not that of this process. One that has ended
/// has none.
pub(crate) fn is_patched(pid: u32) -> bool {
    image(pid).is_some_and(|it| Some(it) != image(std::process::id()))
}

fn image(pid: u32) -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    let mut image = vec![0; usize::try_from(end - start).unwrap()];
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(&mut image, start).ok()?;
    Some(image)
}
