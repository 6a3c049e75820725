//! What a decision costs, measured by the kernel of this machine on a classifier that goes the whole
//! way from the gate on. Figures are printed; only what they have to do with each other is asserted,
//! because another job may share the processors.
//!
//! Needs root and the objects of `cargo xtask build-ebpf`; says so and passes where they lack.

mod test_run;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::fd::{AsFd as _, AsRawFd as _},
        path::Path,
    };

    use aya::{
        Ebpf, EbpfLoader,
        maps::{Array, HashMap, MapData},
        programs::SchedClassifier,
    };
    use chaos_common::{
        Decision, Gate, Hook, RuleConfig, RuleList, RuleState, TargetKey,
        limits::{RULES_MAX, TARGET_LEVELS},
    };
    use chaos_userspace::target::CgroupTree;

    use crate::test_run::test_run;

    const HOOK: u32 = Hook::FileOpenLsm as u32;
    const RULE: u32 = 1;
    const PLAN: u32 = 3;
    /// Runs of one measurement, and measurements of which the least counts: what disturbs only adds.
    const RUNS: u32 = 20_000;
    const TRIES: u32 = 15;
    /// More than two equal programs have differed by on a busy machine.
    const NOISE: f64 = 1.5;

    struct Bench {
        ebpf: Ebpf,
        gates: Array<MapData, Gate>,
        targets: HashMap<MapData, TargetKey, RuleList>,
        config: HashMap<MapData, u32, RuleConfig>,
        state: HashMap<MapData, u32, RuleState>,
        held: Array<MapData, u64>,
        epoch: u32,
    }

    /// `None` where this machine can't.
    fn bench() -> Option<Bench> {
        let object = Path::new(env!("KCHAOS_OBJECTS_FOLDER")).join("decide");
        // SAFETY: takes nothing.
        let root = unsafe { libc::geteuid() } == 0;
        if !root || !object.exists() {
            println!("skipped: needs root ({root}) and {}", object.display());
            return None;
        }
        let mut loader = EbpfLoader::new();
        for map in ["TARGETS", "RULES_CONFIG", "RULES_STATE"] {
            loader.map_max_entries(map, RULES_MAX + 1);
        }
        let mut ebpf = loader.load(&fs::read(object).unwrap()).unwrap();
        for name in ["empty", "meet"] {
            let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        Some(Bench {
            gates: ebpf.take_map("GATES").unwrap().try_into().unwrap(),
            targets: ebpf.take_map("TARGETS").unwrap().try_into().unwrap(),
            config: ebpf.take_map("RULES_CONFIG").unwrap().try_into().unwrap(),
            state: ebpf.take_map("RULES_STATE").unwrap().try_into().unwrap(),
            held: ebpf.take_map("PLANS_HELD").unwrap().try_into().unwrap(),
            ebpf,
            epoch: 0,
        })
    }

    impl Bench {
        /// Nanoseconds of one run, the least of several measurements.
        fn cost(&self, program: &str) -> f64 {
            let program: &SchedClassifier = self.ebpf.program(program).unwrap().try_into().unwrap();
            let program = program.fd().unwrap().as_fd().as_raw_fd();
            let least = (0..TRIES).map(|_| test_run(program, RUNS).1).min();
            f64::from(least.unwrap())
        }

        /// What the way costs on top of a program that does nothing, measured in turns with it.
        fn beyond_empty(&self) -> f64 {
            let (before, cost, after) = (self.cost("empty"), self.cost("meet"), self.cost("empty"));
            (cost - before.min(after)).max(0.0)
        }

        /// Targets at so many depths; `depth` is one of them. As the plane does it after each change,
        /// so that what was remembered before is worth nothing.
        fn open_gate(&mut self, depths: usize, depth: u32) {
            self.epoch += 1;
            self.open_gate_of(self.epoch, depths, depth);
        }

        /// At the epoch 0 nothing is remembered.
        fn open_gate_of(&mut self, epoch: u32, depths: usize, depth: u32) {
            let mut gate = Gate {
                epoch,
                levels: [u32::MAX; TARGET_LEVELS],
                levels_len: u32::try_from(depths).unwrap(),
                ..Gate::default()
            };
            let mut others = (1..).filter(|other| *other != depth);
            for slot in &mut gate.levels[..depths] {
                *slot = others.next().unwrap();
            }
            if depths > 0 {
                // The last one that is asked.
                gate.levels[depths - 1] = depth;
            }
            self.gates.set(HOOK, gate, 0).unwrap();
        }

        fn add(&mut self, rule: u32, cgroup: u64, config: RuleConfig) {
            let mut list = RuleList {
                len: 1,
                ..RuleList::default()
            };
            list.rules[0] = rule;
            self.state.insert(rule, RuleState::default(), 0).unwrap();
            self.config.insert(rule, config, 0).unwrap();
            let key = TargetKey {
                id: cgroup,
                hook: HOOK,
                scope: TargetKey::CGROUP,
            };
            self.targets.insert(key, list, 0).unwrap();
        }
    }

    /// A goal is reported, never asserted: the machine may be busy.
    fn report(what: &str, cost: f64, goal: f64) {
        let verdict = if cost <= goal { "" } else { "  MISSED" };
        println!("  {what:<44} {cost:>6.0} ns  (goal {goal:.0}){verdict}");
    }

    #[test]
    fn a_decision_costs_the_same_with_few_and_with_many_rules() {
        let Some(mut bench) = bench() else { return };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::"));
        let found = CgroupTree::find().ok().zip(own);
        let Some(cgroup) = found.and_then(|(tree, path)| tree.open(path).ok()) else {
            return println!("skipped: this process lies in no cgroup v2 that can be opened");
        };
        let (depth, id) = (cgroup.level(), cgroup.id());
        bench.held.set(PLAN, u64::MAX, 0).unwrap();
        let control = (bench.cost("empty"), bench.cost("empty"));
        println!(
            "an empty program, twice: {:.0} and {:.0} ns",
            control.0, control.1
        );
        println!("on top of it:");
        bench.open_gate(0, depth);
        report("gate: no target on this hook", bench.beyond_empty(), 2.0);
        // None of them is this process's.
        let mut misses = Vec::new();
        let mut known = 0;
        for rules in [10, 10_000, RULES_MAX] {
            for rule in known + 2..rules + 2 {
                bench.add(rule, u64::MAX - u64::from(rule), RuleConfig::ALWAYS);
            }
            known = rules;
            for depths in [1, 4, 8] {
                bench.open_gate(depths, depth);
                let cost = bench.beyond_empty();
                report(
                    &format!("miss: {rules} rules, targets at {depths} depths"),
                    cost,
                    40.0,
                );
                misses.push((depths, cost + control.0));
            }
        }
        for (few, many) in misses[..3].iter().zip(&misses[6..]) {
            assert_eq!(few.0, many.0);
            assert!(many.1 <= few.1 * NOISE, "{misses:?}");
        }
        for depths in [1, 8] {
            bench.open_gate_of(0, depths, depth);
            println!(
                "  {:<44} {:>6.0} ns",
                format!("a cgroup's first event, targets at {depths} depths"),
                bench.beyond_empty()
            );
        }
        bench.open_gate(1, depth);
        let rule = RuleConfig {
            plan: PLAN,
            threshold: 0,
            ..RuleConfig::ALWAYS
        };
        bench.add(RULE, id, rule);
        report("hit: a rule that lets it pass", bench.beyond_empty(), 140.0);
        let state = |bench: &Bench| bench.state.get(&RULE, 0).unwrap();
        assert!(state(&bench).shared.matched() > 0, "{:?}", state(&bench));
        let rule = RuleConfig {
            threshold: 1 << 31,
            times: u64::MAX - 1,
            rate_interval_ns: 1,
            rate_tolerance_ns: u64::MAX / 2,
            pulse_active_ns: 1_000_000_000_000,
            pulse_every_ns: 1_000_000_000_001,
            when_step: 2,
            ..rule
        };
        bench.add(RULE, id, rule);
        report(
            "full: every key, half of the turns injected",
            bench.beyond_empty(),
            140.0,
        );
        let counted = state(&bench).shared;
        let injected = counted.of(Decision::Inject);
        assert!(injected > 0 && injected < counted.matched(), "{counted:?}");
    }
}
