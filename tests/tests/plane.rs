//! What every fault shares, with `file.error` as the fault: targets, rules, and how they end.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader, Write as _},
        process::{Child, Stdio},
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        agent::Agent, bpf::Loaded, cgroup::Cgroup, counter, eventually, long, require, run_script,
    };
    use serde_json::Value;

    /// A shell in a cgroup that opens files when it is told to, and says how that went. It is told
    /// through a pipe: opening anything else would count as well.
    struct Opener(Child);

    impl Opener {
        fn start(cgroup: &Cgroup) -> Self {
            let script = "while read -r path; do
                if exec 9<\"$path\"; then echo ok; exec 9<&-; else echo hit; fi
            done 2>/dev/null";
            // A failed redirection of exec ends a shell in posix mode only.
            let child = cgroup
                .script(script)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            Self(child)
        }

        /// Opens a file so many times; how often that failed.
        fn open(&mut self, path: &str, times: usize) -> usize {
            let input = self.0.stdin.as_mut().unwrap();
            let output = BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap());
            let mut lines = output.lines();
            let mut hits = 0;
            for _ in 0..times {
                writeln!(input, "{path}").unwrap();
                match lines.next().unwrap().unwrap().as_str() {
                    "ok" => {}
                    "hit" => hits += 1,
                    other => panic!("{other}"),
                }
            }
            hits
        }
    }

    impl Drop for Opener {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    fn experiment(name: &str, target: &str, faults: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: {name}}}
spec:
  target: {{cgroup: {target}}}
  duration: 10m
  seed: 1
  faults:
{faults}"
        )
    }

    fn fault(id: &str, target: Option<&str>, fields: &str) -> String {
        let target = target.map_or(String::new(), |target| {
            format!(", target: {{cgroup: {target}}}")
        });
        format!("  - {{id: {id}{target}, fileError: {{ops: [open], errno: EIO, {fields}}}}}\n")
    }

    fn shown(agent: &Agent, name: &str) -> Value {
        let said = agent.ask(&["show", name, "--json"]);
        assert_eq!(said.status, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    /// A counter of the fault with an identity, wherever it stands in the answer.
    fn of(value: &Value, id: &str, name: &str) -> u64 {
        fn find<'v>(value: &'v Value, id: &str) -> Option<&'v Value> {
            match value {
                Value::Object(fields) if fields.get("fault").is_some_and(|fault| fault == id) => {
                    fields.get("counters")
                }
                Value::Object(fields) => fields.values().find_map(|inner| find(inner, id)),
                Value::Array(items) => items.iter().find_map(|inner| find(inner, id)),
                _ => None,
            }
        }
        find(value, id)
            .and_then(|counters| counters[name].as_u64())
            .unwrap_or_else(|| panic!("no {name} of {id} in {value}"))
    }

    /// Waits until a counter stands at a value: an agent reads them once a second.
    fn counted(agent: &Agent, name: &str, id: &str, counter: &str, value: u64) {
        let mut last = Value::Null;
        for _ in 0..100 {
            last = shown(agent, name);
            if of(&last, id, counter) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{counter} of {id} is not {value}: {last}");
    }

    #[test]
    fn nested_targets_of_one_node_decide_once_each_to_depth_8() {
        require!("file.error");
        let mut nest = vec![Cgroup::new("nest")];
        for depth in 2..=8 {
            let inner = nest.last().unwrap().child(&format!("d{depth}"));
            nest.push(inner);
        }
        let faults: String = nest
            .iter()
            .enumerate()
            .map(|(index, cgroup)| {
                let fields = "path: /etc/hostname, shadow: true";
                fault(&format!("d{}", index + 1), Some(&cgroup.path()), fields)
            })
            .collect();
        let agent = Agent::start(&[]);
        let mut opener = Opener::start(nest.last().unwrap());
        let mut middle = Opener::start(&nest[3]);
        assert_eq!(opener.open("/etc/hostname", 1), 0);
        agent.apply(&experiment("nest", &nest[0].path(), &faults));
        assert_eq!(
            opener.open("/etc/hostname", 40),
            0,
            "shadow changes nothing"
        );
        assert_eq!(middle.open("/etc/hostname", 5), 0);
        for depth in 1..=8 {
            let expected = if depth <= 4 { 45 } else { 40 };
            let id = format!("d{depth}");
            counted(&agent, "nest", &id, "wouldInject", expected);
            counted(&agent, "nest", &id, "matched", expected);
        }
        drop((opener, middle));
        // Cgroups are removed from the inside out.
        while nest.pop().is_some() {}
    }

    #[test]
    fn several_cgroups_are_one_target_and_a_replay_hits_the_same_again() {
        require!("file.error");
        let (a, b, other) = (Cgroup::new("a"), Cgroup::new("b"), Cgroup::new("other"));
        let deep = b.child("deep");
        let agent = Agent::start(&[]);
        let several = |name: &str, fields: &str| {
            let rules = fault("one", None, &format!("path: /etc/hostname, {fields}"));
            let target = format!("{{cgroups: [{}, {}]}}", a.path(), b.path());
            experiment(name, "/x", &rules).replace("{cgroup: /x}", &target)
        };
        let mut openers = [&a, &deep, &other].map(Opener::start);
        let mut rounds = || {
            let mut hits = [0; 3];
            for _ in 0..20 {
                for (count, opener) in hits.iter_mut().zip(&mut openers) {
                    *count += opener.open("/etc/hostname", 1);
                }
            }
            hits
        };
        // Counted and bounded over both together.
        agent.apply(&several("chance", "probability: 40%, times: 10"));
        let hits = rounds();
        assert_eq!((hits[0] + hits[1], hits[2]), (10, 0), "{hits:?}");
        counted(&agent, "chance", "one", "injected", 10);
        eventually("the record is whole", Duration::from_secs(20), || {
            let ordinals =
                &shown_events(&agent, "chance")["nodes"][0]["faults"][0]["trail"]["ordinals"];
            ordinals.as_array().is_some_and(|all| all.len() == 10)
        });
        let told = shown_events(&agent, "chance");
        assert_eq!(agent.ask(&["stop", "chance"]).status, 0);
        let folder = tempfile::tempdir().unwrap();
        let evidence = folder.path().join("evidence.json");
        fs::write(&evidence, told.to_string()).unwrap();
        let file = agent.file(&several("again", "when: 1"));
        let said = agent.ask(&["apply", &file, "--replay", evidence.to_str().unwrap()]);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(rounds(), hits);
        counted(&agent, "again", "one", "injected", 10);
        counted(&agent, "again", "one", "matched", 40);
        // One of them goes: the other is still a target.
        assert_eq!(agent.ask(&["stop", "again"]).status, 0);
        agent.apply(&several("rest", "times: 100"));
        let [first, _, _] = openers;
        drop((first, a));
        let mut second = Opener::start(&b);
        assert_eq!(second.open("/etc/hostname", 5), 5);
        counted(&agent, "rest", "one", "injected", 5);
    }

    fn shown_events(agent: &Agent, name: &str) -> Value {
        let said = agent.ask(&["show", name, "--events", "--json"]);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    #[test]
    fn eight_rules_of_a_target_are_asked_in_order_and_a_ninth_is_refused() {
        require!("file.error");
        let target = Cgroup::new("eight");
        let mut agent = Agent::start(&[]);
        let rules = |count: usize| -> String {
            (1..=count)
                .map(|n| fault(&format!("f{n}"), None, "path: /etc/hostname, times: 2"))
                .collect()
        };
        let said = agent.ask(&[
            "apply",
            &agent.file(&experiment("nine", &target.path(), &rules(9))),
        ]);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(
            said.err.contains("spec.faults[8]: is one too many"),
            "{said:?}"
        );
        agent.apply(&experiment("eight", &target.path(), &rules(8)));
        // Of another experiment's only the node knows.
        let one_more = agent.file(&experiment("more", &target.path(), &rules(1)));
        let said = agent.ask(&["apply", &one_more]);
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.err.contains("8 faults"), "{said:?}");
        let mut opener = Opener::start(&target);
        assert_eq!(opener.open("/etc/hostname", 20), 16);
        for n in 1..=8_u64 {
            let id = format!("f{n}");
            counted(&agent, "eight", &id, "injected", 2);
            // Whoever comes later is not asked about what an earlier one has hit.
            counted(&agent, "eight", &id, "matched", 20 - 2 * (n - 1));
        }
        drop(opener);
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
    }

    #[test]
    fn parts_of_a_target_are_left_out() {
        require!("file.error");
        let whole = Cgroup::new("whole");
        let (left, hit) = (whole.child("left"), whole.child("hit"));
        let deeper = left.child("deeper");
        let agent = Agent::start(&[]);
        let outside = Cgroup::new("outside");
        let refused = agent.ask(&[
            "apply",
            &agent.file(&experiment(
                "outside",
                &whole.path(),
                &fault("f", None, &format!("exclude: [{}]", outside.path())),
            )),
        ]);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.err.contains("fileError.exclude"), "{refused:?}");
        let mut other = Opener::start(&hit);
        let exclude = format!("exclude: [{}, 'pid:{}']", left.path(), other.0.id());
        let rules = fault("files", None, &format!("path: /etc/hostname, {exclude}"));
        agent.apply(&experiment("parts", &whole.path(), &rules));
        let mut openers = [&whole, &left, &deeper].map(Opener::start);
        let hits = openers
            .each_mut()
            .map(|opener| opener.open("/etc/hostname", 4));
        assert_eq!((hits, other.open("/etc/hostname", 4)), ([4, 0, 0], 0));
        counted(&agent, "parts", "files", "matched", 4);
        drop((openers, other));
        drop((deeper, left, hit));
    }

    #[test]
    fn evidence_names_each_injection() {
        use std::os::unix::fs::MetadataExt as _;
        require!("file.error");
        let target = Cgroup::new("evidence");
        let agent = Agent::start(&[]);
        let rules = fault("second", None, "path: /etc/hostname, when: 2+2");
        agent.apply(&experiment("evidence", &target.path(), &rules));
        let mut opener = Opener::start(&target);
        assert_eq!(opener.open("/etc/hostname", 10), 5);
        counted(&agent, "evidence", "second", "injected", 5);
        let mut shown = Value::Null;
        eventually("the trail is as long", Duration::from_secs(20), || {
            let said = agent.ask(&["show", "evidence", "--events", "--json"]);
            shown = serde_json::from_str(&said.out).unwrap();
            let trail = &shown["nodes"][0]["faults"][0]["trail"];
            trail["events"].as_array().is_some_and(|all| all.len() == 5)
        });
        let trail = &shown["nodes"][0]["faults"][0]["trail"];
        assert_eq!(
            trail["ordinals"],
            serde_json::json!([2, 4, 6, 8, 10]),
            "{shown}"
        );
        assert_eq!(
            (&trail["truncated"], &trail["lost"]),
            (&false.into(), &0.into()),
            "{shown}"
        );
        let cgroup = fs::metadata(format!("/sys/fs/cgroup{}", target.path()))
            .unwrap()
            .ino();
        let events = trail["events"].as_array().unwrap();
        assert_eq!(events.len(), 5, "{shown}");
        for (event, ordinal) in events.iter().zip([2, 4, 6, 8, 10]) {
            assert_eq!(event["ordinal"], ordinal, "{event}");
            assert_eq!(event["pid"], opener.0.id(), "{event}");
            assert_eq!(event["tid"], opener.0.id(), "{event}");
            assert_eq!(event["comm"], "bash", "{event}");
            assert_eq!(event["syscall"], libc::SYS_openat, "{event}");
            assert_eq!(event["cgroup"], cgroup, "{event}");
        }
    }

    #[test]
    fn a_target_is_narrowed_by_names_and_users() {
        require!("file.error");
        let folder = tempfile::tempdir().unwrap();
        let worker = folder.path().join("worker-1");
        fs::copy("/usr/bin/cat", &worker).unwrap();
        let run = |narrowing: &str| {
            let script = format!(
                "chmod 755 {folder}
                 for program in 'cat' 'head -1' {worker} 'setpriv --reuid 65534 cat'; do
                     $program /etc/hostname >/dev/null 2>&1 && echo ok || echo hit
                 done | tr '\\n' ' '",
                folder = folder.path().display(),
                worker = worker.display(),
            );
            let fault = format!("file.error:open=EIO,path=/etc/hostname,{narrowing}");
            run_script(&[&fault], &script)
        };
        for (narrowing, expected, hits) in [
            ("comm=cat", "hit ok ok hit ", 2),
            ("comm=worker-1", "ok ok hit ok ", 1),
            ("thread=worker-", "ok ok hit ok ", 1),
            ("uid=65534", "ok ok ok hit ", 1),
            ("uid=0,thread=h", "ok hit ok ok ", 1),
        ] {
            let (said, account) = run(narrowing);
            assert_eq!(said.out, expected, "{narrowing}: {said:?}");
            assert_eq!(
                counter(&account, 0, "injected"),
                hits,
                "{narrowing}: {account}"
            );
            assert_eq!(counter(&account, 0, "error"), 0, "{narrowing}: {account}");
        }
        // Part of a name is not the name.
        let (said, account) = run("comm=worker-");
        assert_eq!(said.out, "ok ok ok ok ", "{said:?}");
        assert_eq!(counter(&account, 0, "matched"), 0, "{account}");
    }

    #[test]
    fn when_counts_per_thread_if_asked_and_a_rate_is_kept() {
        require!("file.error");
        let thrice =
            "for i in 1 2 3; do (exec 9</etc/hostname) 2>/dev/null && echo ok || echo hit; done";
        let own = "read a </etc/hostname && read b </etc/hostname && read c </etc/hostname";
        let script = format!(
            "for n in 1 2 3; do ({own}) 2>/dev/null && echo ok || echo hit; done | tr '\\n' ' '; {thrice} | tr '\\n' ' '"
        );
        let path = "file.error:open=EIO,path=/etc/hostname";
        let (said, account) = run_script(&[&format!("{path},when=2,scope=thread")], &script);
        // Three subshells with up to three opens each; then subshells with one open each.
        assert_eq!(said.out, "hit hit hit ok ok ok ", "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 3, "{account}");
        assert_eq!(counter(&account, 0, "matched"), 9, "{account}");
        let (said, account) = run_script(&[&format!("{path},when=2")], &script);
        assert_eq!(said.out, "hit ok ok ok ok ok ", "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 1, "{account}");
        let (said, account) = run_script(&[&format!("{path},maxRate=2/h")], thrice);
        assert_eq!(said.out, "hit\nhit\nok\n", "{said:?}");
        assert_eq!(counter(&account, 0, "overBudget"), 1, "{account}");
    }

    #[test]
    fn a_stopped_agent_ends_its_faults_within_the_lease_and_they_stay_ended() {
        require!("file.error");
        let target = Cgroup::new("lease");
        let agent = Agent::start(&[]);
        let mut opener = Opener::start(&target);
        let rules = fault("all", None, "path: /etc/hostname");
        agent.apply(&experiment("lease", &target.path(), &rules));
        assert_eq!(opener.open("/etc/hostname", 3), 3);
        agent.signal(libc::SIGSTOP);
        let stopped = Instant::now();
        eventually("the lease ends", Duration::from_secs(10), || {
            opener.open("/etc/hostname", 1) == 0
        });
        // Five seconds; it was raised at most so long ago.
        assert!(
            stopped.elapsed() > Duration::from_secs(2),
            "{:?}",
            stopped.elapsed()
        );
        agent.signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(
            opener.open("/etc/hostname", 3),
            0,
            "what has ended does not come back"
        );
        eventually("it is judged", Duration::from_secs(30), || {
            let status = shown(&agent, "lease").to_string();
            status.contains("lease") && status.contains("inconclusive")
        });
    }

    #[test]
    fn rules_that_come_and_go_never_touch_another() {
        require!("file.error");
        let before = Loaded::now();
        let target = Cgroup::new("churn");
        let mut agent = Agent::start(&[]);
        let mut opener = Opener::start(&target);
        let stays = fault("stays", None, "path: /etc/hostname");
        agent.apply(&experiment("stays", &target.path(), &stays));
        let comes = agent.file(&experiment(
            "comes",
            &target.path(),
            &fault("comes", None, "path: /etc/passwd"),
        ));
        // Beside all that, as fast as one client can.
        let mut beside = Opener::start(&target);
        let over = std::sync::atomic::AtomicBool::new(false);
        let (rounds, count) = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut count = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(
                        beside.open("/etc/hostname", 20),
                        20,
                        "never one event missed"
                    );
                    count += 20;
                }
                count
            });
            let limit = Duration::from_secs(if long() { 60 } else { 20 });
            let start = Instant::now();
            let mut rounds = 0;
            while start.elapsed() < limit {
                let said = agent.ask(&["apply", &comes]);
                assert_eq!(said.status, 0, "{said:?}");
                assert_eq!(opener.open("/etc/passwd", 2), 2);
                let said = agent.ask(&["stop", "comes"]);
                assert_eq!(said.status, 0, "{said:?}");
                assert_eq!(opener.open("/etc/passwd", 2), 0, "stop has returned");
                rounds += 1;
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            (rounds, load.join().unwrap())
        });
        println!("{rounds} rounds beside {count} opens");
        assert!(rounds > 0);
        counted(&agent, "stays", "stays", "injected", count);
        drop((opener, beside));
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }
}
