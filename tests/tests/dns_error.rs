//! `dns.error` on a real kernel: a real client asks a real server.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        bpf::Loaded,
        cgroup::Cgroup,
        counter,
        dns::{Server, ask, getent},
        inject::Injecting,
        long,
        network::Link,
        require,
    };

    #[test]
    fn the_target_is_told_and_its_neighbour_in_the_same_network_is_not() {
        const WWW: [&str; 4] = [
            "www.example.com",
            "A.b.EXAMPLE.com AAAA +tcp",
            "-6 nothing.example.com",
            "-6 www.example.com +tcp",
        ];
        const OTHERS: [&str; 4] = [
            "other.test",
            "-6 other.test AAAA +tcp",
            "example.com MX",
            "wwwexample.com",
        ];
        require!("dns.error");
        let before = Loaded::now();
        let (link, target, beside) = (Link::new(), Cgroup::new("told"), Cgroup::new("spared"));
        let _idle = (link.settle(&target), link.settle(&beside));
        let _server = Server::start(&link);
        let listing = link.listing();
        let plain = ask(&link, &beside, WWW);
        let others = ask(&link, &beside, OTHERS);
        let errors = [
            ("nxdomain", "NXDOMAIN"),
            ("servfail", "SERVFAIL"),
            ("refused", "REFUSED"),
            ("notimp", "NOTIMP"),
            ("formerr", "FORMERR"),
        ];
        for (error, status) in &errors[..if long() { errors.len() } else { 1 }] {
            let injecting = Injecting::start(&target, &format!("dns.error:*.example.com={error}"));
            for told in ask(&link, &target, WWW) {
                assert_eq!(told.status, *status, "{told:?}");
            }
            assert_eq!(ask(&link, &beside, WWW), plain);
            assert_eq!(ask(&link, &target, OTHERS), others);
            let last = injecting.end();
            // The neighbour's answers are no events of the rule.
            for (name, value) in [("considered", 8), ("matched", 4), ("injected", 4)] {
                assert_eq!(counter(&last, 0, name), value, "{name} {last}");
            }
            assert_eq!(ask(&link, &target, WWW), plain);
        }
        assert_eq!(link.listing(), listing);
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn an_answer_does_not_arrive_and_the_next_one_does() {
        require!("dns.error");
        let (link, target) = (Link::new(), Cgroup::new("late"));
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        let fault = "dns.error:www.example.com+db.example.com=timeout,types=AAAA,when=2,times=1";
        let injecting = Injecting::start(&target, fault);
        // One `dig` for each: of several questions it asks each that is not answered again.
        for (question, status) in [
            ("www.example.com A", "NOERROR"),
            ("www.example.com AAAA", "NOERROR"),
            ("db.example.com AAAA", ""),
            ("db.example.com AAAA", "NOERROR"),
        ] {
            let [told] = ask(&link, &target, [question]);
            assert_eq!(told.status, status, "{question}");
        }
        let last = injecting.end();
        for (name, value) in [("considered", 4), ("matched", 3), ("injected", 1)] {
            assert_eq!(counter(&last, 0, name), value, "{name} {last}");
        }
    }

    #[test]
    fn the_c_library_believes_it() {
        require!("dns.error");
        let (link, target) = (Link::new(), Cgroup::new("library"));
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        assert_eq!(getent(&link, &target, "www.example.com"), 0);
        let nowhere = Injecting::start(
            &target,
            "dns.error:www.example.com=nxdomain,peer=10.77.0.0/24",
        );
        assert_eq!(getent(&link, &target, "www.example.com"), 2);
        assert_eq!(getent(&link, &target, "db.example.com"), 0);
        let last = nowhere.end();
        assert_eq!(counter(&last, 0, "injected"), 1, "{last}");
        if !long() {
            return;
        }
        let elsewhere = Injecting::start(&target, "dns.error=servfail,peer=10.78.0.0/24");
        assert_eq!(getent(&link, &target, "www.example.com"), 0);
        assert_eq!(counter(&elsewhere.end(), 0, "injected"), 0);
    }
}
