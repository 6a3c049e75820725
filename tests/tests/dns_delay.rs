//! `dns.delay` on a real kernel: a client asks a real server, and waits.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        bpf::Loaded,
        cgroup::Cgroup,
        counter,
        dns::Server,
        inject::Injecting,
        kchaos,
        network::{Link, Script},
        require,
    };

    /// More than a question takes by itself in the lab, and less than TCP waits before it sends again.
    const LATE_MS: u64 = 180;

    /// Told `NAME SERVER PROTO` it asks for an address, and says after how many milliseconds it came. `dig` would take
    /// longer to start.
    const ASK: &str = "
import socket, struct, sys, time
print('ready')
for line in sys.stdin:
    name, server, proto = line.split()
    labels = b''.join(bytes([len(label)]) + label.encode() for label in name.split('.'))
    question = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + labels + b'\\0' + struct.pack('>HH', 1, 1)
    family = socket.AF_INET6 if ':' in server else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if proto == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((server, 53))
    began = time.monotonic()
    if proto == 'tcp':
        s.sendall(struct.pack('>H', len(question)) + question)
        s.recv(2)
    else:
        s.send(question)
    answer = s.recv(2000)
    took = time.monotonic() - began
    assert answer[-4:] == bytes([10, 77, 1, 1]), answer
    s.close()
    print(round(took * 1000))
";

    #[test]
    fn the_target_waits_and_its_neighbour_does_not() {
        require!("dns.delay");
        let before = Loaded::now();
        let (link, target, beside) = (Link::new(), Cgroup::new("waits"), Cgroup::new("spared"));
        let other_link = Link::new();
        let client = |link: &Link, cgroup: &Cgroup| {
            let mut script = Script::start(link.near(cgroup, "python3"), ASK);
            assert_eq!(script.line(), "ready");
            script
        };
        let (mut hit, mut spared) = (client(&link, &target), client(&other_link, &beside));
        let _servers = [&link, &other_link].map(Server::start);
        let listing = link.listing();
        let injecting = Injecting::start(&target, &format!("dns.delay:*.example.com={LATE_MS}ms"));
        let ask =
            |script: &mut Script, question: &str| -> u64 { script.ask(question).parse().unwrap() };
        let (v4, v6) = (Link::FAR[0], Link::FAR6);
        for way in [
            format!("{v4} udp"),
            format!("{v6} udp"),
            format!("{v4} tcp"),
        ] {
            let took = ask(&mut hit, &format!("www.example.com {way}"));
            assert!(took >= LATE_MS, "{way}: {took} ms");
            let there = ask(&mut spared, &format!("www.example.com {way}"));
            let other = ask(&mut hit, &format!("other.test {way}"));
            assert!(
                there.max(other) < LATE_MS,
                "{way}: {there} ms and {other} ms"
            );
        }
        let last = injecting.end();
        // What is no answer is no event, such as what else TCP needs.
        let seen = ["considered", "matched"].map(|name| counter(&last, 0, name));
        assert!(seen[0] <= seen[1] + 4, "{last}");
        // TCP may have sent it again meanwhile.
        assert!(counter(&last, 0, "injected") >= 3, "{last}");
        assert_eq!(counter(&last, 0, "error"), 0, "{last}");
        assert!(ask(&mut hit, &format!("www.example.com {v4} udp")) < LATE_MS);
        assert_eq!(link.listing(), listing);
        let sharing = Cgroup::new("sharing");
        let _idle = link.settle(&sharing);
        let refused = kchaos(&[
            "inject",
            "--target",
            &target.target(),
            "--duration",
            "1s",
            "--fault",
            "dns.delay=1ms",
        ]);
        assert_eq!(refused.status, 3, "{refused:?}");
        assert!(refused.err.contains("has one for itself"), "{refused:?}");
        assert_eq!(before.left_since(), Loaded::default());
    }
}
