//! `dns.answer` on a real kernel: a real client asks a real server, and checks what it is told.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        bpf::Loaded,
        cgroup::Cgroup,
        counter,
        dns::{Server, ask},
        inject::Injecting,
        long,
        needs::skip,
        network::Link,
        require,
    };

    #[test]
    fn the_target_gets_another_address_and_its_neighbour_does_not() {
        // Names of even and odd length: what changes begins in either half of a word of the checksum.
        const V4: [&str; 4] = [
            "www.example.com",
            "db.example.com +tcp",
            "-6 a.b.example.com",
            "-6 db.example.com",
        ];
        const V6: [&str; 4] = [
            "www.example.com AAAA +tcp",
            "db.example.com AAAA",
            "-6 a.b.example.com AAAA",
            "-6 db.example.com AAAA +tcp",
        ];
        const OTHERS: [&str; 3] = ["other.test", "example.com MX", "-6 other.test AAAA +tcp"];
        require!("dns.answer");
        let before = Loaded::now();
        let (link, target, beside) = (Link::new(), Cgroup::new("told"), Cgroup::new("spared"));
        let _idle = (link.settle(&target), link.settle(&beside));
        let _server = Server::start(&link);
        let others = ask(&link, &beside, OTHERS);
        let injecting =
            Injecting::start(&target, "dns.answer:*.example.com=10.9.9.9+fd09::9,ttl=7");
        for (questions, address) in [(V4, "10.9.9.9"), (V6, "fd09::9")] {
            for told in ask(&link, &target, questions) {
                assert!(told.is(address), "{told:?}");
            }
        }
        for spared in ask(&link, &beside, V4) {
            assert!(spared.is(Server::V4), "{spared:?}");
        }
        assert_eq!(ask(&link, &target, OTHERS), others);
        let last = injecting.end();
        assert_eq!(counter(&last, 0, "injected"), 8, "{last}");
        assert_eq!(counter(&last, 0, "error"), 0, "{last}");
        for free in ask(&link, &target, V4) {
            assert!(free.is(Server::V4), "{free:?}");
        }
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn of_the_other_family_there_is_none() {
        require!("dns.answer");
        if !long() {
            return skip("here only with --long");
        }
        let (link, target) = (Link::new(), Cgroup::new("family"));
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        let injecting = Injecting::start(&target, "dns.answer:www.example.com=fd09::9");
        let questions = [
            "www.example.com",
            "-6 www.example.com +tcp",
            "www.example.com AAAA",
        ];
        let [none, neither, one] = ask(&link, &target, questions);
        assert!(
            none.is("") && neither.is("") && one.is("fd09::9"),
            "{none:?} {neither:?} {one:?}"
        );
        assert_eq!(counter(&injecting.end(), 0, "injected"), 3);
    }

    /// The answer to a question about a name that there is not has nothing in it, but what EDNS adds.
    #[test]
    fn an_answer_without_room_stays_and_is_an_error() {
        require!("dns.answer");
        let (link, target) = (Link::new(), Cgroup::new("room"));
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        let injecting = Injecting::start(&target, "dns.answer=10.9.9.9");
        let [told] = ask(&link, &target, ["nothing.example.com +noedns"]);
        assert_eq!(told.status, "NXDOMAIN", "{told:?}");
        let last = injecting.end();
        assert_eq!(counter(&last, 0, "error"), 1, "{last}");
        assert_eq!(counter(&last, 0, "injected"), 0, "{last}");
    }
}
