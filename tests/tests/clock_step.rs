//! `clock.step` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        clock::{REALTIME, readings},
        require,
    };

    const STEP: i64 = 10_000_000_000;

    #[test]
    fn it_jumps_at_once_and_again_as_often_as_was_said() {
        require!("clock.step"; "debian-6.1");
        let all = readings("clock.step:realtime=+10s,every=4s,times=2", REALTIME, "9");
        // Slow as the machine may be, a reading is not five seconds late.
        let mut steps: Vec<i64> = all
            .iter()
            .map(|it| (it.told - it.before + STEP / 2) / STEP)
            .collect();
        steps.dedup();
        assert_eq!(steps, [1, 2], "{all:?}");
    }
}
