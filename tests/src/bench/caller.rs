//! Processes that time their own calls.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// The lab has two processors: one for what is measured, the other one for everything else.
pub const LAST_CPU: usize = 1;
/// Both of them.
pub const ALL_CPUS: [usize; 2] = [0, LAST_CPU];

/// Keeps the calling thread, and what it starts from now on, on these processors.
pub fn run_on(cpus: &[usize]) {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).unwrap();
    }
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Of one call, before it is another one's turn.
const BURSTS: u32 = 10;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Call {
    /// getppid(2), which does next to nothing.
    Getppid,
    /// read(2) of one byte of `/dev/zero`.
    Read,
    /// openat(2) of a file on a tmpfs.
    Openat,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Getppid, Self::Read, Self::Openat];

    /// The call's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Read => "read",
            Self::Openat => "openat",
        }
    }

    /// The call with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.name() == name)
    }

    /// How often it is made in one burst: a millisecond of an emulator, so that most of them are over
    /// before the machine has something else to do.
    pub(super) const fn count(self) -> u32 {
        match self {
            Self::Getppid | Self::Read => 1_000,
            Self::Openat => 100,
        }
    }
}

/// Nanoseconds of one of each call, or times of something.
pub(super) type Costs = BTreeMap<Call, f64>;

/// A process that makes calls when it is told to; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Caller {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Caller {
    /// Starts one by a command that is `timed FILE`, or ends up in it.
    pub(super) fn start(command: &mut Command, timed: &Path, file: &Path) -> Self {
        let mut child = command
            .args([timed, file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut caller = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        // It is there, and everything that it needs has been in memory once.
        caller.make(Call::Getppid, 1, 1);
        caller
    }

    /// The process that was started.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it make bursts of a call; nanoseconds of one call in the quickest of them, and how many calls
    /// of all of them failed.
    fn make(&mut self, call: Call, count: u32, bursts: u32) -> (f64, u32) {
        writeln!(self.input, "{} {count} {bursts}", call.name()).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (took, failed) = line.trim_end().split_once(' ').unwrap();
        let took: u32 = took.parse().expect("a burst takes less than four seconds");
        (f64::from(took) / f64::from(count), failed.parse().unwrap())
    }

    /// Has it open its file; whether that was made to fail.
    pub(super) fn fails_to_open(&mut self) -> bool {
        self.make(Call::Openat, 1, 1).1 > 0
    }

    /// Nanoseconds of one of each of these calls, in the quickest of many bursts in turns, because
    /// what disturbs only adds. None of the calls may fail.
    ///
    /// # Panics
    /// One does.
    pub(super) fn costs(&mut self, calls: &[Call], tries: u32) -> Costs {
        self.least(calls, Call::count, tries, |_| 0)
    }

    /// The same of an openat that is made to fail, each time.
    ///
    /// # Panics
    /// One does not fail.
    pub(super) fn cost_of_error(&mut self, count: u32, tries: u32) -> f64 {
        let calls = [Call::Openat];
        let costs = self.least(&calls, |_| count, tries, |count| count);
        costs[&Call::Openat]
    }

    fn least(
        &mut self,
        calls: &[Call],
        count: impl Fn(Call) -> u32,
        tries: u32,
        failing: impl Fn(u32) -> u32,
    ) -> Costs {
        let mut least = Costs::new();
        // An emulator translates on the first occasion, and again after every patch of the kernel: what
        // comes first is not the least.
        for call in (0..=tries).flat_map(|_| calls.iter().copied()) {
            let count = count(call);
            let (cost, failed) = self.make(call, count, BURSTS);
            let made = count * BURSTS;
            assert_eq!(failed, failing(made), "{call:?}: failed, of {made}");
            let least = least.entry(call).or_insert(cost);
            *least = least.min(cost);
        }
        least
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
