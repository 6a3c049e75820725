//! `syscall.return` on a real kernel, by each mechanism.

#[cfg(test)]
mod tests {
    use std::fs;

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter, found, kchaos, lab,
        needs::{can_by, skip},
        require, run_script,
    };

    const KIND: &str = "syscall.return";

    fn experiment(target: &Cgroup, block: &str) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: lies}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - id: lies
    syscallReturn: {{{block}}}
",
            target.path()
        )
    }

    /// Four times ten bytes by somebody in a cgroup: how many got there.
    fn tens(cgroup: &Cgroup) -> usize {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "exec dd if=/dev/zero of={} bs=10 count=4 status=none",
            file.path().display()
        );
        let status = cgroup.script(&script).status().unwrap();
        assert!(status.success(), "dd was told that all is well: {status}");
        fs::read(file.path()).unwrap().len()
    }

    fn lies(mechanism: &str) {
        if !can_by(KIND, mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        let block = format!("ops: [write], value: 10, when: \"3\", mechanism: {mechanism}");
        agent.apply(&experiment(&target, &block));
        assert_eq!(tens(&neighbour), 40, "the neighbour");
        assert_eq!(tens(&target), 30, "the third ten were never written");
        assert_eq!(tens(&target), 40, "the third was before");
        let account = agent.stop("lies");
        assert_eq!(found(&account, "injected"), Some(1), "{account}");
        assert_eq!(found(&account, "matched"), Some(8), "{account}");
        assert_eq!(tens(&target), 40, "after the end");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn a_write_that_is_none_by_fmod_ret_syscall() {
        lies("fmod-ret-syscall");
    }

    #[test]
    fn a_write_that_is_none_by_kprobe_override() {
        lies("kprobe-override");
    }

    #[test]
    fn a_write_that_is_none_by_seccomp_notify() {
        require!("syscall.return");
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "dd if=/dev/zero of={} bs=10 count=4 status=none",
            file.path().display()
        );
        let fault = "syscall.return:write=10,when=3,mechanism=seccomp-notify";
        let (said, account) = run_script(&[fault], &script);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(fs::read(file.path()).unwrap().len(), 30);
        assert_eq!(counter(&account, 0, "injected"), 1);
    }

    #[test]
    fn a_folder_that_was_never_made() {
        require!("syscall.return");
        // 0 is for kprobe-override, and without it for the filter of the command.
        let (said, account) = run_script(
            &["syscall.return:mkdir=0,when=2+"],
            "a=$(mktemp -d); mkdir $a/1 $a/2 && ls $a; rmdir $a",
        );
        assert_eq!((said.status, said.out.as_str()), (0, ""), "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 2);
        let wanted = if can_by(KIND, "kprobe-override") {
            "kprobe-override"
        } else {
            "seccomp-notify"
        };
        assert_eq!(account["faults"][0]["mechanism"], wanted);
    }

    #[test]
    fn the_first_of_errors_and_lies_wins() {
        require!("syscall.return");
        let mechanisms = ["fmod-ret-syscall", "kprobe-override", "seccomp-notify"];
        let script = "cd $(mktemp -d); r=; \
                      for i in 1 2 3; do dd if=/dev/zero of=$i bs=10 count=1 status=none; r=$r$?; done; \
                      cat 1 2 3 | wc -c >wrote; exit $((10#$r))";
        for mechanism in mechanisms.into_iter().filter(|it| can_by(KIND, it)) {
            let error = format!("syscall.error:write=ENOSPC,when=2,comm=dd,mechanism={mechanism}");
            let lie = format!("syscall.return:write=10,comm=dd,mechanism={mechanism}");
            let (said, account) = run_script(&[&error, &lie], script);
            // The second dd fails, and what it says of that is a write as well.
            assert_eq!(said.status, 10, "{mechanism} {said:?}");
            assert_eq!(counter(&account, 0, "injected"), 1, "{mechanism}");
            let matched = counter(&account, 0, "matched");
            assert!(matched > 3, "{mechanism} {account}");
            assert_eq!(counter(&account, 1, "matched"), matched - 1, "{account}");
            assert_eq!(counter(&account, 1, "injected"), matched - 1);
        }
    }

    /// A kprobe's fault would count there and hit nobody.
    #[test]
    fn two_mechanisms_on_one_call_are_refused() {
        if !can_by(KIND, "kprobe-override") || !can_by(KIND, "fmod-ret-syscall") {
            return skip("not both here");
        }
        let fmod_ret = "mechanism=fmod-ret-syscall";
        let kprobe = "mechanism=kprobe-override";
        for (one, other) in [(fmod_ret, kprobe), (kprobe, fmod_ret)] {
            let faults = [
                format!("syscall.error:mkdir=EDQUOT,{one}"),
                format!("syscall.return:mkdir+rmdir=1,{other}"),
            ];
            let [first, second] = &faults;
            let said = kchaos(&["run", "--fault", first, "--fault", second, "--", "true"]);
            assert_eq!(said.status, 125, "{said:?}");
            assert!(said.err.contains("has __x64_sys_mkdir"), "{said:?}");
            // Beside each other they are.
            let faults = [
                format!("syscall.error:mkdir=EDQUOT,{one}"),
                format!("syscall.error:rmdir=EBUSY,{other}"),
            ];
            let script = "mkdir /tmp/never; rmdir /tmp/never";
            let (said, account) = run_script(&[&faults[0], &faults[1]], script);
            assert!(said.err.contains("quota"), "{said:?}");
            assert!(said.err.contains("busy"), "{said:?}");
            for fault in [0, 1] {
                assert_eq!(counter(&account, fault, "injected"), 1, "{account}");
            }
        }
    }

    #[test]
    fn what_cannot_return_a_value_is_refused() {
        // A target that is no command.
        require!("syscall.return", "pressure.cpu");
        let cgroup = Cgroup::new("target");
        let target = cgroup.target();
        let refused = |fault: &str| {
            let said = kchaos(&[
                "inject",
                "--target",
                &target,
                "--duration",
                "1s",
                "--fault",
                fault,
            ]);
            assert_eq!(said.status, 3, "{fault}: {said:?}");
            said.err
        };
        let only_command = "only for the command";
        assert!(refused("syscall.return:read=0,mechanism=seccomp-notify").contains(only_command));
        if can_by(KIND, "fmod-ret-syscall") {
            let said = refused("syscall.return:read=0,mechanism=fmod-ret-syscall");
            assert!(said.contains("can't return 0"), "{said}");
        }
        if !can_by(KIND, "kprobe-override") {
            let said = refused("syscall.return:read=0");
            assert!(said.contains("fmod-ret-syscall: can't return 0"), "{said}");
            assert!(said.contains("kprobe-override: "), "{said}");
            assert!(said.contains(only_command), "{said}");
        }
        if lab().starts_with("debian-6") {
            let said = refused("syscall.return:write=100");
            assert!(said.contains("fmod-ret-syscall: "), "{said}");
        }
    }
}
