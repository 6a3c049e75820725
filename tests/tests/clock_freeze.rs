//! `clock.freeze` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        clock::{MONOTONIC, REALTIME, readings},
        require,
    };

    #[test]
    fn it_stands_still_and_no_other_does() {
        require!("clock.freeze"; "debian-6.1");
        let all = readings("clock.freeze:realtime", REALTIME, "0.5");
        assert!(all.len() > 10, "{all:?}");
        assert!(all.iter().all(|it| it.told == all[0].told), "{all:?}");
        let all = readings("clock.freeze:realtime,duration=2s", REALTIME, "4");
        let last = all.last().unwrap();
        assert!((last.before..=last.after).contains(&last.told), "{last:?}");
        // The command is hit, by its other clock.
        let other = kchaos_tests::kchaos(&[
            "run",
            "--allow-no-hit",
            "--fault",
            "clock.freeze:realtime",
            "--",
            &kchaos_tests::clock::victim(false),
            "model",
            MONOTONIC,
            "0.3",
        ]);
        assert_eq!(other.status, 0, "{other:?}");
        assert!(other.out.lines().count() > 5, "{other:?}");
        for line in other.out.lines() {
            let numbers: Vec<i64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
            assert!((numbers[0]..=numbers[2]).contains(&numbers[1]), "{line}");
        }
    }
}
