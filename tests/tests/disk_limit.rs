//! `disk.limit` on a real kernel: whom it hits, how much, and that it ends.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::MetadataExt as _,
        path::Path,
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        Said, agent::Agent, cgroup::Cgroup, cgroup::of_kchaos, counter, eventually, kchaos,
        registered, require, signal,
    };
    use serde_json::Value;

    const PATIENCE: Duration = Duration::from_secs(20);
    const MIB: u64 = 1 << 20;

    /// A loop device with a file in memory below it; gone with the value.
    struct Disk {
        path: String,
        file: tempfile::NamedTempFile,
    }

    impl Disk {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(64 * MIB).unwrap();
            let path = losetup(&["--find", "--show", &file.path().display().to_string()]);
            let disk = Self { path, file };
            assert!(Path::new(&disk.path).exists(), "{}", disk.path);
            disk
        }

        /// As `io.max` names it.
        fn number(&self) -> String {
            let number = fs::metadata(&self.path).unwrap().rdev();
            format!("{}:{}", libc::major(number), libc::minor(number))
        }

        /// Its line in the limits of a cgroup, without its name; empty is no limit.
        fn line(&self, cgroup: &Cgroup) -> String {
            let number = format!("{} ", self.number());
            let lines = cgroup.read("io.max");
            lines
                .lines()
                .find_map(|line| line.strip_prefix(&number))
                .unwrap_or_default()
                .to_owned()
        }

        fn holds(&self, cgroup: &Cgroup, line: &str) {
            eventually(line, PATIENCE, || self.line(cgroup) == line);
        }

        fn fault(&self, limits: &str) -> String {
            format!("disk.limit={},{limits}", self.path)
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            losetup(&["--detach", &self.path]);
            assert!(self.file.path().exists());
        }
    }

    fn losetup(arguments: &[&str]) -> String {
        // Not always on the PATH of who runs the tests.
        let said: Said = Command::new("/sbin/losetup")
            .args(arguments)
            .output()
            .unwrap()
            .into();
        assert_eq!(said.status, 0, "{said:?}");
        said.out.trim().to_owned()
    }

    /// How long so much direct I/O takes in a cgroup, in pieces of 64 KiB.
    fn takes(cgroup: &Cgroup, from: &str, to: &str, mib: u64) -> Duration {
        let (direct_in, direct_out) = if from.starts_with("/dev/loop") {
            ("iflag=direct", "")
        } else {
            ("", "oflag=direct")
        };
        let start = Instant::now();
        let said: Said = cgroup
            .script(&format!(
                "exec dd if={from} of={to} bs=64K count={} {direct_in} {direct_out}",
                mib * 16
            ))
            .output()
            .unwrap()
            .into();
        assert_eq!(said.status, 0, "{said:?}");
        start.elapsed()
    }

    fn writes(cgroup: &Cgroup, disk: &Disk, mib: u64) -> f64 {
        takes(cgroup, "/dev/zero", &disk.path, mib).as_secs_f64()
    }

    fn reads(cgroup: &Cgroup, disk: &Disk, mib: u64) -> f64 {
        takes(cgroup, &disk.path, "/dev/null", mib).as_secs_f64()
    }

    fn inject(target: &Cgroup, fault: &str, duration: &str) -> Child {
        Command::new("kchaos")
            .args(["inject", "--json", "--target", &target.target()])
            .args(["--fault", fault, "--duration", duration])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn ended(child: Child) -> (i32, Value) {
        let said = Said::from(child.wait_with_output().unwrap());
        let last = said.out.lines().last().unwrap();
        (said.status, serde_json::from_str(last).unwrap())
    }

    fn refused(target: &Cgroup, fault: &str) -> String {
        let said = kchaos(&[
            "inject",
            "--target",
            &target.target(),
            "--fault",
            fault,
            "--duration",
            "1s",
        ]);
        assert_eq!(said.status, 3, "{said:?}");
        said.err
    }

    fn nothing_is_left() {
        eventually("no guard is left", PATIENCE, || {
            registered("guard").is_empty()
        });
        eventually("no cgroup is left", PATIENCE, || of_kchaos().is_empty());
        let check = kchaos(&["heal", "--check"]);
        assert_eq!(check.status, 0, "{check:?}");
        assert!(check.out.contains("nothing of kchaos is here"), "{check:?}");
    }

    const WRITES: &str = "rbps=max wbps=1048576 riops=max wiops=max";

    #[test]
    fn the_target_is_held_to_the_limit_and_its_neighbour_is_not() {
        require!("disk.limit");
        let disk = Disk::new();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let free = writes(&target, &disk, 6);
        assert!(free < 3.0, "the disk is too slow to be limited: {free}");
        let child = inject(&target, &disk.fault("writeBps=1MiB"), "1m");
        disk.holds(&target, WRITES);
        let held = writes(&target, &disk, 6);
        assert!((4.0..20.0).contains(&held), "6 MiB at 1 MiB/s: {held}");
        assert!(reads(&target, &disk, 6) < 3.0, "reads are free");
        assert!(writes(&neighbour, &disk, 6) < 3.0, "its neighbour is free");
        assert_eq!(neighbour.read("io.max"), "");
        signal(child.id(), libc::SIGINT);
        let (_, account) = ended(child);
        let (matched, injected) = (
            counter(&account, 0, "matched"),
            counter(&account, 0, "injected"),
        );
        assert!(injected >= 3 && injected <= matched, "{account}");
        assert_eq!(target.read("io.max"), "");
        let after = writes(&target, &disk, 6);
        assert!(after < 3.0, "gone at the end: {after}");
        nothing_is_left();
    }

    #[test]
    fn reads_and_operations_are_limited_too() {
        require!("disk.limit");
        let disk = Disk::new();
        let target = Cgroup::new("target");
        let child = inject(&target, &disk.fault("readBps=1MiB,writeIops=20"), "1m");
        disk.holds(&target, "rbps=1048576 wbps=max riops=max wiops=20");
        let read = reads(&target, &disk, 5);
        assert!((3.0..15.0).contains(&read), "5 MiB at 1 MiB/s: {read}");
        let written = writes(&target, &disk, 5);
        assert!(
            (2.5..15.0).contains(&written),
            "80 writes at 20/s: {written}"
        );
        signal(child.id(), libc::SIGINT);
        let (_, account) = ended(child);
        assert!(counter(&account, 0, "injected") >= 4, "{account}");
        nothing_is_left();
    }

    #[test]
    fn an_idle_target_is_inconclusive_and_ends_by_itself() {
        require!("disk.limit");
        let disk = Disk::new();
        let target = Cgroup::new("target");
        let fault = disk.fault("writeBps=1MiB,after=1s");
        let child = inject(&target, &fault, "2s");
        disk.holds(&target, WRITES);
        let (status, account) = ended(child);
        assert_eq!(status, 4, "nothing was held up: {account}");
        assert_eq!(target.read("io.max"), "");
        nothing_is_left();
    }

    #[test]
    fn several_compose_and_what_was_there_comes_back() {
        require!("disk.limit");
        let (disk, other) = (Disk::new(), Disk::new());
        let target = Cgroup::new("target");
        let theirs = format!("{} wiops=77", other.number());
        let before = format!("{} rbps=5000000 wbps=4000000", disk.number());
        target.write("io.max", &theirs);
        target.write("io.max", &before);
        let start = "rbps=5000000 wbps=4000000 riops=max wiops=max";
        assert_eq!(disk.line(&target), start);
        let both = "rbps=1048576 wbps=2097152 riops=max wiops=9";
        for first_ends in [true, false] {
            let one = inject(&target, &disk.fault("writeBps=2MiB,writeIops=9"), "1m");
            disk.holds(&target, "rbps=5000000 wbps=2097152 riops=max wiops=9");
            let two = inject(&target, &disk.fault("readBps=1MiB,writeBps=3MiB"), "1m");
            disk.holds(&target, both);
            let (one, two, rest) = if first_ends {
                (one, two, "rbps=1048576 wbps=3145728 riops=max wiops=max")
            } else {
                (two, one, "rbps=5000000 wbps=2097152 riops=max wiops=9")
            };
            signal(one.id(), libc::SIGINT);
            ended(one);
            assert_eq!(disk.line(&target), rest);
            signal(two.id(), libc::SIGINT);
            ended(two);
            assert_eq!(disk.line(&target), start);
            assert_eq!(other.line(&target), "rbps=max wbps=max riops=max wiops=77");
        }
        let said = refused(&target, &disk.fault("writeBps=5MiB"));
        assert!(said.contains("say a smaller limit"), "{said}");
        assert_eq!(disk.line(&target), start);
        nothing_is_left();
    }

    #[test]
    fn what_somebody_else_sets_meanwhile_stays_and_the_rest_is_undone() {
        require!("disk.limit");
        let disk = Disk::new();
        let target = Cgroup::new("target");
        let child = inject(&target, &disk.fault("writeBps=1MiB"), "1m");
        disk.holds(&target, WRITES);
        target.write("io.max", &format!("{} riops=55", disk.number()));
        signal(child.id(), libc::SIGINT);
        ended(child);
        assert_eq!(disk.line(&target), "rbps=max wbps=max riops=55 wiops=max");
        nothing_is_left();
    }

    #[test]
    fn kill_9_of_the_agent_is_undone_by_its_guard() {
        require!("disk.limit");
        let (disk, other) = (Disk::new(), Disk::new());
        let target = Cgroup::new("target");
        target.write("io.max", &format!("{} wiops=77", other.number()));
        let mut agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: slow}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - diskLimit: {{device: {}, writeBps: 1MiB}}
",
            target.path(),
            disk.path
        ));
        assert_eq!(disk.line(&target), WRITES);
        let check = kchaos(&["heal", "--check"]);
        let live = format!("live: change: io.max for device {}", disk.number());
        assert!(check.out.contains(&live), "{check:?}");
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        disk.holds(&target, "");
        assert_eq!(other.line(&target), "rbps=max wbps=max riops=max wiops=77");
        nothing_is_left();
    }

    #[test]
    fn a_file_names_its_disk_and_what_is_on_none_is_refused() {
        require!("disk.limit");
        let disk = Disk::new();
        let target = Cgroup::new("target");
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "set -e; export PATH=$PATH:/sbin; mkfs.ext4 -q {disk}; mount {disk} {folder}",
            disk = disk.path,
            folder = folder.path().display()
        );
        let said: Said = Command::new("bash")
            .args(["-c", &script])
            .output()
            .unwrap()
            .into();
        assert_eq!(said.status, 0, "{said:?}");
        let fault = format!("disk.limit={},writeBps=1MiB", folder.path().display());
        let child = inject(&target, &fault, "1m");
        disk.holds(&target, WRITES);
        let file = folder.path().join("file").display().to_string();
        let held = takes(&target, "/dev/zero", &file, 5).as_secs_f64();
        assert!((3.0..20.0).contains(&held), "5 MiB at 1 MiB/s: {held}");
        signal(child.id(), libc::SIGINT);
        ended(child);
        assert_eq!(target.read("io.max"), "");
        let umount = Command::new("umount").arg(folder.path()).status().unwrap();
        assert!(umount.success());
        for (device, what) in [
            ("/tmp", "name the disk itself"),
            ("/dev/null", "character device"),
            ("/nowhere", "No such file"),
        ] {
            let said = refused(&target, &format!("disk.limit={device},readIops=5"));
            assert!(said.contains(what), "{device}: {said}");
        }
        nothing_is_left();
    }

    #[test]
    fn without_the_controller_it_is_refused_with_what_to_do() {
        require!("disk.limit");
        let disk = Disk::new();
        let parent = Cgroup::new("parent");
        let target = parent.child("target");
        let said = refused(&target, &disk.fault("writeBps=1MiB"));
        assert!(said.contains("echo +io >/sys/fs/cgroup"), "{said}");
        nothing_is_left();
    }
}
