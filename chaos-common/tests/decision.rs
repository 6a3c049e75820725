//! Properties of the decision, against a model that is written down differently.

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use chaos_common::{Decision, Filtered, RuleConfig, RuleMemory, decide, flags, roll};
    use proptest::prelude::*;

    #[derive(Default)]
    struct Memory(Cell<u64>, Cell<u64>);

    impl RuleMemory for Memory {
        fn next_ordinal(&self) -> u64 {
            self.0.set(self.0.get() + 1);
            self.0.get()
        }

        fn spend(&self) -> u64 {
            self.1.set(self.1.get() + 1);
            self.1.get()
        }
    }

    fn always() -> RuleConfig {
        RuleConfig {
            seed: 1,
            start_ns: 1000,
            deadline_ns: 2000,
            ..RuleConfig::ALWAYS
        }
    }

    fn at(rule: &RuleConfig, now: u64) -> Decision {
        decide(rule, now, || Filtered::In, &Memory::default())
    }

    #[test]
    fn a_rule_lives_from_its_start_to_its_deadline() {
        let rule = always();
        assert_eq!(at(&rule, 999), Decision::NotLive);
        assert_eq!(at(&rule, 1000), Decision::Inject);
        assert_eq!(at(&rule, 1999), Decision::Inject);
        assert_eq!(at(&rule, 2000), Decision::Expired);
        assert_eq!(at(&rule, u64::MAX), Decision::Expired);
    }

    #[test]
    fn pulses_count_from_the_start() {
        let rule = RuleConfig {
            pulse_active_ns: 10,
            pulse_every_ns: 100,
            ..always()
        };
        for now in 1000..2000 {
            let expected = if now % 100 < 10 {
                Decision::Inject
            } else {
                Decision::NotLive
            };
            assert_eq!(at(&rule, now), expected, "{now}");
        }
    }

    #[test]
    fn what_a_filter_refuses_has_no_ordinal() {
        let rule = RuleConfig {
            when_last: 1,
            ..always()
        };
        let memory = Memory::default();
        for (filtered, decision) in [
            (Filtered::Out, Decision::Filtered),
            (Filtered::Unknown, Decision::Error),
            (Filtered::In, Decision::Inject),
            (Filtered::In, Decision::Spared),
        ] {
            assert_eq!(decide(&rule, 1500, || filtered, &memory), decision);
        }
    }

    #[test]
    fn shadow_says_what_would_have_happened() {
        let rule = RuleConfig {
            flags: flags::SHADOW,
            times: 1,
            ..always()
        };
        let memory = Memory::default();
        let decide = || decide(&rule, 1500, || Filtered::In, &memory);
        assert_eq!(decide(), Decision::WouldInject);
        assert_eq!(decide(), Decision::OverBudget);
    }

    #[test]
    fn shares_are_met_within_chance() {
        // One million rolls; the bound is five standard deviations of a binomial.
        const TRIALS: u64 = 1_000_000;
        for (share, seed) in [(0.001, 1), (0.05, 2), (0.5, 3), (0.999, u64::MAX)] {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "shares are small and positive"
            )]
            let threshold = (share * 4_294_967_296.0) as u64;
            let hits = (1..=TRIALS)
                .filter(|ordinal| roll(seed, 0, *ordinal) < threshold)
                .count();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let (hits, trials) = (hits as f64, TRIALS as f64);
            let deviation = (trials * share * (1.0 - share)).sqrt();
            assert!(
                (hits - trials * share).abs() < 5.0 * deviation,
                "{share}: {hits}"
            );
        }
    }

    #[test]
    fn rolls_are_spread_evenly() {
        // Chi-square over 256 buckets of the upper and the lower bits: the 0.999 quantile of 255
        // degrees of freedom is 330.5.
        for shift in [24, 0] {
            let mut buckets = [0_u32; 256];
            for ordinal in 1..=1_000_000 {
                buckets[usize::try_from((roll(42, 3, ordinal) >> shift) & 0xff).unwrap()] += 1;
            }
            let expected = 1_000_000.0 / 256.0;
            let chi: f64 = buckets
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum();
            assert!(chi < 330.5, "shift {shift}: {chi}");
        }
    }

    proptest! {
        #[test]
        fn when_is_as_strace_has_it(
            first in 1..30_u64, more in 0..30_u64, step in 1..6_u64, open in any::<bool>(),
        ) {
            let last = if open { u64::MAX } else { first + more };
            let rule =
                RuleConfig { when_first: first, when_last: last, when_step: step, ..always() };
            // The model enumerates what the grammar names.
            let mut named = Vec::new();
            let mut next = first;
            while next <= last && next <= 100 {
                named.push(next);
                next += step;
            }
            let memory = Memory::default();
            for ordinal in 1..=100 {
                let hit = decide(&rule, 1500, || Filtered::In, &memory) == Decision::Inject;
                prop_assert_eq!(hit, named.contains(&ordinal), "{}", ordinal);
            }
        }

        #[test]
        fn nothing_is_injected_outside_of_a_rules_life(
            seed in any::<u64>(), threshold in 0..=1_u64 << 32, now in any::<u64>(),
            start in any::<u64>(), deadline in any::<u64>(), active in any::<u64>(), every in any::<u64>(),
        ) {
            let rule = RuleConfig {
                seed, threshold, start_ns: start, deadline_ns: deadline, pulse_active_ns: active,
                pulse_every_ns: every, ..always()
            };
            if now < start || now >= deadline {
                prop_assert!(at(&rule, now) != Decision::Inject);
            }
        }

        #[test]
        fn a_budget_is_never_exceeded(times in 0..50_u64, seed in any::<u64>(), threshold in 0..=1_u64 << 32) {
            let rule = RuleConfig { times, seed, threshold, ..always() };
            let memory = Memory::default();
            let hits = (0..200)
                .filter(|_| decide(&rule, 1500, || Filtered::In, &memory) == Decision::Inject)
                .count() as u64;
            prop_assert!(hits <= times);
            let due = (1..=200).filter(|ordinal| roll(seed, 0, *ordinal) < threshold).count() as u64;
            prop_assert_eq!(hits, due.min(times));
        }
    }
}
