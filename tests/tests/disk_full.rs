//! `disk.full` on a real kernel, compared with a file system that is really full.

#[cfg(test)]
mod tests {
    use std::fs;

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        disk::{apply, failed, outcomes, prepare, script, stop},
        mounts::Mounted,
        needs::{can_by, has_its_turn, skip},
    };

    /// What a file system without blocks and inodes says.
    fn really_full(cgroup: &Cgroup) -> Vec<String> {
        let mounted = Mounted::tmpfs_with("size=128k,nr_inodes=32");
        prepare(mounted.path());
        let filler = mounted.path().join("filler");
        assert!(fs::write(filler, vec![1; 1 << 20]).is_err());
        let made = (0..32)
            .take_while(|n| fs::write(mounted.path().join(format!("inode{n}")), "").is_ok())
            .count();
        assert!(made < 32);
        outcomes(cgroup, mounted.path())
    }

    fn as_a_full_one(mechanism: &str) {
        if !can_by("disk.full", mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        if !has_its_turn(mechanism) {
            return skip("here only with --long");
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mounted = Mounted::tmpfs();
        let folder = mounted.path().display();
        prepare(mounted.path());
        let real = really_full(&neighbour);
        assert_eq!(failed(&real).len(), 8, "{real:#?}");
        let mut agent = Agent::start(&[]);

        let fault = format!("{{diskFull: {{path: {folder}/, mechanism: {mechanism}}}}}");
        apply(&agent, &target, &fault);
        let seen = outcomes(&target, mounted.path());
        assert_eq!(seen, real, "{mechanism}");
        // Elsewhere, on devices and in pipes there is room.
        let elsewhere =
            "echo x > /dev/null && echo x | cat && echo x > /tmp/elsewhere && echo done";
        assert_eq!(script(&target, mounted.path(), elsewhere), ["x", "done"]);
        prepare(mounted.path());
        let spared = outcomes(&neighbour, mounted.path());
        assert_eq!(failed(&spared), Vec::<&str>::new(), "{mechanism}");
        let counters = stop(&agent);
        assert_eq!(counters["injected"], 8, "{counters}");
        prepare(mounted.path());
        let after = outcomes(&target, mounted.path());
        assert_eq!(failed(&after), Vec::<&str>::new(), "{mechanism}");

        // What does not fit any more makes it full, for everybody, until it ends.
        let fault =
            format!("{{diskFull: {{path: {folder}/, bytes: 64KiB, mechanism: {mechanism}}}}}");
        apply(&agent, &target, &fault);
        let fill = "put() { dd if=/dev/zero of=\"$1\" bs=\"$2\" count=1 status=none 2>&1 \
                    && echo done; }
            put a 40000; put b 20000; mkdir before && echo done
            put c 10000; put d 1; mkdir behind 2>&1; rm a && echo done; put e 1";
        let said = script(&target, mounted.path(), fill);
        let no_room = "No space left on device";
        assert_eq!(said[..3], ["done", "done", "done"], "{said:#?}");
        assert_eq!(
            said[3],
            format!("dd: error writing 'c': {no_room}"),
            "{said:#?}"
        );
        // From then on not even a name can be made.
        assert!(
            said[4].ends_with(no_room) && said[5].ends_with(no_room),
            "{said:#?}"
        );
        assert_eq!(said[6], "done", "{said:#?}");
        assert!(said[7].ends_with(no_room), "{said:#?}");
        assert_eq!(stop(&agent)["injected"], 4);

        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn as_a_full_one_by_lsm() {
        as_a_full_one("lsm");
    }

    #[test]
    fn as_a_full_one_by_fmod_ret() {
        as_a_full_one("fmod-ret");
    }
}
