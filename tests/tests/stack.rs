//! Sampled injections say where the thread was in user space.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader, Write as _},
        process::{Child, ChildStdout, Stdio},
        time::Duration,
    };

    use kchaos_tests::{agent::Agent, cgroup::Cgroup, eventually, kchaos, require};
    use serde_json::Value;

    /// A process that opens a file when it is told to, from a known place.
    struct Framed {
        process: Child,
        out: BufReader<ChildStdout>,
        outer: u64,
        inner: u64,
        end: u64,
    }

    impl Framed {
        fn start(cgroup: &Cgroup) -> Self {
            let mut process = cgroup
                .command(env!("CARGO_BIN_EXE_framed"))
                .arg("/etc/hostname")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = BufReader::new(process.stdout.take().unwrap());
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            let places: Vec<u64> = line
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            let [outer, inner, end] = places.try_into().unwrap();
            Self {
                process,
                out,
                outer,
                inner,
                end,
            }
        }

        /// The errno of one open.
        fn open(&mut self) -> i32 {
            writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
            let mut line = String::new();
            self.out.read_line(&mut line).unwrap();
            line.trim().parse().unwrap()
        }

        /// Its two frames are innermost, and the places in the file hold what returns there.
        fn check(&self, event: &Value) {
            let file = env!("CARGO_BIN_EXE_framed");
            let code = fs::read(file).unwrap();
            for (frame, from, to, before) in [
                // A syscall returns behind its two bytes, a call behind its five.
                (0, self.inner, self.end, (2, 0x0f)),
                (1, self.outer, self.inner, (5, 0xe8)),
            ] {
                let frame = &event["stack"][frame];
                let address = frame["address"].as_str().unwrap().trim_start_matches("0x");
                let address = u64::from_str_radix(address, 16).unwrap();
                assert!((from..to).contains(&address), "{event}");
                assert_eq!(frame["file"], file, "{event}");
                let offset = usize::try_from(frame["offset"].as_u64().unwrap()).unwrap();
                assert_eq!(code[offset - before.0], before.1, "{event}");
            }
        }
    }

    impl Drop for Framed {
        fn drop(&mut self) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }

    #[test]
    fn a_caller_is_found_in_the_stack() {
        require!("file.error", "syscall.error");
        let target = Cgroup::new("target");
        let agent = Agent::start(&[]);
        let mut framed = Framed::start(&target);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: stacks}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - id: file
    fileError: {{ops: [open], errno: EBADE, path: /etc/hostname, when: 1, stack: true}}
  - id: bare
    fileError: {{ops: [open], errno: EBADE, path: /etc/hostname, when: 1}}
  - id: call
    syscallError: {{ops: [openat], errno: EBADE, when: 1, stack: true}}
",
            target.path()
        ));
        // Each of them hits one, in whatever order their programs are asked.
        let errnos = [(); 4].map(|()| framed.open());
        assert_eq!(errnos, [libc::EBADE, libc::EBADE, libc::EBADE, 0]);
        let mut faults = Value::Null;
        eventually("the next report has them", Duration::from_secs(20), || {
            let shown = agent.ask(&["show", "stacks", "--events", "--json"]);
            let shown: Value = serde_json::from_str(&shown.out).unwrap();
            faults = shown["nodes"][0]["faults"].clone();
            let faults = faults.as_array().unwrap();
            faults.iter().all(|fault| fault["trail"]["sampled"] == 1)
        });
        for fault in [0, 2] {
            framed.check(&faults[fault]["trail"]["events"][0]);
        }
        let bare = &faults[1]["trail"]["events"][0];
        assert_eq!(bare["stack"], Value::Null, "{bare}");
        let shown = agent.ask(&["show", "stacks", "--events"]);
        let place = format!("at {}+0x", env!("CARGO_BIN_EXE_framed"));
        assert_eq!(shown.out.matches(&place).count() % 2, 0, "{shown:?}");
        assert!(shown.out.contains(&place), "{shown:?}");
    }

    #[test]
    fn what_has_no_stack_refuses_to_tell_it() {
        let packets = kchaos(&["explain", "net.loss=1%,direction=ingress,stack=true"]);
        assert_eq!(packets.status, 2, "{packets:?}");
        assert!(
            packets.err.contains("stack: net.loss has none"),
            "{packets:?}"
        );
        let word = "syscall.error:fsync=EIO,mechanism=seccomp-notify,stack=true";
        let filter = kchaos(&["run", "--fault", word, "--", "true"]);
        assert_eq!(filter.status, 125, "{filter:?}");
        assert!(filter.err.contains("reads no stacks"), "{filter:?}");
    }
}
