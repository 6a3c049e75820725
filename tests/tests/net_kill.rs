//! An agent with faults of the network is killed, whatever it is doing, and nobody starts another one.

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        eventually, kchaos, long,
        network::{ECHO, Link, Script},
        require,
    };

    /// For each line asks ten times, and says how many were answered within 80 ms.
    const ASK: &str = "
import socket, sys, time
print('ready')
for line in sys.stdin:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect(('10.77.0.2', 5000))
    quick = 0
    for i in range(10):
        began = time.monotonic()
        s.send(b'ask')
        try:
            s.recv(9)
            quick += time.monotonic() - began < 0.08
        except OSError:
            pass
    print(quick)
";

    const LEASE: Duration = Duration::from_secs(2);
    /// Until nothing of it is there, after the lease.
    const GONE: Duration = Duration::from_secs(10);
    /// So long arming takes, on a machine that emulates; and the moments after it are as many.
    const MOMENTS: Duration = Duration::from_secs(5);

    /// A link, losses and a cut-off, so that something is on devices, on the cgroup, and in the journal.
    fn experiment(target: &Cgroup) -> String {
        format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: gone}}
spec:
  duration: 10m
  target: {{cgroup: {}}}
  faults:
  - netLink: {{delay: 100ms, direction: both}}
  - netLoss: {{share: 50%}}
  - netPartition: {{peer: [10.77.0.3]}}
",
            target.path()
        )
    }

    #[test]
    fn killed_at_any_moment_it_leaves_nothing() {
        require!("net.link", "net.loss"; "debian-6.12");
        let rounds: u32 = if long() { 100 } else { 4 };
        let link = Link::new();
        let target = Cgroup::new("killed");
        let mut asks = Script::ready(link.near(&target, "python3"), ASK);
        let _echo = Script::ready(link.far("python3"), ECHO);
        let is_whole = |asks: &mut Script| asks.ask("") == "10";
        eventually("an answer is quick", GONE, || is_whole(&mut asks));
        let (listing, before) = (link.listing(), Loaded::now());
        let (mut armed, mut slowest) = (0, Duration::ZERO);
        for round in 0..rounds {
            let mut agent = Agent::start(&["--lease", "2s"]);
            let mut apply = Command::new("kchaos")
                .args(["apply", &agent.file(&experiment(&target))])
                .env(
                    "KCHAOS_SOCKET",
                    format!("unix://{}", agent.socket().display()),
                )
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Every other one while it arms, and the others when all is armed.
            let is_armed = round % 2 == 1 && apply.wait().unwrap().success();
            armed += u32::from(is_armed);
            // Spread evenly, in no order.
            thread::sleep(MOMENTS * (round * 37 % rounds) / rounds);
            if is_armed {
                assert_ne!(link.listing(), listing);
            }
            agent.signal(libc::SIGKILL);
            let killed = Instant::now();
            agent.child.wait().unwrap();
            // It is told now that nobody is there, if it was not told before that all is armed.
            apply.wait().unwrap();
            eventually("traffic is whole", LEASE + GONE, || is_whole(&mut asks));
            eventually("nothing is left", LEASE + GONE, || {
                link.listing() == listing && before.left_since() == Loaded::default()
            });
            slowest = slowest.max(killed.elapsed());
            let check = kchaos(&["heal", "--check"]);
            assert_eq!(check.status, 0, "round {round}: {check:?}");
        }
        assert_eq!(armed, rounds / 2);
        println!(
            "{rounds} agents were killed, {armed} with all armed; gone after {slowest:.1?} at most"
        );
    }
}
