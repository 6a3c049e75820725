//! `net.link` on a real kernel: what becomes of packets, by the account of both ends.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter, eventually,
        inject::Injecting,
        network::{COUNTS_IN, COUNTS_OUT, ECHO, Link, Script},
        require,
    };

    /// Told `ADDRESS COUNT` it asks so many times, one after the other, and says how many milliseconds each
    /// took.
    const ASK: &str = "
import socket, sys, time
print('ready')
for line in sys.stdin:
    address, count = line.split()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((address, 5000))
    took = []
    for i in range(int(count)):
        began = time.monotonic()
        s.send(b'ask')
        try:
            s.recv(9)
        except TimeoutError:
            pass
        took.append(round((time.monotonic() - began) * 1000, 3))
    print(*took)
";

    fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(line: &str) -> Vec<T> {
        line.split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect()
    }

    /// What `ASK` has waited for, it says that it took: the answer is lost.
    const LOST_MS: f64 = 5000.0;

    /// Milliseconds of so many questions, all of which are answered.
    fn asked(script: &mut Script, address: &str, count: u32) -> Vec<f64> {
        let took = numbers(&script.ask(&format!("{address} {count}")));
        assert_eq!(took.len(), count as usize);
        assert!(took.iter().all(|took| *took < LOST_MS), "{took:?}");
        took
    }

    fn shortest(took: &[f64]) -> f64 {
        took.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Two cgroups in one namespace, and somebody at the far end who answers.
    struct Pair {
        link: Link,
        target: Cgroup,
        asks: [Script; 2],
        _echo: Script,
        _neighbour: Cgroup,
    }

    impl Pair {
        fn new() -> Self {
            let link = Link::new();
            let (target, neighbour) = (Cgroup::new("late"), Cgroup::new("beside"));
            let asks = [&target, &neighbour]
                .map(|cgroup| Script::ready(link.near(cgroup, "python3"), ASK));
            let echo = Script::ready(link.far("python3"), ECHO);
            Self {
                link,
                target,
                asks,
                _echo: echo,
                _neighbour: neighbour,
            }
        }
    }

    #[test]
    fn packets_are_late_by_what_was_asked_for_and_the_neighbours_are_not() {
        require!("net.link");
        let mut pair = Pair::new();
        let listing = pair.link.listing();
        let before = Loaded::now();
        let fault = Injecting::start(&pair.target, "net.delay=200ms,proto=udp");
        for address in [Link::FAR[0], Link::FAR6] {
            let took = asked(&mut pair.asks[0], address, 5);
            // Never too early; and not twice, for what is taken a detour comes by the same device again.
            assert!((200.0..400.0).contains(&shortest(&took)), "{took:?}");
            assert!(took.iter().all(|took| *took >= 200.0), "{took:?}");
            let beside = asked(&mut pair.asks[1], address, 5);
            assert!(shortest(&beside) < 200.0, "the neighbour: {beside:?}");
        }
        let last = fault.end();
        assert_eq!(counter(&last, 0, "injected"), 10, "{last}");
        let event = &last["faults"][0]["trail"]["events"][0];
        assert_eq!(event["protocol"], 17, "{event}");
        // The kernel has seen each of them come off the link, and when.
        let late = &last["faults"][0]["late"];
        assert_eq!(late["packets"], 10, "{last}");
        let [median, most] = ["medianUs", "p99Us"].map(|share| late[share].as_u64().unwrap());
        assert!((1..200_000).contains(&median) && median <= most, "{late}");
        let took = asked(&mut pair.asks[0], Link::FAR[0], 5);
        assert!(shortest(&took) < 200.0, "afterwards: {took:?}");
        assert_eq!(pair.link.listing(), listing);
        eventually("nothing is left", Duration::from_secs(10), || {
            before.left_since() == Loaded::default()
        });
    }

    #[test]
    fn what_arrives_is_late_where_the_namespace_is_the_targets() {
        require!("net.link"; "debian-6.1");
        let link = Link::new();
        let target = Cgroup::new("late");
        let mut ask = Script::ready(link.near(&target, "python3"), ASK);
        let _echo = Script::ready(link.far("python3"), ECHO);
        let fault = Injecting::start(&target, "net.delay=150ms,proto=udp,direction=both");
        let took = asked(&mut ask, Link::FAR[0], 5);
        assert!((300.0..500.0).contains(&shortest(&took)), "{took:?}");
        let last = fault.end();
        assert_eq!(counter(&last, 0, "injected"), 10, "{last}");
        // Somebody else moves in, and what arrives could be theirs.
        let neighbour = Cgroup::new("beside");
        let _beside = Script::ready(link.near(&neighbour, "python3"), ASK);
        let target = target.target();
        let refused = kchaos_tests::kchaos(&[
            "inject",
            "--target",
            &target,
            "--duration",
            "1s",
            "--fault",
            "net.delay=1ms,direction=ingress",
        ]);
        assert_eq!(refused.status, 3, "{refused:?}");
        assert!(refused.err.contains("say direction=egress"), "{refused:?}");
    }

    /// Whether so many of all are what a share makes of them: within five standard deviations.
    #[track_caller]
    fn is_share(found: usize, all: u32, share: f64) {
        let found = f64::from(u32::try_from(found).unwrap());
        let mean = f64::from(all) * share;
        let bound = 5.0 * (mean * (1.0 - share)).sqrt();
        assert!(
            (found - mean).abs() <= bound,
            "{found} of {all}, not {share}"
        );
    }

    #[test]
    fn packets_get_lost_come_twice_and_overtake() {
        const ALL: u32 = 2000;
        require!("net.link"; "debian-7");
        let link = Link::new();
        let target = Cgroup::new("odd");
        let mut sends = Script::ready(link.near(&target, "python3"), COUNTS_OUT);
        let mut receives = Script::ready(link.far("python3"), COUNTS_IN);
        let mut go = |fault: &str| {
            let injecting = Injecting::start(&target, fault);
            assert_eq!(sends.ask(&ALL.to_string()), "sent");
            let found: Vec<u32> = numbers(&receives.ask(""));
            let last = injecting.end();
            assert_eq!(counter(&last, 0, "injected"), u64::from(ALL), "{last}");
            found
        };
        let distinct = |found: &[u32]| {
            let mut numbers = found.to_vec();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len()
        };
        let lost = go("net.link,loss=20%,proto=udp");
        is_share(ALL as usize - lost.len(), ALL, 0.2);
        assert!(lost.is_sorted());
        let every = go("net.link,loss=every/10,proto=udp");
        assert_eq!(every.len(), ALL as usize / 10 * 9);
        assert!(!every.contains(&9) && every.contains(&10));
        let twice = go("net.duplicate=10%,proto=udp");
        assert_eq!(distinct(&twice), ALL as usize);
        is_share(twice.len() - ALL as usize, ALL, 0.1);
        let overtaken = go("net.delay=40ms,reorder=25%,proto=udp");
        assert_eq!(distinct(&overtaken), ALL as usize);
        // One that is not delayed comes in front of those that are.
        let early = |found: &[u32]| found.windows(2).filter(|two| two[0] > two[1]).count();
        assert!(early(&overtaken) > 20, "{}", early(&overtaken));
        // Each has a delay of its own, whatever the others have.
        let shaken = go("net.delay=300ms,jitter=200ms,proto=udp");
        assert_eq!(distinct(&shaken), ALL as usize);
        assert!(early(&shaken) > 500, "{}", early(&shaken));
    }

    #[test]
    fn a_bit_changes_and_whoever_is_to_notice_does() {
        const ALL: u32 = 400;
        require!("net.link"; "debian-6.12");
        let link = Link::new();
        let target = Cgroup::new("bent");
        let mut sends = Script::ready(
            link.near(&target, "python3"),
            "
import socket, sys
print('ready')
for line in sys.stdin:
    address, count = line.split()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    for i in range(int(count)):
        s.sendto(bytes(64), (address, 5000))
    print('sent')
",
        );
        // How many came, and how many bits of them were not zero.
        let mut receives = Script::ready(
            link.far("python3"),
            "
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
s.bind(('::', 5000))
s.settimeout(1)
print('ready')
for line in sys.stdin:
    count, bits = 0, 0
    try:
        while True:
            data = s.recv(99)
            count += 1
            bits += int.from_bytes(data, 'big').bit_count()
    except TimeoutError:
        pass
    print(count, bits)
",
        );
        for address in [Link::FAR[0], Link::FAR6] {
            let mut go = |fault: &str| {
                let injecting = Injecting::start(&target, fault);
                assert_eq!(sends.ask(&format!("{address} {ALL}")), "sent");
                let found: Vec<u32> = numbers(&receives.ask(""));
                drop(injecting.end());
                (found[0], found[1])
            };
            let (count, bits) = go("net.corrupt=25%,corruption=silent,proto=udp");
            assert_eq!(count, ALL, "{address}");
            is_share(bits as usize, ALL, 0.25);
            let (count, bits) = go("net.corrupt=25%,proto=udp");
            assert_eq!(bits, 0, "{address}");
            is_share((ALL - count) as usize, ALL, 0.25);
        }
    }

    /// What comes back from the detour is on its way as if it had not been away: who looks at what arrives at the next
    /// device, as policies do there, sees it.
    #[test]
    fn who_looks_on_at_the_other_end_sees_what_comes_late() {
        require!("net.link"; "debian-6.12");
        let mut pair = Pair::new();
        let mut tap = Script::ready(
            pair.link.far("python3"),
            "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
s.settimeout(1)
print('ready')
for line in sys.stdin:
    count = 0
    try:
        while True:
            data, (_, _, kind, _, _) = s.recvfrom(2000)
            # To us, by UDP, for port 5000.
            count += kind == 0 and data[9] == 17 and data[22:24] == b'\\x13\\x88'
    except TimeoutError:
        pass
    print(count)
",
        );
        let fault = Injecting::start(&pair.target, "net.delay=100ms,proto=udp");
        asked(&mut pair.asks[0], Link::FAR[0], 5);
        let seen: u32 = tap.ask("").parse().unwrap();
        let last = fault.end();
        assert_eq!(counter(&last, 0, "injected"), 5, "{last}");
        assert_eq!(seen, 5);
    }

    #[test]
    fn a_rate_holds_what_is_sent_back() {
        require!("net.link"; "debian-6.1");
        let link = Link::new();
        let target = Cgroup::new("slow");
        let mut sends = Script::ready(
            link.near(&target, "python3"),
            "
import socket, sys, time
print('ready')
for line in sys.stdin:
    began = time.monotonic()
    s = socket.create_connection(('10.77.0.2', 5001))
    s.sendall(bytes(int(line)))
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
    print(time.monotonic() - began)
",
        );
        let _receives = Script::ready(
            link.far("python3"),
            "
import socket
s = socket.create_server(('10.77.0.2', 5001))
print('ready')
while True:
    one, _ = s.accept()
    while one.recv(1 << 16):
        pass
    one.send(b'k')
    one.close()
",
        );
        let fault = Injecting::start(&target, "net.rate=8mbit,proto=tcp");
        let took: f64 = sends.ask("2000000").parse().unwrap();
        let last = fault.end();
        // Two seconds, and headers; the answer is not the target's.
        assert!((2.0..2.9).contains(&took), "{took} s: {last}");
        let free: f64 = sends.ask("2000000").parse().unwrap();
        assert!(free < 2.0, "afterwards: {free} s");
    }

    /// Links of one kchaos add up, and each goes for itself.
    #[test]
    fn links_add_up_and_come_apart() {
        require!("net.link"; "debian-6.12");
        let mut pair = Pair::new();
        let listing = pair.link.listing();
        let mut agent = Agent::start(&[]);
        let experiment = |name: &str, delay: &str| {
            format!(
                "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: {name}}}
spec:
  duration: 10m
  target: {{cgroup: {}}}
  faults:
  - netDelay: {{delay: {delay}, proto: udp}}
",
                pair.target.path()
            )
        };
        agent.apply(&experiment("long", "200ms"));
        agent.apply(&experiment("short", "100ms"));
        let took = asked(&mut pair.asks[0], Link::FAR[0], 3);
        assert!((300.0..390.0).contains(&shortest(&took)), "{took:?}");
        drop(agent.stop("long"));
        let took = asked(&mut pair.asks[0], Link::FAR[0], 3);
        assert!((100.0..190.0).contains(&shortest(&took)), "{took:?}");
        drop(agent.stop("short"));
        let took = asked(&mut pair.asks[0], Link::FAR[0], 3);
        assert!(shortest(&took) < 100.0, "{took:?}");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
        assert_eq!(pair.link.listing(), listing);
    }

    #[test]
    fn an_agent_that_is_killed_leaves_no_device() {
        require!("net.link"; "debian-6.1");
        let mut pair = Pair::new();
        let listing = pair.link.listing();
        let before = Loaded::now();
        let mut agent = Agent::start(&["--lease", "2s"]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: gone}}
spec:
  duration: 10m
  target: {{cgroup: {}}}
  faults:
  - netLink: {{delay: 300ms, proto: udp}}
",
            pair.target.path()
        ));
        let took = asked(&mut pair.asks[0], Link::FAR[0], 2);
        assert!(shortest(&took) >= 300.0, "{took:?}");
        assert_ne!(pair.link.listing(), listing);
        agent.signal(libc::SIGKILL);
        agent.child.wait().unwrap();
        // What waited in the device when the guard took it away is lost, and is waited for once.
        eventually("traffic is whole", Duration::from_secs(15), || {
            let took: Vec<f64> = numbers(&pair.asks[0].ask(&format!("{} 1", Link::FAR[0])));
            shortest(&took) < 300.0
        });
        eventually("nothing is left", Duration::from_secs(10), || {
            pair.link.listing() == listing && before.left_since() == Loaded::default()
        });
    }
}
