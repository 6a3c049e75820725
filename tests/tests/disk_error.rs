//! `disk.error` on a real kernel, by each mechanism: on whose account a disk fails, and for what.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        os::unix::fs::MetadataExt as _,
        path::Path,
        process::{Command, Stdio},
        time::Duration,
    };

    use kchaos_tests::{
        Said,
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        disk::{apply, script, stop},
        eventually, found, kchaos,
        kernel_log::KernelLog,
        mounts::Mounted,
        needs::{can, can_by, skip},
        require,
    };
    use serde_json::Value;

    const KIND: &str = "disk.error";
    const PATIENCE: Duration = Duration::from_secs(30);
    const FAILED: &str = "Input/output error";

    /// Runs a command and prints `done`, or the last words of what it says.
    const TRY: &str = "try() { local said; if said=$(\"$@\" 2>&1); then echo done; \
                       else echo \"${said##*: }\"; fi; }; ";

    /// Reads pages of a file of the disk, one by one and past the cache.
    const READS: &str = "for page in 0 1 2 3; do \
                         try dd if=known of=/dev/null bs=4K count=1 skip=$page iflag=direct status=none; \
                         done";
    const ALL_FAILED: [&str; 4] = [FAILED; 4];
    const ALL_DONE: [&str; 4] = ["done"; 4];

    /// What becomes of commands that a cgroup runs on a file system.
    fn tried(cgroup: &Cgroup, disk: &Mounted, commands: &str) -> Vec<String> {
        script(cgroup, disk.path(), &format!("{TRY}{commands}"))
    }

    /// An ext4 of its own, with a file that is on its disk.
    fn disk() -> Mounted {
        let disk = Mounted::ext4();
        let mut known = fs::File::create(disk.path().join("known")).unwrap();
        known.write_all(&[7; 4 << 12]).unwrap();
        known.sync_all().unwrap();
        disk
    }

    /// By its numbers.
    fn number(disk: &Mounted) -> String {
        let number = fs::metadata(disk.path()).unwrap().dev();
        format!("{}:{}", libc::major(number), libc::minor(number))
    }

    fn node(disk: &Mounted) -> String {
        let event = fs::read_to_string(format!("/sys/dev/block/{}/uevent", number(disk))).unwrap();
        let name = event.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        format!("/dev/{}", name.unwrap())
    }

    fn fault(keys: &str) -> String {
        format!("{{diskError: {{errno: EIO, {keys}}}}}")
    }

    /// Considered, matched, injected.
    fn counted(counters: &Value) -> [u64; 3] {
        ["considered", "matched", "injected"].map(|name| counters[name].as_u64().unwrap())
    }

    /// How many I/O errors the kernel has told of in its log.
    fn logged(log: &mut KernelLog, disk: &Mounted) -> usize {
        let device = node(disk).replace("/dev/", "");
        let about = format!("(device {device}): ext4_end_bio");
        let lines = log.lines();
        let lines = lines.iter().filter(|line| line.contains(&about));
        lines.filter(|line| line.contains("I/O error")).count()
    }

    fn each_mechanism(test: fn(&str)) {
        for mechanism in ["fmod-ret", "kprobe-override"] {
            if can_by(KIND, mechanism) {
                test(mechanism);
            }
        }
    }

    #[test]
    fn reads_fail_for_the_target_on_its_disk_alone() {
        require!("disk.error");
        each_mechanism(|mechanism| {
            let before = Loaded::now();
            let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
            let (disk, other) = (disk(), disk());
            let mut agent = Agent::start(&[]);
            let inside = target.child("inside");
            let keys = format!(
                "ops: [read], device: {}, mechanism: {mechanism}",
                number(&disk)
            );
            apply(&agent, &target, &fault(&keys));
            assert_eq!(tried(&target, &disk, READS), ALL_FAILED, "{mechanism}");
            assert_eq!(tried(&inside, &disk, READS), ALL_FAILED, "{mechanism}");
            assert_eq!(tried(&target, &other, READS), ALL_DONE, "another disk");
            assert_eq!(tried(&neighbour, &disk, READS), ALL_DONE, "a neighbour");
            let write = "try dd if=/dev/zero of=new bs=4K count=1 oflag=direct status=none";
            assert_eq!(tried(&target, &disk, write), ["done"], "another operation");
            // What is in the page cache needs no disk.
            assert_eq!(tried(&neighbour, &disk, "try cat known"), ["done"]);
            assert_eq!(tried(&target, &disk, "try cat known"), ["done"]);
            // Those of the other disk are considered, and do not match.
            assert_eq!(counted(&stop(&agent)), [12, 8, 8], "{mechanism}");
            assert_eq!(tried(&target, &disk, READS), ALL_DONE, "after the end");

            // By a path on it, and the second only.
            let device = disk.path().display();
            let keys = format!("device: {device}, when: 2, ops: [read], mechanism: {mechanism}");
            apply(&agent, &target, &fault(&keys));
            let second = ["done", FAILED, "done", "done"];
            assert_eq!(tried(&target, &disk, READS), second, "{mechanism}");
            assert_eq!(counted(&stop(&agent)), [4, 4, 1], "{mechanism}");

            agent.signal(libc::SIGTERM);
            assert!(agent.child.wait().unwrap().success());
            assert_eq!(before.left_since(), Loaded::default());
        });
    }

    #[test]
    fn writes_fail_for_whoever_made_them_whoever_writes_them_back() {
        require!("disk.error");
        each_mechanism(|mechanism| {
            let (mut log, mut all) = (KernelLog::from_now(), KernelLog::from_now());
            let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
            let disk = disk();
            let agent = Agent::start(&[]);
            let keys = format!(
                "ops: [write], device: {}, mechanism: {mechanism}",
                number(&disk)
            );
            apply(&agent, &target, &fault(&keys));
            let synced = "try dd if=/dev/zero of=$NAME bs=64K count=1 conv=fsync status=none";
            let of = |name: &str| synced.replace("$NAME", name);
            assert_eq!(tried(&target, &disk, &of("one")), [FAILED], "{mechanism}");
            assert_eq!(tried(&neighbour, &disk, &of("theirs")), ["done"]);
            let direct =
                "try dd if=/dev/zero of=known bs=4K count=1 oflag=direct conv=notrunc status=none";
            assert_eq!(tried(&target, &disk, direct), [FAILED], "{mechanism}");
            assert_eq!(tried(&neighbour, &disk, direct), ["done"]);
            // A direct write is answered, and not told of in the log.
            assert_eq!(logged(&mut log, &disk), 1, "{mechanism}");

            // Both write into the page cache. Neither of them writes it back, but a kworker that the
            // neighbour sends.
            let cached = "try dd if=/dev/zero of=$NAME bs=64K count=1 status=none";
            let of = |name: &str| cached.replace("$NAME", name);
            assert_eq!(tried(&target, &disk, &of("two")), ["done"]);
            assert_eq!(tried(&neighbour, &disk, &of("theirs-too")), ["done"]);
            assert_eq!(tried(&neighbour, &disk, "try sync"), ["done"]);
            assert_eq!(logged(&mut log, &disk), 1, "{mechanism}");
            // Who asks is told.
            assert_eq!(tried(&neighbour, &disk, "try sync theirs-too"), ["done"]);
            assert_eq!(
                tried(&target, &disk, "try sync two"),
                [FAILED],
                "{mechanism}"
            );
            assert_eq!(counted(&stop(&agent)), [3, 3, 3], "{mechanism}");

            assert_eq!(tried(&target, &disk, &of("three")), ["done"]);
            assert_eq!(tried(&target, &disk, "try sync three"), ["done"]);
            let read = "try dd if=theirs-too of=/dev/null bs=64K iflag=direct status=none";
            assert_eq!(tried(&neighbour, &disk, read), ["done"]);
            assert_eq!(all.complaints(), Vec::<String>::new());
        });
    }

    #[test]
    fn flushes_and_discards_fail_too() {
        require!("disk.error");
        each_mechanism(|mechanism| {
            let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
            let disk = Partitioned::new();
            let tried = |cgroup: &Cgroup, commands: &str| {
                script(cgroup, Path::new("/"), &format!("{TRY}{commands}"))
            };
            let agent = Agent::start(&[]);
            let device = &disk.path;
            let flush = format!("try sync {device}");
            let discard = format!("try /sbin/blkdiscard -f {device}");
            let write =
                format!("try dd if=/dev/zero of={device} bs=4K count=1 oflag=direct status=none");
            for (op, fails, works) in [
                ("flush", &flush, [&discard, &write]),
                ("discard", &discard, [&flush, &write]),
            ] {
                let keys = format!("ops: [{op}], device: {device}, mechanism: {mechanism}");
                apply(&agent, &target, &fault(&keys));
                assert_eq!(tried(&target, fails), [FAILED], "{mechanism} {op}");
                for command in works {
                    assert_eq!(
                        tried(&target, command),
                        ["done"],
                        "{mechanism} {op}: {command}"
                    );
                }
                assert_eq!(tried(&neighbour, fails), ["done"], "{mechanism} {op}");
                assert_eq!(counted(&stop(&agent)), [1, 1, 1], "{mechanism} {op}");
            }
            assert_eq!(tried(&target, &format!("{flush}; {discard}")), ["done"; 2]);
        });
    }

    #[test]
    fn a_disk_is_all_of_its_partitions_and_a_partition_is_itself() {
        require!("disk.error");
        let target = Cgroup::new("target");
        let disk = Partitioned::new();
        let agent = Agent::start(&[]);
        let part = format!("{}p1", disk.path);
        eventually("the partition is there", PATIENCE, || {
            Path::new(&part).exists()
        });
        let reads = |device: &str| {
            let read =
                format!("try dd if={device} of=/dev/null bs=4K count=1 iflag=direct status=none");
            let said = script(&target, Path::new("/"), &format!("{TRY}{read}"));
            said[0] == "done"
        };
        for (named, whole_fails) in [(&disk.path, true), (&part, false)] {
            apply(
                &agent,
                &target,
                &fault(&format!("ops: [read], device: {named}")),
            );
            assert!(!reads(&part), "the partition, for {named}");
            assert_eq!(!reads(&disk.path), whole_fails, "the disk, for {named}");
            stop(&agent);
        }
        assert!(reads(&part) && reads(&disk.path));
    }

    #[test]
    fn it_ends_at_its_deadline_and_with_its_agent() {
        require!("disk.error");
        let before = Loaded::now();
        let target = Cgroup::new("target");
        let disk = disk();
        let word = format!("disk.error:read=EIO,device={}", number(&disk));
        let mut child = Command::new("kchaos")
            .args(["inject", "--target", &target.target(), "--fault", &word])
            .args(["--duration", "6s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let one = "try dd if=known of=/dev/null bs=4K count=1 iflag=direct status=none";
        let fails = || tried(&target, &disk, one) == [FAILED];
        eventually("it is armed", PATIENCE, &fails);
        eventually("its deadline has come", PATIENCE, || !fails());
        assert_eq!(child.wait().unwrap().code(), Some(0));

        let mut agent = Agent::start(&[]);
        let keys = format!("ops: [read], device: {}", number(&disk));
        apply(&agent, &target, &fault(&keys));
        assert!(fails());
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        assert!(!fails(), "gone with its agent");
        eventually("nothing is loaded", PATIENCE, || {
            before.left_since() == Loaded::default()
        });
    }

    #[test]
    fn without_an_account_of_its_own_it_is_refused_with_what_to_do() {
        require!("disk.error");
        let disk = disk();
        let parent = Cgroup::new("parent");
        let target = parent.child("target");
        let device = number(&disk);
        let inject = |more: &str| {
            let word = format!("disk.error=EIO,device={device}{more}");
            let target = target.target();
            let arguments = ["inject", "--json", "--duration", "1s", "--target", &target];
            kchaos(&[&arguments[..], &["--fault", &word]].concat())
        };
        let said = inject("");
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.err.contains("echo +io >/sys/fs/cgroup"), "{said:?}");

        parent.write("cgroup.subtree_control", "+io");
        let said = inject("");
        assert_eq!(said.status, 4, "it hit nothing: {said:?}");
        assert!(said.out.contains("buffered writes of cgroup"), "{said:?}");
        assert!(said.out.contains("echo +memory >"), "{said:?}");

        parent.write("cgroup.subtree_control", "+memory");
        let said = inject("");
        assert_eq!(said.status, 4, "{said:?}");
        assert!(!said.out.contains("buffered writes of cgroup"), "{said:?}");
        // What would be hit although it is left out.
        let inside = target.child("inside");
        let exclude = format!(",exclude={}", inside.path());
        let said = inject(&exclude);
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.err.contains("exclude: what cgroup"), "{said:?}");
        target.write("cgroup.subtree_control", "+io");
        let said = inject(&exclude);
        assert!(said.err.contains("exclude: buffered writes"), "{said:?}");
        target.write("cgroup.subtree_control", "+memory");
        let said = inject(&exclude);
        assert_eq!(said.status, 4, "{said:?}");

        // The command's cgroup is below the lab's, which has processes and so hands nothing on.
        let said = kchaos(&["run", "--fault", "disk.error=EIO", "--", "true"]);
        assert_eq!(said.status, 125, "{said:?}");
        assert!(said.err.contains("echo +io >"), "{said:?}");
        for (device, what) in [
            ("/tmp", "name the disk itself"),
            ("/dev/null", "character device"),
            ("4095:1", "has no block device 4095:1"),
        ] {
            let word = format!("disk.error=EIO,device={device}");
            let target = target.target();
            let arguments = ["inject", "--duration", "1s", "--target", &target, "--fault"];
            let said = kchaos(&[&arguments[..], &[&word]].concat());
            assert_eq!(said.status, 3, "{said:?}");
            assert!(said.err.contains(what), "{device}: {said:?}");
        }
    }

    /// The account says whose request it was, not who handed it in.
    #[test]
    fn a_sample_is_on_the_targets_account() {
        require!("disk.error");
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let disk = disk();
        let agent = Agent::start(&[]);
        let keys = format!("ops: [write], device: {}", number(&disk));
        apply(&agent, &target, &fault(&keys));
        let write = "try dd if=/dev/zero of=new bs=64K count=1 status=none";
        assert_eq!(tried(&target, &disk, write), ["done"]);
        assert_eq!(tried(&neighbour, &disk, "try sync"), ["done"]);
        let own = fs::metadata(format!("/sys/fs/cgroup{}", target.path()))
            .unwrap()
            .ino();
        eventually("it was sampled", PATIENCE, || {
            let said = agent.ask(&["show", "disk", "--events", "--json"]);
            let report: Option<Value> = said
                .out
                .lines()
                .find_map(|line| serde_json::from_str(line).ok());
            let cgroup = report.as_ref().and_then(|report| found(report, "cgroup"));
            cgroup == Some(own) && said.out.contains("kworker")
        });
        stop(&agent);
    }

    #[test]
    fn elsewhere_it_says_what_is_missing_and_what_would_do() {
        if can(KIND) {
            return skip("it works here");
        }
        require!("file.error");
        let said = kchaos(&["run", "--fault", "disk.error=EIO", "--", "true"]);
        assert_eq!(said.status, 125, "{said:?}");
        for what in [
            "CONFIG_FUNCTION_ERROR_INJECTION",
            "file.error",
            "fmod-ret",
            "kprobe-override",
        ] {
            assert!(said.err.contains(what), "{what}: {said:?}");
        }
    }

    /// A loop device with one partition, with a file in memory below it; gone with the value.
    struct Partitioned {
        path: String,
        _file: tempfile::NamedTempFile,
    }

    impl Partitioned {
        fn new() -> Self {
            /// Where the first entry of a master boot record is.
            const ENTRY: usize = 446;
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(16 << 20).unwrap();
            let mut record = [0; 512];
            // Linux; from the second MiB on, eight of them.
            record[ENTRY + 4] = 0x83;
            record[ENTRY + 8..ENTRY + 12].copy_from_slice(&2048_u32.to_le_bytes());
            record[ENTRY + 12..ENTRY + 16].copy_from_slice(&16384_u32.to_le_bytes());
            record[510..].copy_from_slice(&[0x55, 0xaa]);
            file.write_all(&record).unwrap();
            let image = file.path().display().to_string();
            let path = losetup(&["--find", "--show", "--partscan", &image]);
            Self { path, _file: file }
        }
    }

    impl Drop for Partitioned {
        fn drop(&mut self) {
            losetup(&["--detach", &self.path]);
        }
    }

    fn losetup(arguments: &[&str]) -> String {
        // Not always on the PATH of who runs the tests.
        let output = Command::new("/sbin/losetup").args(arguments).output();
        let said: Said = output.unwrap().into();
        assert_eq!(said.status, 0, "{said:?}");
        said.out.trim().to_owned()
    }
}
