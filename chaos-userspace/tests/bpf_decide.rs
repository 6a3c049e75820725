//! The decision as BPF code, run by the kernel of this machine without attaching it to anything.
//!
//! Needs root and the objects of `cargo xtask build-ebpf`; says so and passes where they lack, and
//! fails in CI, where they must be there.

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        fs, io,
        os::fd::{AsFd as _, AsRawFd as _},
        path::Path,
        time::Instant,
    };

    use aya::{
        Ebpf,
        maps::{Array, HashMap, MapData, PerCpuHashMap, PerCpuValues},
        programs::SchedClassifier,
    };
    use chaos_common::{
        Counters, Decision, Filtered, RuleConfig, RuleList, RuleMemory, RuleState, decide,
    };
    use proptest::prelude::*;

    const RULE: u32 = 7;

    struct Kernel {
        ebpf: Ebpf,
        config: HashMap<MapData, u32, RuleConfig>,
        state: HashMap<MapData, u32, RuleState>,
        count: PerCpuHashMap<MapData, u32, Counters>,
        armed: Array<MapData, u64>,
    }

    /// `None` where this machine can't; a failure where it must.
    fn kernel() -> Option<Kernel> {
        let object = Path::new(env!("KCHAOS_OBJECTS_FOLDER")).join("decide");
        // SAFETY: takes nothing.
        let root = unsafe { libc::geteuid() } == 0;
        if !root || !object.exists() {
            let reason = format!("needs root ({root}) and {}", object.display());
            assert!(std::env::var_os("CI").is_none() || !root, "{reason}");
            println!("skipped: {reason}");
            return None;
        }
        let mut ebpf = Ebpf::load(&fs::read(object).unwrap()).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("decide").unwrap().try_into().unwrap();
        program.load().unwrap();
        let mut list: Array<MapData, RuleList> =
            ebpf.take_map("TEST_RULES").unwrap().try_into().unwrap();
        let mut rules = RuleList {
            len: 1,
            ..RuleList::default()
        };
        rules.rules[0] = RULE;
        list.set(0, rules, 0).unwrap();
        Some(Kernel {
            config: ebpf.take_map("RULES_CONFIG").unwrap().try_into().unwrap(),
            state: ebpf.take_map("RULES_STATE").unwrap().try_into().unwrap(),
            count: ebpf.take_map("RULES_COUNT").unwrap().try_into().unwrap(),
            armed: ebpf.take_map("PLANS_ARMED").unwrap().try_into().unwrap(),
            ebpf,
        })
    }

    impl Kernel {
        fn set(&mut self, rule: RuleConfig) {
            let cpus = aya::util::nr_cpus().unwrap();
            let zero = PerCpuValues::try_from(vec![Counters::default(); cpus]).unwrap();
            self.state.insert(RULE, RuleState::default(), 0).unwrap();
            self.count.insert(RULE, zero, 0).unwrap();
            self.config.insert(RULE, rule, 0).unwrap();
            self.armed.set(rule.plan, 1, 0).unwrap();
        }

        fn run(&mut self) -> bool {
            self.repeat(1) == 1
        }

        /// Runs the program and returns what the last run returned.
        fn repeat(&mut self, times: u32) -> u32 {
            test_run(self.program(), times)
        }

        fn program(&self) -> i32 {
            let program: &SchedClassifier =
                self.ebpf.program("decide").unwrap().try_into().unwrap();
            program.fd().unwrap().as_fd().as_raw_fd()
        }

        fn counters(&self) -> Counters {
            self.count
                .get(&RULE, 0)
                .unwrap()
                .iter()
                .fold(Counters::default(), |sum, cpu| Counters {
                    considered: sum.considered + cpu.considered,
                    matched: sum.matched + cpu.matched,
                    injected: sum.injected + cpu.injected,
                    would_inject: sum.would_inject + cpu.would_inject,
                    over_budget: sum.over_budget + cpu.over_budget,
                    expired: sum.expired + cpu.expired,
                    error: sum.error + cpu.error,
                })
        }
    }

    fn always() -> RuleConfig {
        RuleConfig {
            seed: 1,
            plan: 3,
            ..RuleConfig::ALWAYS
        }
    }

    /// The host's side of the comparison.
    #[derive(Default)]
    struct Memory {
        ordinal: Cell<u64>,
        spent: Cell<u64>,
    }

    impl RuleMemory for Memory {
        fn next_ordinal(&self) -> u64 {
            self.ordinal.set(self.ordinal.get() + 1);
            self.ordinal.get()
        }

        fn spend(&self) -> u64 {
            self.spent.set(self.spent.get() + 1);
            self.spent.get()
        }
    }

    #[test]
    fn disarmed_expired_and_future_rules_never_inject() {
        let Some(mut kernel) = kernel() else { return };
        kernel.set(always());
        assert!(kernel.run());
        kernel.armed.set(3, 0, 0).unwrap();
        assert_eq!(kernel.repeat(1000), 0);
        assert_eq!(
            kernel.counters().considered,
            1,
            "a disarmed rule does not even count"
        );
        kernel.set(RuleConfig {
            deadline_ns: 1,
            ..always()
        });
        assert_eq!(kernel.repeat(1000), 0);
        assert_eq!(
            (kernel.counters().expired, kernel.counters().considered),
            (1000, 0)
        );
        kernel.set(RuleConfig {
            start_ns: u64::MAX - 1,
            ..always()
        });
        assert_eq!(kernel.repeat(1000), 0);
        assert_eq!(
            (kernel.counters().matched, kernel.counters().considered),
            (0, 1000)
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence_here_and_in_the_kernel() {
        let Some(mut kernel) = kernel() else { return };
        let strategy = (
            any::<u64>(),
            0..=1_u64 << 32,
            1..20_u64,
            0..40_u64,
            1..5_u64,
            0..60_u64,
            any::<u32>(),
        );
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
        let cell = std::cell::RefCell::new(&mut kernel);
        runner
            .run(
                &strategy,
                |(seed, threshold, first, more, step, times, identity)| {
                    let rule = RuleConfig {
                        seed,
                        threshold,
                        when_first: first,
                        when_last: first + more,
                        when_step: step,
                        times,
                        identity,
                        ..always()
                    };
                    let mut kernel = cell.borrow_mut();
                    kernel.set(rule);
                    let memory = Memory::default();
                    for event in 0..60 {
                        let here = decide(&rule, 1, || Filtered::In, &memory) == Decision::Inject;
                        prop_assert_eq!(kernel.run(), here, "event {}", event);
                    }
                    Ok(())
                },
            )
            .unwrap();
    }

    #[test]
    fn a_budget_is_exact_from_several_threads() {
        let Some(mut kernel) = kernel() else { return };
        kernel.set(RuleConfig {
            times: 100,
            ..always()
        });
        let start = Instant::now();
        let program = kernel.program();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || test_run(program, 5000));
            }
        });
        let counters = kernel.counters();
        println!("40000 decisions by 8 threads in {:?}", start.elapsed());
        assert_eq!(counters.injected, 100, "{counters:?}");
        assert_eq!(counters.over_budget, 40_000 - 100, "{counters:?}");
        assert_eq!(counters.matched, 40_000, "{counters:?}");
    }

    /// `BPF_PROG_TEST_RUN` with an empty packet.
    fn test_run(program: i32, times: u32) -> u32 {
        const BPF_PROG_TEST_RUN: libc::c_int = 10;
        /// The part of the kernel's attribute that this command reads.
        #[repr(C)]
        #[derive(Default)]
        struct TestRun {
            program: u32,
            returned: u32,
            in_bytes: u32,
            out_bytes: u32,
            input: u64,
            output: u64,
            repeat: u32,
            duration: u32,
            context: [u64; 3],
        }
        let packet = [0_u8; 64];
        let mut run = TestRun {
            program: program.cast_unsigned(),
            in_bytes: 64,
            input: packet.as_ptr() as u64,
            repeat: times,
            ..TestRun::default()
        };
        // SAFETY: the attribute and the packet outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_TEST_RUN,
                &raw mut run,
                size_of::<TestRun>(),
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        run.returned
    }
}
