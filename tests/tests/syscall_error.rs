//! `syscall.error` on a real kernel: whom it is refused for.

#[cfg(test)]
mod tests {
    use kchaos_tests::{Said, cgroup::Cgroup, kchaos, needs::can};

    #[test]
    fn only_a_command_can_be_hit() {
        if !can("pressure.cpu") {
            return kchaos_tests::needs::skip("no target can be had here");
        }
        let target = Cgroup::new("syscall-error");
        let said: Said = kchaos(&[
            "inject",
            "--target",
            &target.target(),
            "--fault",
            "syscall.error:fsync=EIO",
            "--duration",
            "1s",
        ]);
        assert_eq!(said.status, 3, "{said:?}");
        let reason = "seccomp-notify works only for the command that `kchaos run` starts";
        assert!(said.err.contains(reason), "{said:?}");
    }
}
