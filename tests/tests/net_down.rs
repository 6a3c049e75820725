//! `net.down` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        cgroup::Cgroup,
        counter,
        inject::Injecting,
        needs::can_by,
        network::{Link, RECEIVER, SENDER, Script},
        require,
    };

    #[test]
    fn nothing_comes_through_and_the_neighbour_has_its_network() {
        require!("net.down");
        let link = Link::new();
        let (target, beside) = (Cgroup::new("down"), Cgroup::new("beside"));
        let [mut sends, mut free] =
            [&target, &beside].map(|cgroup| Script::start(link.near(cgroup, "python3"), SENDER));
        let mut far = Script::start(link.far("python3"), RECEIVER);
        for script in [&mut sends, &mut free, &mut far] {
            assert_eq!(script.line(), "ready");
        }
        for direction in ["egress", "both"] {
            let fault = format!("net.down,direction={direction}");
            let injecting = Injecting::start(&target, &fault);
            for address in [Link::FAR[0], Link::FAR6] {
                assert_eq!(sends.ask(&format!("{address} 100")), "0", "{fault}");
                assert_eq!(far.ask(""), "0", "{fault}");
                assert_eq!(free.ask(&format!("{address} 100")), "0");
                assert_eq!(far.ask(""), "100", "the neighbour, under {fault}");
            }
            let last = injecting.end();
            assert_eq!(counter(&last, 0, "injected"), 200, "{fault}: {last}");
        }
        assert_eq!(sends.ask(&format!("{} 100", Link::FAR[0])), "0");
        assert_eq!(far.ask(""), "100", "afterwards");
    }

    /// Its own loopback is a part of the target's network.
    #[test]
    fn a_target_does_not_reach_itself() {
        require!("net.down");
        let (link, target) = (Link::new(), Cgroup::new("self"));
        let script = "
import socket, sys
print('ready')
for line in sys.stdin:
    r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    r.bind(('127.0.0.1', 0))
    r.settimeout(0.5)
    r.sendto(b'x', r.getsockname())
    try:
        r.recv(1)
        print('heard')
    except TimeoutError:
        print('nothing')
";
        let mut own = Script::start(link.near(&target, "python3"), script);
        assert_eq!(own.line(), "ready");
        assert_eq!(own.ask(""), "heard");
        let mechanism = if can_by("net.down", "tcx") {
            "tcx"
        } else {
            "cgroup-skb"
        };
        let injecting = Injecting::start(&target, "net.down");
        assert_eq!(own.ask(""), "nothing");
        let last = injecting.end();
        assert_eq!(last["faults"][0]["mechanism"], mechanism, "{last}");
        assert_eq!(own.ask(""), "heard");
    }
}
