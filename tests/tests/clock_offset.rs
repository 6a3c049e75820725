//! `clock.offset` on a real kernel.

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use kchaos_tests::{
        Said, bpf::Loaded, cgroup::Cgroup, clock::HOUR, clock::seen, clock::victim, clock::watch,
        counter, kchaos, long, require, run_script, signal,
    };

    #[test]
    fn the_command_is_hit_from_its_first_instruction_to_its_last() {
        require!("clock.offset"; "debian-6.1");
        let before = Loaded::now();
        for is_static in [false, true] {
            let script = format!("exec {} check {HOUR} 2 0.5", victim(is_static));
            let faults = ["clock.offset:realtime=+1h"];
            let (said, account) = run_script(&faults, &script);
            // bash was the program at first; what it becomes is found a moment later.
            assert_eq!(said.status, 0, "{said:?}");
            assert_eq!(counter(&account, 0, "considered"), 2, "{account}");
            let program = victim(is_static);
            let arguments = [
                "run", "--fault", faults[0], "--", &program, "check", HOUR, "2", "0.5",
            ];
            let said = kchaos(&arguments);
            assert!(said.status == 0 && said.out.contains("done 0 "), "{said:?}");
        }
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn the_target_is_hit_and_its_neighbour_is_not() {
        require!("clock.offset"; "debian-6.1");
        // Else the vDSO asks the kernel, and the stub with it; which works, and is not what is meant.
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        assert_eq!(std::fs::read_to_string(source).unwrap().trim(), "tsc");
        let crowd = if long() { "64" } else { "16" };
        for threads in ["1", "5", crowd] {
            let (target, beside) = (Cgroup::new("clock"), Cgroup::new("beside"));
            let (hit, neighbour) = (watch(&target, threads), watch(&beside, "1"));
            thread::sleep(Duration::from_millis(500));
            for fault in [
                "clock.offset:realtime=+1h",
                "clock.offset:realtime=+1h,pulse=100ms/200ms",
            ] {
                let said = kchaos(&[
                    "inject",
                    "--target",
                    &target.target(),
                    "--fault",
                    fault,
                    "--duration",
                    "1s",
                ]);
                assert_eq!(said.status, 0, "{said:?}");
            }
            for victim in [&hit, &neighbour] {
                signal(victim.id(), libc::SIGTERM);
            }
            let (truth, bent) = seen(hit);
            assert!(truth > 0 && bent > 0, "{threads}: {truth} {bent}");
            let (truth, bent) = seen(neighbour);
            assert!(truth > 0 && bent == 0, "beside {threads}: {truth} {bent}");
        }
        let left: Said = kchaos(&["heal", "--check"]);
        assert!(left.status == 0 && !left.out.contains("vDSO"), "{left:?}");
    }

    #[test]
    fn who_reads_no_clock_is_not_hit() {
        require!("clock.offset"; "debian-6.1");
        let said = kchaos(&["run", "--fault", "clock.offset:realtime=+1h", "--", "true"]);
        assert_eq!(said.status, 123, "{said:?}");
    }
}
