//! `mem.page` on a real kernel, by each mechanism.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        found,
        memory::asked,
        needs::{can_by, skip},
    };

    const KIND: &str = "mem.page";

    fn ask(cgroup: &Cgroup, ways: &[&str]) -> Vec<i32> {
        asked(&mut cgroup.command(env!("CARGO_BIN_EXE_mapper")), ways)
    }

    /// Four pages in a row are for `parts`. The slab caches ask for rows as well, and take single
    /// pages where they get none, so that more is counted than programs see.
    fn rows(mechanism: &str) {
        if !can_by(KIND, mechanism) {
            return skip(&format!("no {mechanism} here"));
        }
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let mut agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: memory}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
  - memPage: {{errno: ENOMEM, minOrder: 2, mechanism: {mechanism}}}
  - id: atomic
    memPage: {{errno: ENOMEM, minOrder: 2, gfp: [atomic, user], shadow: true, mechanism: {mechanism}}}
",
            target.path()
        ));
        let ways = ["open", "parts", "mmap", "parts", "socket"];
        assert_eq!(ask(&neighbour, &ways), [0; 5], "the neighbour");
        let none = libc::ENOMEM;
        assert_eq!(ask(&target, &ways), [0, none, 0, none, 0]);
        let account = agent.stop("memory");
        let injected = found(&account, "injected").unwrap();
        assert!(injected >= 2, "{account}");
        assert_eq!(found(&account, "matched"), Some(injected), "{account}");
        assert_eq!(ask(&target, &ways), [0; 5], "after the end");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn only_the_target_gets_no_rows_of_pages_by_fmod_ret() {
        rows("fmod-ret");
    }

    #[test]
    fn only_the_target_gets_no_rows_of_pages_by_kprobe_override() {
        rows("kprobe-override");
    }
}
