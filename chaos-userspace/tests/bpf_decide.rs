//! The decision as BPF code, run by the kernel of this machine without attaching it to anything.
//!
//! Needs root and the objects of `cargo xtask build-ebpf`; says so and passes where they lack, and
//! fails in CI, where they must be there.

mod test_run;

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        fs,
        os::fd::{AsFd as _, AsRawFd as _},
        path::Path,
        time::Instant,
    };

    use aya::{
        Ebpf,
        maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues, RingBuf},
        programs::SchedClassifier,
    };
    use chaos_common::{
        Counters, Decision, Event, Filtered, Gate, Hook, ReplayKey, RuleConfig, RuleList,
        RuleMemory, RuleState, TargetKey, decide, flags,
        limits::{RECORD_ORDINALS, SAMPLES_PER_SECOND, TARGET_LEVELS},
    };
    use chaos_userspace::{node::Counters as Counted, target::CgroupTree};
    use proptest::prelude::*;

    use crate::test_run::test_run;

    const RULE: u32 = 7;

    struct Kernel {
        ebpf: Ebpf,
        config: HashMap<MapData, u32, RuleConfig>,
        state: HashMap<MapData, u32, RuleState>,
        count: PerCpuArray<MapData, Counters>,
        held: Array<MapData, u64>,
        replay: HashMap<MapData, ReplayKey, u32>,
        record: Array<MapData, u64>,
        events: RingBuf<MapData>,
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
            held: ebpf.take_map("PLANS_HELD").unwrap().try_into().unwrap(),
            replay: ebpf.take_map("RULES_REPLAY").unwrap().try_into().unwrap(),
            record: ebpf.take_map("RECORD").unwrap().try_into().unwrap(),
            events: ebpf.take_map("EVENTS").unwrap().try_into().unwrap(),
            ebpf,
        })
    }

    impl Kernel {
        fn set(&mut self, rule: RuleConfig) {
            let cpus = aya::util::nr_cpus().unwrap();
            let zero = PerCpuValues::try_from(vec![Counters::default(); cpus]).unwrap();
            self.state.insert(RULE, RuleState::default(), 0).unwrap();
            self.count.set(0, zero, 0).unwrap();
            self.config.insert(RULE, rule, 0).unwrap();
            self.held.set(rule.plan, u64::MAX, 0).unwrap();
        }

        fn run(&mut self) -> bool {
            self.repeat(1) == 1
        }

        /// Runs the program and returns what the last run returned.
        fn repeat(&mut self, times: u32) -> u32 {
            test_run(self.program(), times).0
        }

        fn program(&self) -> i32 {
            let program: &SchedClassifier =
                self.ebpf.program("decide").unwrap().try_into().unwrap();
            program.fd().unwrap().as_fd().as_raw_fd()
        }

        fn counters(&self) -> Counted {
            let shared = self.state.get(&RULE, 0).unwrap().shared;
            let own = self.count.get(&0, 0).unwrap();
            let mut sum = Counted::default();
            own.iter().chain([&shared]).for_each(|one| sum.add(one));
            sum
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

    // What the classifier's rules of this test have no use for.
    const UNUSED: &str = "neither threads nor replays nor rates are compared here";

    impl RuleMemory for Memory {
        fn next_ordinal(&self) -> u64 {
            self.ordinal.set(self.ordinal.get() + 1);
            self.ordinal.get()
        }

        fn next_of_thread(&self) -> Option<u64> {
            panic!("{UNUSED}")
        }

        fn is_replayed(&self, _ordinal: u64) -> bool {
            panic!("{UNUSED}")
        }

        fn move_rate(&self, _seen: u64, _next: u64) -> Result<(), u64> {
            panic!("{UNUSED}")
        }

        fn rate_until(&self) -> u64 {
            panic!("{UNUSED}")
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
        kernel.held.set(3, 0, 0).unwrap();
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
                        let here =
                            decide(&rule, 1, 2, || Filtered::In, &memory) == Decision::Inject;
                        prop_assert_eq!(kernel.run(), here, "event {}", event);
                    }
                    Ok(())
                },
            )
            .unwrap();
    }

    #[test]
    fn counters_are_the_same_with_a_place_of_their_own_and_without() {
        let Some(mut kernel) = kernel() else { return };
        for counters in [0, chaos_common::NO_SLOT] {
            kernel.set(RuleConfig {
                counters,
                times: 3,
                ..always()
            });
            kernel.repeat(10);
            let counted = kernel.counters();
            assert_eq!((counted.matched, counted.injected), (10, 3), "{counters}");
            let shared = kernel.state.get(&RULE, 0).unwrap().shared;
            assert_eq!(shared == Counters::default(), counters == 0);
        }
    }

    #[test]
    fn a_rate_lets_a_burst_through_and_then_stops() {
        let Some(mut kernel) = kernel() else { return };
        // Ten in an hour: within this test no more than the burst.
        let interval = 3_600_000_000_000 / 10;
        kernel.set(RuleConfig {
            rate_interval_ns: interval,
            rate_tolerance_ns: 9 * interval,
            ..always()
        });
        let program = kernel.program();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || test_run(program, 1000));
            }
        });
        let counters = kernel.counters();
        assert_eq!(counters.injected, 10, "{counters:?}");
        assert_eq!(counters.over_budget, 8000 - 10, "{counters:?}");
    }

    #[test]
    fn injections_are_recorded_and_a_replay_hits_the_same() {
        let Some(mut kernel) = kernel() else { return };
        let rule = RuleConfig {
            threshold: 1 << 29,
            record: 0,
            ..always()
        };
        kernel.set(rule);
        let first: Vec<bool> = (0..200).map(|_| kernel.run()).collect();
        let recorded = kernel.state.get(&RULE, 0).unwrap().recorded;
        let ordinals: Vec<u64> = (0..u32::try_from(recorded).unwrap())
            .map(|index| kernel.record.get(&index, 0).unwrap())
            .collect();
        let hit: Vec<u64> = (1..)
            .zip(&first)
            .filter(|(_, hit)| **hit)
            .map(|(n, _)| n)
            .collect();
        assert_eq!(ordinals, hit);
        assert!(!hit.is_empty());
        for ordinal in &ordinals {
            let key = ReplayKey {
                ordinal: *ordinal,
                rule: RULE,
                padding: 0,
            };
            kernel.replay.insert(key, 1, 0).unwrap();
        }
        // Another seed would decide otherwise, but the list decides.
        kernel.set(RuleConfig {
            seed: 99,
            flags: flags::REPLAY,
            ..rule
        });
        let again: Vec<bool> = (0..200).map(|_| kernel.run()).collect();
        assert_eq!(again, first);
    }

    #[test]
    fn a_record_is_as_long_as_it_is_said_to_be() {
        let Some(mut kernel) = kernel() else { return };
        kernel.set(RuleConfig {
            record: 1,
            ..always()
        });
        kernel.repeat(RECORD_ORDINALS + 10);
        let recorded = kernel.state.get(&RULE, 0).unwrap().recorded;
        assert_eq!(recorded, u64::from(RECORD_ORDINALS) + 10);
        let at = |index: u32| kernel.record.get(&index, 0).unwrap();
        assert_eq!(
            at(RECORD_ORDINALS - 1),
            0,
            "the block before is not touched"
        );
        assert_eq!(at(RECORD_ORDINALS), 1);
        assert_eq!(at(2 * RECORD_ORDINALS - 1), u64::from(RECORD_ORDINALS));
        assert_eq!(
            at(2 * RECORD_ORDINALS),
            0,
            "the block behind is not touched"
        );
    }

    #[test]
    fn events_are_sampled_and_say_what_happened() {
        let Some(mut kernel) = kernel() else { return };
        kernel.set(RuleConfig {
            effect: 5,
            ..always()
        });
        kernel.repeat(10_000);
        let mut events = Vec::new();
        while let Some(item) = kernel.events.next() {
            assert_eq!(item.len(), size_of::<Event>());
            // SAFETY: long enough, and every pattern of bits is an Event.
            events.push(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
        let sampled = events.len() as u64;
        assert!(
            (SAMPLES_PER_SECOND..2 * SAMPLES_PER_SECOND).contains(&sampled),
            "{sampled}"
        );
        for (ordinal, event) in (1..=SAMPLES_PER_SECOND).zip(&events) {
            assert_eq!(
                (
                    event.version,
                    event.len,
                    event.rule,
                    event.ordinal,
                    event.effect
                ),
                (Event::VERSION, Event::LEN, RULE, ordinal, 5)
            );
        }
        assert!(events.is_sorted_by_key(|event| event.time_ns));
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

    #[test]
    fn rules_that_an_event_has_no_room_for_are_counted() {
        const HOOK: u32 = Hook::FileOpenLsm as u32;
        let Some(mut kernel) = kernel() else { return };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::"));
        let found = CgroupTree::find().ok().zip(own);
        let Some(cgroup) = found.and_then(|(tree, path)| tree.open(path).ok()) else {
            return println!("skipped: this process lies in no cgroup v2 that can be opened");
        };
        let meet: &mut SchedClassifier =
            kernel.ebpf.program_mut("meet").unwrap().try_into().unwrap();
        meet.load().unwrap();
        let meet = meet.fd().unwrap().as_fd().as_raw_fd();
        let take = |ebpf: &mut Ebpf, name| ebpf.take_map(name).unwrap();
        let mut gates: Array<MapData, Gate> = take(&mut kernel.ebpf, "GATES").try_into().unwrap();
        let mut targets: HashMap<MapData, TargetKey, RuleList> =
            take(&mut kernel.ebpf, "TARGETS").try_into().unwrap();
        let uncounted: PerCpuArray<MapData, u64> =
            take(&mut kernel.ebpf, "UNCOUNTED").try_into().unwrap();
        // One rule eight times, and its target at three depths that are one: 24 rules.
        kernel.set(RuleConfig {
            threshold: 0,
            ..always()
        });
        let list = RuleList {
            len: 8,
            padding: 0,
            rules: [RULE; 8],
        };
        let key = TargetKey {
            id: cgroup.id(),
            hook: HOOK,
            scope: TargetKey::CGROUP,
        };
        targets.insert(key, list, 0).unwrap();
        let mut asked = |depths| {
            let mut gate = Gate {
                levels: [u32::MAX; TARGET_LEVELS],
                levels_len: depths,
                ..Gate::default()
            };
            gate.levels[..depths as usize].fill(cgroup.level());
            gates.set(HOOK, gate, 0).unwrap();
            let before = kernel.counters().considered;
            test_run(meet, 10);
            let sum: u64 = uncounted.get(&HOOK, 0).unwrap().iter().sum();
            (kernel.counters().considered - before, sum)
        };
        assert_eq!(asked(1), (80, 0));
        assert_eq!(asked(2), (160, 0), "as many as there is room for");
        assert_eq!(asked(3), (160, 80), "eight of 24, ten times");
        assert_eq!(
            uncounted.get(&(HOOK + 1), 0).unwrap().iter().sum::<u64>(),
            0
        );
    }
}
