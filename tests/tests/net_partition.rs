//! `net.partition` on a real kernel.

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use kchaos_tests::{
        bpf::Loaded,
        cgroup::Cgroup,
        counter,
        inject::Injecting,
        kchaos,
        needs::can_by,
        network::{Link, Script},
        require,
    };
    use serde_json::Value;

    /// Answers every datagram at either port.
    const ECHO: &str = "
import select, socket
ports = []
for port in (5000, 5001):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # The answer comes from the address that was asked.
    s.setsockopt(socket.IPPROTO_IP, 8, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    s.bind(('::', port))
    ports.append(s)
print('ready')
while True:
    for s in select.select(ports, [], [])[0]:
        data, extra, _, peer = s.recvmsg(64, 256)
        info = [(l, t, d) for l, t, d in extra if t == socket.IPV6_PKTINFO]
        s.sendmsg([data], info, 0, peer)
";

    /// Told `ADDRESS PORT`, it says of 20 datagrams how many were answered, from an address of the same
    /// family.
    const ASK: &str = "
import socket, sys
print('ready')
for line in sys.stdin:
    address, port = line.split()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(0.5)
    for i in range(20):
        s.sendto(b'x', (address, int(port)))
    n = 0
    try:
        for i in range(20):
            s.recv(64)
            n += 1
    except TimeoutError:
        pass
    print(n)
";

    struct Talk {
        target: Cgroup,
        asks: Script,
        neighbour: Script,
        _others: (Script, Cgroup, Link),
    }

    impl Talk {
        fn new() -> Self {
            let link = Link::new();
            let (target, beside) = (Cgroup::new("cut"), Cgroup::new("beside"));
            let mut echo = Script::start(link.far("python3"), ECHO);
            let mut asks = Script::start(link.near(&target, "python3"), ASK);
            let mut neighbour = Script::start(link.near(&beside, "python3"), ASK);
            for script in [&mut echo, &mut asks, &mut neighbour] {
                assert_eq!(script.line(), "ready");
            }
            Self {
                target,
                asks,
                neighbour,
                _others: (echo, beside, link),
            }
        }

        fn answers(&mut self, address: &str, port: u16) -> String {
            self.asks.ask(&format!("{address} {port}"))
        }

        /// Who is heard, in the order of these.
        fn heard(&mut self) -> [String; 4] {
            let [first, second] = Link::FAR;
            [
                self.answers(first, 5000),
                self.answers(first, 5001),
                self.answers(second, 5000),
                self.answers(Link::FAR6, 5000),
            ]
        }

        fn during(&mut self, fault: &str) -> ([String; 4], Value) {
            let injecting = Injecting::start(&self.target, fault);
            let heard = self.heard();
            let free = self.neighbour.ask(&format!("{} 5000", Link::FAR[0]));
            let last = injecting.end();
            assert_eq!(free, "20", "the neighbour, under {fault}");
            (heard, last)
        }
    }

    #[test]
    fn who_is_named_is_cut_off_and_nobody_else() {
        require!("net.partition"; "debian-6.1", "debian-7");
        let mut talk = Talk::new();
        let before = Loaded::now();
        assert_eq!(talk.heard(), ["20"; 4]);
        let [first, second] = Link::FAR;
        let cases = [
            (
                format!("peer={first},peerPort=5001"),
                ["20", "0", "20", "20"],
                20,
            ),
            (
                format!("peer=10.77.0.0/24,exceptPeer={first}"),
                ["20", "20", "0", "20"],
                20,
            ),
            ("peer=fd77::/16".to_owned(), ["20", "20", "20", "0"], 20),
            (
                format!("exceptPeer={second},proto=udp"),
                ["0", "0", "20", "0"],
                60,
            ),
        ];
        for (mechanism, cases) in [("tcx", &cases[..]), ("cgroup-skb", &cases[..1])] {
            if !can_by("net.partition", mechanism) {
                continue;
            }
            for (what, wanted, hit) in cases {
                let fault = format!("net.partition,{what},mechanism={mechanism}");
                let (heard, last) = talk.during(&fault);
                assert_eq!(heard, *wanted, "{fault}: {last}");
                assert_eq!(counter(&last, 0, "injected"), *hit, "{fault}: {last}");
                assert_eq!(counter(&last, 0, "error"), 0, "{fault}: {last}");
            }
        }
        assert_eq!(talk.heard(), ["20"; 4], "afterwards");
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn a_partition_in_one_direction_is_seen_from_the_target() {
        require!("net.partition"; "debian-6.1", "debian-7");
        let mut talk = Talk::new();
        let first = Link::FAR[0];
        // What is sent is lost, or what is answered: 20 of either.
        for direction in ["egress", "ingress"] {
            let fault = format!("net.partition,peer={first},peerPort=5000,direction={direction}");
            let (heard, last) = talk.during(&fault);
            assert_eq!(heard, ["0", "20", "20", "20"], "{fault}");
            assert_eq!(counter(&last, 0, "injected"), 20, "{fault}: {last}");
        }
    }

    #[test]
    fn hundreds_of_networks_are_one_rule() {
        require!("net.partition"; "debian-6.1", "debian-7");
        let mut talk = Talk::new();
        // None of these is a peer, but the last.
        let mut fault = String::from("net.partition");
        for number in 0..600_u32 {
            let [.., a, b] = number.to_be_bytes();
            write!(fault, ",peer=172.{}.{b}.0/24", 16 + a).unwrap();
        }
        write!(fault, ",peer={}", Link::FAR[1]).unwrap();
        let (heard, last) = talk.during(&fault);
        assert_eq!(heard, ["20", "20", "0", "20"]);
        assert_eq!(counter(&last, 0, "injected"), 20);
    }

    #[test]
    fn from_everybody_is_refused_with_a_remedy() {
        let said = kchaos(&["explain", "net.partition,direction=egress"]);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.err.contains("or say net.down"), "{said:?}");
    }
}
