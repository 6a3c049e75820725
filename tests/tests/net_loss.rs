//! `net.loss` on a real kernel.

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        net::UdpSocket,
        process::{Child, Stdio},
        time::Duration,
    };

    use kchaos_tests::{
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        counter, eventually,
        inject::Injecting,
        kchaos,
        needs::can_by,
        network::{Link, RECEIVER, SENDER, Script},
        require,
    };
    use serde_json::Value;

    const PACKETS: u64 = 2000;

    /// A receiver inside a cgroup that counts the datagrams it gets until it hears `end`.
    struct Receiver {
        child: Child,
        port: u16,
    }

    impl Receiver {
        fn start(cgroup: &Cgroup) -> Self {
            let script = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
n = 0
while True:
    d = s.recv(64)
    if d == b'end':
        break
    n += 1
print(n, flush=True)
";
            let mut child = cgroup
                .command("/usr/bin/python3")
                .args(["-c", script])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let out = child.stdout.take().unwrap();
            let mut out = BufReader::new(out);
            out.read_line(&mut line).unwrap();
            child.stdout = Some(out.into_inner());
            Self {
                child,
                port: line.trim().parse().unwrap(),
            }
        }

        fn send(&self, count: u64) {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            for number in 0..count {
                // An ingress loss must not be told to the sender.
                socket
                    .send_to(b"datagram", ("127.0.0.1", self.port))
                    .unwrap();
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }

        fn received(mut self) -> u64 {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"end", ("127.0.0.1", self.port)).unwrap();
            let mut line = String::new();
            BufReader::new(self.child.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            self.child.wait().unwrap();
            line.trim().parse().unwrap()
        }
    }

    #[test]
    fn what_is_injected_is_what_is_missing_and_the_neighbour_gets_all() {
        require!("net.loss");
        let before = Loaded::now();
        let cgroup = Cgroup::new("net");
        let inner = cgroup.child("inner");
        let left_out = cgroup.child("left-out");
        let neighbour = Cgroup::new("neighbour");
        let (target, nested, spared, beside) = (
            Receiver::start(&cgroup),
            Receiver::start(&inner),
            Receiver::start(&left_out),
            Receiver::start(&neighbour),
        );
        let name = cgroup.target();
        let fault = format!("net.loss=30%,direction=ingress,exclude={}", left_out.path());
        let mut inject = std::process::Command::new("kchaos")
            .args([
                "inject",
                "--json",
                "--target",
                &name,
                "--duration",
                "60s",
                "--seed",
                "3",
            ])
            .args(["--fault", &fault])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(inject.stdout.take().unwrap()).lines();
        // The first line of evidence says that it is armed.
        lines.next().unwrap().unwrap();
        for receiver in [&target, &nested, &spared, &beside] {
            receiver.send(PACKETS);
        }
        // SAFETY: takes two integers.
        unsafe { libc::kill(inject.id().cast_signed(), libc::SIGINT) };
        let last: Value = serde_json::from_str(&lines.map(Result::unwrap).last().unwrap()).unwrap();
        assert_eq!(
            inject.wait().unwrap().code(),
            Some(4),
            "ended early: {last}"
        );
        let ports = [&target, &nested].map(|receiver| format!("127.0.0.1:{}", receiver.port));
        let events = last["faults"][0]["trail"]["events"].as_array().unwrap();
        assert!(!events.is_empty(), "{last}");
        for event in events {
            assert_eq!(event["protocol"], 17, "{event}");
            assert_eq!(event["bytes"], 20 + 8 + "datagram".len(), "{event}");
            let destination = event["destination"].as_str().unwrap();
            assert!(ports.iter().any(|port| port == destination), "{event}");
            assert!(
                event["source"].as_str().unwrap().starts_with("127.0.0.1:"),
                "{event}"
            );
        }
        let (hit, nested_hit, free) = (target.received(), nested.received(), beside.received());
        assert_eq!(free, PACKETS, "the neighbour lost packets");
        assert_eq!(spared.received(), PACKETS, "what is left out lost packets");
        assert_eq!(counter(&last, 0, "matched"), 2 * PACKETS, "{last}");
        assert_eq!(
            hit + nested_hit + counter(&last, 0, "injected"),
            2 * PACKETS,
            "{last}"
        );
        // Five standard deviations of a binomial of 4000 and 0.3.
        assert!(
            (1055..=1345).contains(&counter(&last, 0, "injected")),
            "{last}"
        );
        assert!(
            hit < PACKETS && nested_hit < PACKETS,
            "the subtree is hit: {hit} {nested_hit}"
        );
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn a_rule_goes_with_its_cgroup_while_others_of_the_plan_stay() {
        require!("net.loss"; "debian-6.12");
        let (goes, stays) = (Cgroup::new("goes"), Cgroup::new("stays"));
        let receivers = [&goes, &stays].map(Receiver::start);
        let mut agent = Agent::start(&[]);
        let before = Loaded::now();
        let fault = |id: &str, cgroup: &Cgroup| {
            format!(
                "  - {{id: {id}, target: {{cgroup: {}}}, netLoss: {{share: 100%, direction: ingress}}}}\n",
                cgroup.path()
            )
        };
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: two}}
spec:
  duration: 10m
  faults:
{}{}",
            fault("goes", &goes),
            fault("stays", &stays)
        ));
        let links = || Loaded::now().links.difference(&before.links).count();
        assert_eq!(links(), 2);
        for receiver in &receivers {
            receiver.send(10);
        }
        let gone = goes.path();
        let [first, second] = receivers;
        drop((first, goes));
        eventually("its link is closed", Duration::from_secs(20), || {
            links() == 1
        });
        second.send(10);
        let mut faults = Value::Null;
        eventually("all are counted", Duration::from_secs(20), || {
            let said = agent.ask(&["show", "two", "--json"]);
            let shown: Value = serde_json::from_str(&said.out).unwrap();
            faults = shown["nodes"][0]["faults"].clone();
            faults[1]["counters"]["injected"] == 20
        });
        assert_eq!(faults[0]["counters"]["injected"], 10, "{faults}");
        let why = format!("cgroup {gone} is gone");
        assert_eq!(faults[0]["ended"], Value::from(why), "{faults}");
        assert_eq!(faults[1]["ended"], Value::Null, "{faults}");
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
    }

    #[test]
    fn a_unit_is_found_by_its_cgroup() {
        require!("net.loss"; "debian-6.12");
        let inject = |unit: &str| {
            let target = format!("unit={unit}");
            let fault = "net.loss=10%,direction=ingress";
            kchaos(&[
                "inject",
                "--target",
                &target,
                "--fault",
                fault,
                "--duration",
                "1s",
            ])
        };
        let slice = Cgroup::new("slice");
        let unit = slice.child("demo@1-main.service");
        let said = inject("demo@1-main.service");
        assert_eq!(said.status, 4, "nothing was hit: {said:?}");
        assert!(
            said.out.contains(&format!("cgroup {}", unit.path())),
            "{said:?}"
        );
        assert_eq!(inject("demo@2-main.service").status, 3);
        let other = Cgroup::new("other");
        let _second = other.child("demo@1-main.service");
        let said = inject("demo@1-main.service");
        assert_eq!(said.status, 2, "which of the two? {said:?}");
    }

    #[test]
    fn the_rights_that_it_names_are_those_that_it_needs() {
        require!("net.loss"; "debian-6.12");
        let with = |rights: &str| {
            std::process::Command::new("setpriv")
                .arg(format!("--bounding-set=-all,+dac_override,{rights}"))
                .args(["kchaos", "run", "--fault", "net.loss=50%,direction=ingress"])
                .args(["--", "true"])
                .output()
                .unwrap()
        };
        let enough = with("+bpf,+perfmon,+net_admin");
        // It was armed, and there was nothing to hit.
        assert_eq!(enough.status.code(), Some(123), "{enough:?}");
        let lacking = with("+bpf,+net_admin");
        assert_eq!(lacking.status.code(), Some(125), "{lacking:?}");
        let said = String::from_utf8_lossy(&lacking.stderr).into_owned();
        assert!(said.contains("needs CAP_PERFMON"), "{said}");
    }

    /// Two cgroups in one namespace, each with a sender, and a receiver at the far end.
    struct Pair {
        link: Link,
        target: Cgroup,
        senders: [Script; 2],
        receiver: Script,
        _neighbour: Cgroup,
    }

    impl Pair {
        fn new() -> Self {
            let link = Link::new();
            let (target, neighbour) = (Cgroup::new("sends"), Cgroup::new("beside"));
            let senders = [&target, &neighbour]
                .map(|cgroup| Script::start(link.near(cgroup, "python3"), SENDER));
            let receiver = Script::start(link.far("python3"), RECEIVER);
            let mut pair = Self {
                link,
                target,
                senders,
                receiver,
                _neighbour: neighbour,
            };
            for sender in &mut pair.senders {
                assert_eq!(sender.line(), "ready");
            }
            assert_eq!(pair.receiver.line(), "ready");
            pair
        }

        /// How many sends failed, and how many datagrams arrived.
        fn send(&mut self, who: usize, address: &str, count: u64) -> (u64, u64) {
            let failed = self.senders[who].ask(&format!("{address} {count}"));
            let arrived = self.receiver.ask("");
            (failed.parse().unwrap(), arrived.parse().unwrap())
        }
    }

    #[test]
    fn what_is_sent_gets_lost_and_no_sender_hears_of_it() {
        require!("net.loss");
        let mut pair = Pair::new();
        let listing = pair.link.listing();
        let before = Loaded::now();
        for mechanism in ["tcx", "cgroup-skb"] {
            if !can_by("net.loss", mechanism) {
                continue;
            }
            let fault = format!("net.loss=30%,direction=egress,mechanism={mechanism}");
            let inject = Injecting::start(&pair.target, &fault);
            let (failed, arrived) = pair.send(0, Link::FAR[0], PACKETS);
            let (failed6, arrived6) = pair.send(0, Link::FAR6, PACKETS);
            let beside = pair.send(1, Link::FAR[0], PACKETS);
            let last = inject.end();
            assert_eq!((failed, failed6), (0, 0), "{mechanism}: {last}");
            assert_eq!(beside, (0, PACKETS), "{mechanism}: the neighbour");
            assert_eq!(counter(&last, 0, "matched"), 2 * PACKETS, "{last}");
            let hits = counter(&last, 0, "injected");
            assert_eq!(
                arrived + arrived6 + hits,
                2 * PACKETS,
                "{mechanism}: {last}"
            );
            // Five standard deviations of a binomial of 4000 and 0.3.
            assert!((1055..=1345).contains(&hits), "{mechanism}: {last}");
            let event = &last["faults"][0]["trail"]["events"][0];
            assert_eq!(event["protocol"], 17, "{event}");
            assert_eq!(
                pair.send(0, Link::FAR[0], 100),
                (0, 100),
                "{mechanism}: afterwards"
            );
        }
        assert_eq!(before.left_since(), Loaded::default());
        assert_eq!(pair.link.listing(), listing);
    }

    #[test]
    fn a_visible_loss_is_an_error_of_the_sender() {
        require!("net.loss"; "debian-6.1", "debian-7");
        let mut pair = Pair::new();
        let inject = Injecting::start(&pair.target, "net.loss=100%,direction=egress,visible=true");
        assert_eq!(pair.send(0, Link::FAR[0], 100), (100, 0));
        assert_eq!(pair.send(1, Link::FAR[0], 100), (0, 100));
        let last = inject.end();
        assert_eq!(last["faults"][0]["mechanism"], "cgroup-skb", "{last}");
        assert_eq!(counter(&last, 0, "injected"), 100, "{last}");
    }

    /// Sends a million bytes, and says how many segments were sent again.
    const STREAM: &str = "
import socket, struct, sys
print('ready')
for line in sys.stdin:
    s = socket.create_connection((line.strip(), 5001), timeout=60)
    s.sendall(bytes(1000000))
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b''
    # struct tcp_info: tcpi_total_retrans is 100 bytes from its start.
    print(struct.unpack_from('I', s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0])
";
    const SINK: &str = "
import socket
s = socket.create_server(('0.0.0.0', 5001))
print('ready')
while True:
    c, _ = s.accept()
    n = 0
    while (d := c.recv(65536)):
        n += len(d)
    c.close()
    print(n)
";

    #[test]
    fn tcp_sends_again_what_is_lost() {
        require!("net.loss"; "debian-6.12");
        if !can_by("net.loss", "tcx") {
            return;
        }
        let (link, target) = (Link::new(), Cgroup::new("stream"));
        let mut sink = Script::start(link.far("python3"), SINK);
        let mut stream = Script::start(link.near(&target, "python3"), STREAM);
        assert_eq!(
            (sink.line(), stream.line()),
            ("ready".into(), "ready".into())
        );
        assert_eq!(stream.ask(Link::FAR[0]), "0", "nothing is lost yet");
        assert_eq!(sink.line(), "1000000");
        let inject = Injecting::start(&target, "net.loss=5%,direction=egress");
        let again: u64 = stream.ask(Link::FAR[0]).parse().unwrap();
        assert_eq!(sink.line(), "1000000");
        let last = inject.end();
        let hits = counter(&last, 0, "injected");
        // An acknowledgement that is lost is not sent again; a segment that is lost is, with what was
        // on its way behind it at times.
        assert!(hits > 0 && again > 0, "{again} sent again: {last}");
    }

    /// Says how many of three echo requests were answered.
    const ECHO: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print('ready')
for line in sys.stdin:
    s.settimeout(0.5)
    n = 0
    for i in range(3):
        head = struct.pack('!BBHHH', 8, 0, 0, 7, i)
        total = sum(struct.unpack('!4H', head))
        total = (total & 0xffff) + (total >> 16)
        s.sendto(struct.pack('!BBHHH', 8, 0, ~total & 0xffff, 7, i), (line.strip(), 0))
        try:
            while s.recv(200)[20] != 0:
                pass
            n += 1
        except TimeoutError:
            pass
    print(n)
";

    #[test]
    fn of_a_namespace_of_its_own_the_kernels_answers_are_lost_as_well() {
        require!("net.down"; "debian-7");
        if !can_by("net.down", "tcx") {
            return;
        }
        let (link, target) = (Link::new(), Cgroup::new("alone"));
        let _idle = link.settle(&target);
        let mut echo = Script::start(link.far("python3"), ECHO);
        assert_eq!(echo.line(), "ready");
        assert_eq!(echo.ask(Link::NEAR), "3", "before");
        let inject = Injecting::start(&target, "net.down");
        assert_eq!(echo.ask(Link::NEAR), "0", "during");
        let last = inject.end();
        assert!(counter(&last, 0, "injected") >= 3, "{last}");
        assert_eq!(echo.ask(Link::NEAR), "3", "after");
    }

    /// What arrives is decided on the cgroup by either mechanism, by programs of its own.
    #[test]
    fn rules_of_two_mechanisms_on_one_cgroup_are_asked_once_each() {
        require!("net.loss"; "debian-7");
        let target = Cgroup::new("both");
        let receiver = Receiver::start(&target);
        let mut agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: both}}
spec:
  duration: 10m
  target: {{cgroup: {}}}
  faults:
  - {{id: both, netLoss: {{share: 0%, direction: both}}}}
  - {{id: in, netLoss: {{share: 0%, direction: ingress, mechanism: cgroup-skb}}}}
",
            target.path()
        ));
        receiver.send(50);
        let mut faults = Value::Null;
        eventually("all are counted", Duration::from_secs(20), || {
            let said = agent.ask(&["show", "both", "--json"]);
            let shown: Value = serde_json::from_str(&said.out).unwrap();
            faults = shown["nodes"][0]["faults"].clone();
            faults[1]["counters"]["matched"] == 50
        });
        assert_eq!(faults[0]["counters"]["matched"], 50, "{faults}");
        drop(agent.stop("both"));
        agent.signal(libc::SIGTERM);
        assert!(agent.child.wait().unwrap().success());
    }

    #[test]
    fn an_agent_that_is_killed_leaves_the_network_whole() {
        require!("net.loss");
        let mut pair = Pair::new();
        let listing = pair.link.listing();
        let before = Loaded::now();
        let mut agent = Agent::start(&[]);
        agent.apply(&format!(
            "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: gone}}
spec:
  duration: 10m
  target: {{cgroup: {}}}
  faults:
  - netDown: {{}}
",
            pair.target.path()
        ));
        assert_eq!(pair.send(0, Link::FAR[0], 50), (0, 0));
        agent.signal(libc::SIGKILL);
        agent.child.wait().unwrap();
        assert_eq!(pair.send(0, Link::FAR[0], 50), (0, 50));
        eventually("nothing is left", Duration::from_secs(10), || {
            before.left_since() == Loaded::default()
        });
        assert_eq!(pair.link.listing(), listing);
    }
}
