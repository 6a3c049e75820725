//! Programs of several languages, with and without threads and shared libraries: each is hit as one in
//! C is, and none of those that run beside it.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        path::{Path, PathBuf},
        process::{Child, ChildStdout, Command, Stdio},
    };

    use kchaos_tests::{
        agent::Agent, bpf::Loaded, cgroup::Cgroup, counter, needs::can_by, require,
    };

    /// What each is called and what runs it.
    const PROGRAMS: [(&str, Runs); 5] = [
        ("C, threads", Runs::Itself("c")),
        ("C, static", Runs::Itself("c-static")),
        ("Go", Runs::Itself("go")),
        ("Node", Runs::By("/usr/bin/node", "calls.js")),
        ("Python", Runs::By("/usr/bin/python3", "calls.py")),
    ];

    enum Runs {
        /// A program that `cargo xtask test` has compiled.
        Itself(&'static str),
        /// An interpreter of a source.
        By(&'static str, &'static str),
    }

    /// How often an operation ended with which errno.
    type Errnos = BTreeMap<i32, u64>;

    /// The place that the victims are about.
    struct Place {
        folder: tempfile::TempDir,
        port: u16,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["opened", "read"] {
                fs::write(folder.path().join(name), "some bytes\n").unwrap();
            }
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            // Until the test ends.
            std::thread::spawn(move || listener.incoming().for_each(drop));
            Self { folder, port }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }
    }

    /// A program that waits for lines.
    struct Victim {
        name: &'static str,
        child: Child,
        out: BufReader<ChildStdout>,
    }

    impl Victim {
        fn start(cgroup: &Cgroup, name: &'static str, runs: &Runs, place: &Place) -> Self {
            let mut command = match runs {
                Runs::Itself(program) => {
                    let folder = std::env::var("KCHAOS_VICTIMS")
                        .expect("`cargo xtask test` says where they are");
                    command(cgroup, &Path::new(&folder).join(program))
                }
                Runs::By(interpreter, source) => {
                    let mut command = command(cgroup, Path::new(interpreter));
                    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims");
                    command.arg(sources.join(source));
                    command
                }
            };
            let mut child = command
                .args([place.file("opened"), place.file("read")])
                .arg(place.port.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            Self { name, child, out }
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.out.read_line(&mut line).unwrap();
            line
        }

        fn tell(&mut self) {
            writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
        }

        /// What it says of each operation: `open=0:40 read=5:40 connect=0:39,110:1`.
        fn said(&mut self) -> Vec<(String, Errnos)> {
            let line = self.line();
            let pair = |text: &str| {
                let (errno, count) = text.split_once(':')?;
                Some((errno.parse().ok()?, count.parse().ok()?))
            };
            let word = |word: &str| {
                let (op, errnos) = word.split_once('=')?;
                let errnos: Option<Errnos> = errnos.split(',').map(pair).collect();
                Some((op.to_owned(), errnos?))
            };
            let said: Option<Vec<_>> = line.split_whitespace().map(word).collect();
            said.unwrap_or_else(|| panic!("{} says {line:?}", self.name))
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }

    fn command(cgroup: &Cgroup, program: &Path) -> Command {
        cgroup.command(program.to_str().unwrap())
    }

    fn start_all(cgroup: &Cgroup, place: &Place) -> Vec<Victim> {
        let programs = PROGRAMS.iter();
        let mut all: Vec<Victim> = programs
            .map(|(name, runs)| Victim::start(cgroup, name, runs, place))
            .collect();
        for victim in &mut all {
            assert_eq!(victim.line(), "ready\n", "{}", victim.name);
        }
        all
    }

    /// Has all of them make their calls at once; how often each operation ended with the errno that is
    /// wanted, and everything that ended otherwise.
    fn make_calls(victims: &mut [Victim], wanted: [i32; 3]) -> ([u64; 3], Vec<(String, u64)>) {
        for victim in &mut *victims {
            victim.tell();
        }
        let (mut calls, mut others) = ([0; 3], Vec::new());
        for victim in victims {
            let said = victim.said();
            let ops: Vec<&str> = said.iter().map(|(op, _)| op.as_str()).collect();
            assert_eq!(ops, ["open", "read", "connect"], "{}", victim.name);
            for (index, (op, errnos)) in said.into_iter().enumerate() {
                let count: u64 = errnos.values().sum();
                assert!(count >= 10, "{}: {count} times {op}", victim.name);
                for (errno, count) in errnos {
                    if errno == wanted[index] {
                        calls[index] += count;
                    } else {
                        others.push((format!("{}: {op}: {errno}", victim.name), count));
                    }
                }
            }
        }
        (calls, others)
    }

    /// Nothing fails.
    fn all_is_well(victims: &mut [Victim], when: &str) {
        let (_calls, others) = make_calls(victims, [0; 3]);
        assert!(others.is_empty(), "{when}: {others:?}");
    }

    const HIT: [i32; 3] = [libc::EACCES, libc::EIO, libc::ETIMEDOUT];

    fn experiment(target: &Cgroup, place: &Place, mechanism: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: victims}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - {{id: opens, fileError: {{ops: [open], errno: EACCES, path: {}}}}}
  - {{id: reads, fileError: {{ops: [read], errno: EIO, path: {}}}}}
  - {{id: connects, syscallError: {{ops: [connect], errno: ETIMEDOUT, peerPort: {}, mechanism: {mechanism}}}}}
",
            target.path(),
            place.file("opened").display(),
            place.file("read").display(),
            place.port
        )
    }

    #[test]
    fn every_language_is_hit_and_its_neighbour_is_not() {
        require!("file.error", "syscall.error");
        let before = Loaded::now();
        let place = Place::new();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut hit = start_all(&target, &place);
        let mut spared = start_all(&neighbour, &place);
        all_is_well(&mut hit, "before");
        let mut agent = Agent::start(&[]);

        let rungs = ["fmod-ret-syscall", "kprobe-override", "lsm", "fmod-ret"];
        let rungs = rungs.into_iter().filter(|it| can_by("syscall.error", it));
        // The first rung, and the one that the kernel always runs.
        for mechanism in rungs
            .enumerate()
            .filter_map(|(index, it)| (index == 0 || it == "lsm").then_some(it))
        {
            agent.apply(&experiment(&target, &place, mechanism));
            all_is_well(&mut spared, "beside");
            let (calls, others) = make_calls(&mut hit, HIT);
            let account = agent.stop("victims");
            for (fault, made) in calls.into_iter().enumerate() {
                let injected = counter(&account["nodes"][0], fault, "injected");
                assert_eq!(injected, made, "{mechanism} {account}");
            }
            // On a kernel that preempts, some pass while others are in the middle of the same program:
            // the account counts those that it runs no fmod_ret for, and those that find no buffer. The
            // first two faults are on the same hooks.
            let passed: u64 = others.iter().map(|(_, count)| count).sum();
            let uncounted = [0, 2].map(|fault| {
                let fault = &account["nodes"][0]["faults"][fault];
                fault["uncounted"].as_u64().unwrap()
            });
            assert!(
                passed <= uncounted.iter().sum::<u64>(),
                "{mechanism}: {others:?}, {account}"
            );
            all_is_well(&mut hit, "after");
        }

        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }
}
