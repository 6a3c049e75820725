//! `clock.speed` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{bpf::Loaded, counter, require, run_script};

    /// UNFINISHED(clock.speed): what the fault does something to, once; it fails if it was hit.
    const VICTIM: &str = "true";

    // UNFINISHED(clock.speed): and the neighbour is not hit, counters equal what the target saw, `when`, `times` and
    // the seed are kept; the same by each mechanism that `can_by` names.
    #[test]
    fn the_command_is_hit() {
        require!("clock.speed");
        let before = Loaded::now();
        let (said, account) = run_script(&["clock.speed=100%"], VICTIM);
        assert_ne!(said.status, 0, "{said:?}");
        assert_eq!(counter(&account, 0, "injected"), 1, "{account}");
        assert_eq!(before.left_since(), Loaded::default());
    }
}
