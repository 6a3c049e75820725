//! Properties of the decision, against a model that is written down differently.

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use chaos_common::{Decision, Filtered, RuleConfig, RuleMemory, decide, flags, roll};
    use proptest::prelude::*;

    /// A rule's memory without anybody beside it.
    #[derive(Default)]
    struct Memory {
        ordinal: Cell<u64>,
        thread: Cell<u64>,
        rate: Cell<u64>,
        spent: Cell<u64>,
        replayed: Vec<u64>,
        forgetful: bool,
    }

    fn next(of: &Cell<u64>) -> u64 {
        of.set(of.get() + 1);
        of.get()
    }

    impl RuleMemory for Memory {
        fn next_ordinal(&self) -> u64 {
            next(&self.ordinal)
        }

        fn next_of_thread(&self) -> Option<u64> {
            (!self.forgetful).then(|| next(&self.thread))
        }

        fn is_replayed(&self, ordinal: u64) -> bool {
            self.replayed.contains(&ordinal)
        }

        fn move_rate(&self, seen: u64, next: u64) -> Result<(), u64> {
            assert_eq!(seen, self.rate.get());
            self.rate.set(next);
            Ok(())
        }

        fn rate_until(&self) -> u64 {
            self.rate.get()
        }

        fn spend(&self) -> u64 {
            next(&self.spent)
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

    /// A plan that nobody lets go of.
    const HELD: u64 = u64::MAX;

    fn at(rule: &RuleConfig, now: u64) -> Decision {
        decide(rule, now, HELD, || Filtered::In, &Memory::default())
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
            assert_eq!(decide(&rule, 1500, HELD, || filtered, &memory), decision);
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
        let decide = || decide(&rule, 1500, HELD, || Filtered::In, &memory);
        assert_eq!(decide(), Decision::WouldInject);
        assert_eq!(decide(), Decision::OverBudget);
    }

    #[test]
    fn a_plan_that_is_not_held_any_more_hits_nothing() {
        let (rule, memory) = (always(), Memory::default());
        for (now, decision) in [(1500, Decision::Inject), (1501, Decision::Expired)] {
            assert_eq!(decide(&rule, now, 1501, || Filtered::In, &memory), decision);
        }
        assert_eq!(
            memory.ordinal.get(),
            1,
            "what comes too late has no ordinal"
        );
    }

    #[test]
    fn a_thread_counts_for_itself_and_is_spared_when_it_cannot() {
        let rule = RuleConfig {
            flags: flags::SCOPE_THREAD,
            when_first: 2,
            when_last: 2,
            ..always()
        };
        let memory = Memory::default();
        memory.ordinal.set(100);
        let decide = |memory| decide(&rule, 1500, HELD, || Filtered::In, memory);
        assert_eq!(decide(&memory), Decision::Spared);
        assert_eq!(
            decide(&memory),
            Decision::Inject,
            "its second, the rule's 102nd"
        );
        assert_eq!(decide(&memory), Decision::Spared);
        let forgetful = Memory {
            forgetful: true,
            ..Memory::default()
        };
        assert_eq!(decide(&forgetful), Decision::Error);
    }

    #[test]
    fn a_replay_hits_its_list_whatever_the_rule_says() {
        let rule = RuleConfig {
            flags: flags::REPLAY,
            threshold: 0,
            when_first: 50,
            ..always()
        };
        let memory = Memory {
            replayed: vec![2, 3, 7],
            ..Memory::default()
        };
        let hits: Vec<u64> = (1..=10)
            .filter(|_| decide(&rule, 1500, HELD, || Filtered::In, &memory) == Decision::Inject)
            .collect();
        assert_eq!(hits, [2, 3, 7]);
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
                let hit = decide(&rule, 1500, HELD, || Filtered::In, &memory) == Decision::Inject;
                prop_assert_eq!(hit, named.contains(&ordinal), "{}", ordinal);
            }
        }

        #[test]
        fn nothing_is_injected_outside_of_a_rules_life(
            seed in any::<u64>(), threshold in 0..=1_u64 << 32, now in any::<u64>(),
            start in any::<u64>(), deadline in any::<u64>(), active in any::<u64>(), every in any::<u64>(),
            held in any::<u64>(),
        ) {
            let rule = RuleConfig {
                seed, threshold, start_ns: start, deadline_ns: deadline, pulse_active_ns: active,
                pulse_every_ns: every, ..always()
            };
            let decision = decide(&rule, now, held, || Filtered::In, &Memory::default());
            if now < start || now >= deadline || now >= held {
                prop_assert!(decision != Decision::Inject);
            }
        }

        #[test]
        fn a_rate_is_a_token_bucket(
            per_second in 1..200_u64, steps in prop::collection::vec(0..50_000_000_u64, 1..300),
        ) {
            let interval = 1_000_000_000 / per_second;
            let rule = RuleConfig {
                start_ns: 0,
                deadline_ns: u64::MAX,
                rate_interval_ns: interval,
                rate_tolerance_ns: interval * (per_second - 1),
                ..always()
            };
            let memory = Memory::default();
            // The model fills a bucket, in units of a nanosecond's worth of an interval.
            let full = interval * per_second;
            let (mut tokens, mut now) = (full, 1_u64 << 40);
            for step in steps {
                now += step;
                tokens = (tokens + step).min(full);
                let allowed = tokens >= interval;
                if allowed {
                    tokens -= interval;
                }
                let hit = decide(&rule, now, HELD, || Filtered::In, &memory) == Decision::Inject;
                prop_assert_eq!(hit, allowed);
            }
        }

        #[test]
        fn a_budget_is_never_exceeded(times in 0..50_u64, seed in any::<u64>(), threshold in 0..=1_u64 << 32) {
            let rule = RuleConfig { times, seed, threshold, ..always() };
            let memory = Memory::default();
            let hits = (0..200)
                .filter(|_| decide(&rule, 1500, HELD, || Filtered::In, &memory) == Decision::Inject)
                .count() as u64;
            prop_assert!(hits <= times);
            let due = (1..=200).filter(|ordinal| roll(seed, 0, *ordinal) < threshold).count() as u64;
            prop_assert_eq!(hits, due.min(times));
        }
    }
}
