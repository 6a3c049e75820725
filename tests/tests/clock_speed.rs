//! `clock.speed` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        clock::{BOOTTIME, MONOTONIC, readings},
        require,
    };

    #[test]
    fn half_as_much_time_passes_and_none_runs_backwards() {
        require!("clock.speed"; "debian-6.1");
        for clock in [MONOTONIC, BOOTTIME] {
            let all = readings("clock.speed:monotonic+boottime=0.5", clock, "1");
            let [first, .., last] = all.as_slice() else {
                panic!("{all:?}")
            };
            let went = last.told - first.told;
            let (lower, most) = (last.before - first.after, last.after - first.before);
            let expected = lower / 2 - 1000..=most / 2 + 1000;
            assert!(expected.contains(&went), "{clock}: {went} in {expected:?}");
            assert!(
                all.windows(2).all(|pair| pair[0].told <= pair[1].told),
                "{clock}"
            );
        }
    }
}
