//! `disk.readonly` on a real kernel, compared with a file system that is mounted so.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        disk::{apply, failed, outcomes, prepare, script, stop},
        lab, long,
        mounts::Mounted,
        needs::{can_by, has_its_turn, skip},
    };

    fn as_a_read_only_one(mechanism: &str) {
        if !can_by("disk.readonly", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        // Verifiers of Linux 7 take their time for so many programs, and the emulator for them.
        if !has_its_turn(mechanism) || (!long() && lab().starts_with("debian-7")) {
            return skip("here only with --long");
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let real = {
            let mounted = Mounted::tmpfs();
            prepare(mounted.path());
            mounted.make_read_only();
            outcomes(&neighbour, mounted.path())
        };
        let mounted = Mounted::tmpfs();
        prepare(mounted.path());
        let mut agent = Agent::start(&[]);
        // Of times the kernel does not say on which mount they are set: see the page.
        let expected: Vec<String> = real
            .iter()
            .map(|line| match line.split_once(": ") {
                Some(("times", _)) => "times: done".to_owned(),
                _ => line.clone(),
            })
            .collect();

        let folder = mounted.path().display();
        let fault = format!("{{diskReadonly: {{path: {folder}/, mechanism: {mechanism}}}}}");
        apply(&agent, &target, &fault);
        let seen = outcomes(&target, mounted.path());
        assert_eq!(seen, expected, "{mechanism}");
        assert_eq!(failed(&seen).len(), 13, "{seen:#?}");
        let counters = stop(&agent);
        assert_eq!(counters["injected"], 13, "{counters}");
        let spared = outcomes(&neighbour, mounted.path());
        assert_eq!(failed(&spared), Vec::<&str>::new(), "{mechanism}");

        let fault = format!("{{diskReadonly: {{path: /, mechanism: {mechanism}}}}}");
        apply(&agent, &target, &fault);
        let times = "touch -c known 2>&1; echo x > /dev/null && echo done";
        let said = script(&target, mounted.path(), times);
        assert!(said[0].ends_with("Read-only file system"), "{said:#?}");
        assert_eq!(said[1], "done", "{said:#?}");
        stop(&agent);

        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn as_a_read_only_one_by_lsm() {
        as_a_read_only_one("lsm");
    }

    #[test]
    fn as_a_read_only_one_by_fmod_ret() {
        as_a_read_only_one("fmod-ret");
    }
}
