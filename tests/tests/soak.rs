//! All faults of calls, files, memory and disks at once on a load of everything, beside a neighbour with
//! the same load, for as long as there is time: nobody else notices.

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        os::unix::fs::MetadataExt as _,
        path::Path,
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::{Cgroup, of_kchaos},
        eventually, kchaos,
        kernel_log::KernelLog,
        lab, long,
        mounts::Mounted,
        needs::{can, can_by, skip},
        registered, require,
        stress::{Stress, failures},
    };
    use serde_json::Value;

    /// Where the short form runs, which is about this code and not about a kernel.
    const SHORT_ON: &str = "debian-6.12";

    /// In the target nothing can be relied on: a stress-ng that hangs is replaced.
    const TARGET_ROUND: Duration = Duration::from_secs(5);
    const TARGET_PATIENCE: Duration = Duration::from_secs(20);

    /// stress-ng ends its stressors one after the other, each when its round is done.
    const SLACK: Duration = Duration::from_mins(1);

    /// Operations on files.
    const OPERATIONS: &str =
        "open, create, read, write, mkdir, rmdir, rename, unlink, truncate, getattr";

    /// Calls that each mechanism can hit. The kernel takes its time for the programs of each.
    fn calls() -> &'static str {
        if long() {
            "openat, read, write, mmap, clone, mkdir, rmdir, rename, unlink, newfstatat"
        } else {
            "openat, read"
        }
    }

    fn soaking() -> Duration {
        Duration::from_secs(if long() { 600 } else { 16 })
    }

    fn calm() -> Duration {
        Duration::from_secs(if long() { 60 } else { 3 })
    }

    /// The faults that can be done here. What a disk is, it is for every event: instead of one in ten
    /// events it has a tenth of the time, and each kind another one.
    ///
    /// Errors are for stressors alone, by their threads' names: at one in ten, hardly a program survives
    /// its own start, and then there is no load.
    fn faults(disk: &Path) -> Vec<String> {
        let calls = format!("ops: [{}], probability: 10%", calls());
        let files = format!("ops: [{OPERATIONS}], probability: 10%");
        let memory = "errno: ENOMEM, probability: 10%, thread: stress-ng-";
        let disk = disk.display();
        let mut faults = vec![
            format!(
                "{{id: call-error, syscallError: {{{calls}, errno: EINTR, thread: stress-ng-}}}}"
            ),
            format!("{{id: call-busy, syscallDelay: {{{calls}, delay: 500us}}}}"),
            format!("{{id: call-asleep, syscallDelay: {{{calls}, delay: 20ms}}}}"),
            format!("{{id: file-error, fileError: {{{files}, errno: EIO, thread: stress-ng-}}}}"),
            format!("{{id: file-busy, fileDelay: {{{files}, delay: 500us}}}}"),
            format!("{{id: file-asleep, fileDelay: {{{files}, delay: 20ms}}}}"),
            format!("{{id: map, memMmap: {{{memory}}}}}"),
            format!("{{id: full, pulse: 500ms/5s, diskFull: {{path: {disk}/}}}}"),
            format!("{{id: quota, after: 1s, pulse: 500ms/5s, diskQuota: {{path: {disk}/}}}}"),
            format!(
                "{{id: readonly, after: 2s, pulse: 500ms/5s, diskReadonly: {{path: {disk}/}}}}"
            ),
            format!("{{id: limit, diskLimit: {{device: {disk}, writeIops: 4}}}}"),
        ];
        let lies = ["fmod-ret-syscall", "kprobe-override"];
        if lies.iter().any(|it| can_by("syscall.return", it)) {
            let lie = "ops: [write, fsync, lseek], value: 1, probability: 10%, thread: stress-ng-";
            faults.push(format!("{{id: call-lie, syscallReturn: {{{lie}}}}}"));
        }
        for (kind, field) in [("mem.slab", "memSlab"), ("mem.page", "memPage")] {
            if can(kind) {
                faults.push(format!("{{id: {kind}, {field}: {{{memory}}}}}"));
            }
        }
        faults
    }

    fn experiment(target: &Cgroup, faults: &[String]) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: soak}}
spec:
  target: {{cgroup: {}}}
  duration: 1h
  faults:
  - {}
",
            target.path(),
            faults.join("\n  - ")
        )
    }

    /// A load in the target that is begun again whenever it ends.
    struct Battered<'a> {
        cgroup: &'a Cgroup,
        folder: &'a Path,
        running: Option<(Stress, Instant)>,
        rounds: u32,
    }

    impl Battered<'_> {
        fn keep_up(&mut self) {
            if let Some((stress, since)) = &mut self.running {
                if !stress.is_over() && since.elapsed() < TARGET_PATIENCE {
                    return;
                }
                self.stop();
            }
            // It may not even start, and what it could not remove would fill the disk.
            for entry in fs::read_dir(self.folder).unwrap().flatten() {
                fs::remove_dir_all(entry.path()).ok();
            }
            if let Ok(stress) = Stress::start(self.cgroup, self.folder, TARGET_ROUND) {
                self.running = Some((stress, Instant::now()));
                self.rounds += 1;
            }
        }

        fn stop(&mut self) {
            self.cgroup.write("cgroup.kill", "1");
            if let Some((stress, _)) = self.running.take() {
                stress.end();
            }
        }
    }

    /// Checks whom the sampled injections of all faults have hit.
    struct Witness {
        target: u64,
        spared: BTreeSet<u64>,
        seen: BTreeMap<String, BTreeSet<u64>>,
        all_are_hit: bool,
        comms: BTreeSet<String>,
    }

    impl Witness {
        /// Whoever lives now must not be hit: kernel threads, PID 1, the agent and its helpers, this test.
        fn new(target: &Cgroup) -> Self {
            let folder = format!("/sys/fs/cgroup{}", target.path());
            let processes = fs::read_dir("/proc").unwrap().flatten();
            Self {
                target: fs::metadata(folder).unwrap().ino(),
                spared: processes
                    .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                    .collect(),
                seen: BTreeMap::new(),
                comms: BTreeSet::new(),
                all_are_hit: false,
            }
        }

        fn look(&mut self, shown: &Value) {
            let faults = shown["nodes"][0]["faults"].as_array().unwrap();
            self.all_are_hit = faults.iter().all(|fault| injected(fault) > 0);
            for fault in faults {
                let id = fault["fault"].as_str().unwrap().to_owned();
                let Some(events) = fault["trail"]["events"].as_array() else {
                    continue;
                };
                for event in events {
                    let cgroup = event["cgroup"].as_u64();
                    assert_eq!(cgroup, Some(self.target), "{id}: {event}");
                    let pid = event["pid"].as_u64().unwrap();
                    assert!(!self.spared.contains(&pid), "{id}: {event}");
                    self.comms
                        .insert(event["comm"].as_str().unwrap().to_owned());
                    let ordinal = event["ordinal"].as_u64().unwrap();
                    self.seen.entry(id.clone()).or_default().insert(ordinal);
                }
            }
        }
    }

    fn injected(fault: &Value) -> u64 {
        fault["counters"]["injected"].as_u64().unwrap_or_default()
    }

    fn nothing_is_left(before: &Loaded) {
        eventually("no guard is left", Duration::from_secs(10), || {
            registered("guard").is_empty()
        });
        assert!(of_kchaos().is_empty(), "{:?}", of_kchaos());
        assert_eq!(before.left_since(), Loaded::default());
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
        assert!(check.out.contains("nothing of kchaos is here"), "{check:?}");
    }

    /// Both loads without a fault: what fails then is no fault's doing.
    fn without_faults(cgroups: [&Cgroup; 2], folders: [&Path; 2]) {
        let loads = [0, 1].map(|n| Stress::start(cgroups[n], folders[n], calm()).unwrap());
        for load in loads {
            let said = load.end();
            assert!(failures(&said).is_empty(), "without a fault: {said:#?}");
        }
    }

    #[test]
    fn a_neighbour_of_everything_notices_nothing() {
        require!("syscall.error", "syscall.delay", "file.error", "file.delay");
        require!("mem.mmap", "disk.full", "disk.limit");
        if !long() && lab() != SHORT_ON {
            return skip(&format!("here only with --long, else on {SHORT_ON}"));
        }
        let began = Instant::now();
        let say = |what: &str| println!("{:>5.1} s  {what}", began.elapsed().as_secs_f64());
        let before = Loaded::now();
        let mut log = KernelLog::from_now();
        // Kept until their processes are gone.
        let disks = [Mounted::ext4(), Mounted::ext4()];
        let folders = [disks[0].path(), disks[1].path()];
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        without_faults([&target, &neighbour], folders);
        say("nothing fails without a fault");

        let mut agent = Agent::start(&[]);
        let faults = faults(folders[0]);
        let armed = agent.file(&experiment(&target, &faults));
        let said = agent.ask(&["apply", &armed]);
        assert_eq!(said.status, 0, "{said:?}");
        println!("{}", said.out);
        say("armed");
        let mut witness = Witness::new(&target);
        let start = Instant::now();
        let mut spared = Stress::start(&neighbour, folders[1], soaking()).unwrap();
        let mut battered = Battered {
            cgroup: &target,
            folder: folders[0],
            running: None,
            rounds: 0,
        };
        let mut looked = Instant::now();
        loop {
            let is_over = spared.is_over();
            // On a busy machine a tenth of a short time may be too short for a disk.
            if is_over && (witness.all_are_hit || start.elapsed() > soaking() + SLACK) {
                break;
            }
            assert!(
                is_over || start.elapsed() < soaking() + SLACK,
                "the neighbour hangs: {:?}",
                log.complaints()
            );
            battered.keep_up();
            if looked.elapsed() > Duration::from_secs(3) {
                let shown = agent.ask(&["show", "soak", "--events", "--json"]);
                witness.look(&serde_json::from_str(&shown.out).unwrap());
                looked = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let said = spared.end();
        say("the neighbour's load is over");
        assert!(failures(&said).is_empty(), "the neighbour: {said:#?}");
        println!("the target's load was begun {} times", battered.rounds);
        let account = agent.stop("soak");
        battered.stop();
        witness.look(&account);

        let shown = account["nodes"][0]["faults"].as_array().unwrap();
        assert_eq!(shown.len(), faults.len(), "{account}");
        for fault in shown {
            let counters = &fault["counters"];
            let count = |name: &str| counters[name].as_u64().unwrap_or_default();
            let id = fault["fault"].as_str().unwrap();
            println!(
                "{id:<12} by {:<16} matched {:>7} injected {:>6} errors {:>3} looked at {:>5}",
                fault["mechanism"].as_str().unwrap_or_default(),
                count("matched"),
                injected(fault),
                count("error"),
                witness.seen.get(id).map_or(0, BTreeSet::len),
            );
        }
        println!("hit were {:?}", witness.comms);
        for fault in shown {
            assert!(injected(fault) > 0, "{fault}");
        }
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        nothing_is_left(&before);
        assert_eq!(log.complaints(), Vec::<String>::new());
        say("all over");
    }
}
