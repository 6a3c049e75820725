//! How many rules a plane holds, and what they cost the kernel. Attaches nothing.
//!
//! Needs root; says so and passes where it lacks, and fails in CI.

#[cfg(test)]
mod tests {
    use chaos_common::{
        AllocationFilter, Hook, RuleConfig,
        limits::{ALLOCATION_RULES, RULES_MAX},
    };
    use chaos_userspace::engine::{EngineError, Plane, RulePlace, RuleSpec};

    /// What 100,000 rules may take on a machine with 64 CPUs. What is kept per CPU is bounded over
    /// all CPUs together, so the figure of this machine holds for that one.
    const BOUND: u64 = 64 << 20;

    fn rule() -> RuleSpec {
        RuleSpec {
            hook: Hook::FileOpenLsm,
            also: None,
            packet: None,
            dns: None,
            config: RuleConfig::ALWAYS,
            path: None,
            calls: None,
            narrowing: None,
            allocation: None,
            device: None,
            room: None,
            link: None,
            call: None,
            exclude: Vec::new(),
            replay: None,
        }
    }

    fn plane(rules: u32) -> Option<Plane> {
        // SAFETY: takes nothing.
        if unsafe { libc::geteuid() } != 0 {
            println!("skipped: needs root");
            return None;
        }
        Some(Plane::create(rules).unwrap())
    }

    #[test]
    fn memory_follows_the_rules_and_is_bounded() {
        for rules in [10, 1000, RULES_MAX] {
            let Some(mut plane) = plane(RULES_MAX) else {
                return;
            };
            let empty = plane.memory();
            for number in 1..=rules {
                plane.write(number, rule()).unwrap();
                let at = RulePlace::Cgroup {
                    id: number.into(),
                    level: 1,
                };
                plane.place(number, at, Hook::FileOpenLsm).unwrap();
            }
            let full = plane.memory();
            println!(
                "{rules} rules: {:.1} MB, of which {:.1} MB without any",
                megabytes(full),
                megabytes(empty)
            );
            assert!(full <= BOUND, "{full}");
        }
    }

    #[test]
    fn one_allocation_rule_too_many_is_refused() {
        let Some(mut plane) = plane(RULES_MAX) else {
            return;
        };
        let rule = || RuleSpec {
            allocation: AllocationFilter::new(4096, None),
            ..rule()
        };
        for number in 1..=ALLOCATION_RULES {
            plane.write(number, rule()).unwrap();
        }
        let refused = plane.write(ALLOCATION_RULES + 1, rule()).unwrap_err();
        assert!(matches!(refused, EngineError::Full(_)), "{refused}");
        plane.erase(ALLOCATION_RULES + 1);
        plane.erase(1);
        plane.write(ALLOCATION_RULES + 1, rule()).unwrap();
    }

    #[test]
    fn one_rule_too_many_is_refused_and_changes_nothing() {
        let Some(mut plane) = plane(3) else { return };
        for number in 1..=3 {
            plane.write(number, rule()).unwrap();
        }
        let refused = plane.write(4, rule()).unwrap_err();
        assert!(matches!(refused, EngineError::Full(_)), "{refused}");
        assert!(refused.to_string().contains("3 rules"), "{refused}");
        assert!(plane.counters(4).is_err());
        plane.erase(2);
        plane.write(4, rule()).unwrap();
    }

    #[test]
    fn what_hangs_on_cgroups_may_lie_at_any_depth() {
        let Some(mut plane) = plane(40) else { return };
        for number in 1..=40 {
            plane.write(number, rule()).unwrap();
            let at = RulePlace::Cgroup {
                id: number.into(),
                level: number,
            };
            plane.place(number, at, Hook::NetIngress).unwrap();
        }
        let at = |level| RulePlace::Cgroup { id: 1, level };
        for level in 1..=8 {
            plane.place(level, at(level), Hook::FileOpenLsm).unwrap();
        }
        let refused = plane.place(9, at(9), Hook::FileOpenLsm).unwrap_err();
        assert!(
            refused.to_string().contains("8 different depths"),
            "{refused}"
        );
    }

    fn megabytes(bytes: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let bytes = bytes as f64;
        bytes / f64::from(1 << 20)
    }
}
