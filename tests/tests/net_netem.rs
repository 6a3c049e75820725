//! Losses beside those of `tc netem`, on the same topology, in turn.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        cgroup::Cgroup,
        counter,
        inject::Injecting,
        long,
        needs::can_by,
        netem::{Flow, Netem, Server, middle},
        network::Link,
        require,
    };

    /// Whether all of the one are more than so many times all of the other, either way.
    fn are_apart(ours: &[f64], theirs: &[f64], times: f64) -> bool {
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        least(ours) > most(theirs) * times || least(theirs) > most(ours) * times
    }

    /// TCP finds its way through a loss of ours as through one of netem's: it sends as much again, and
    /// gets as much through. Within a factor, because what is lost is drawn, and the machine is shared.
    #[test]
    fn tcp_under_loss_is_as_under_netem() {
        require!("net.loss"; "debian-6.12");
        if !can_by("net.loss", "tcx") {
            return;
        }
        let (link, target) = (Link::new(), Cgroup::new("flow"));
        // Each segment is a packet, from where TCP makes it: of a few large ones the loss of one more is everything.
        link.without_segments();
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        let (rounds, bytes, shares) = if long() {
            (9, "20M", &["1%", "5%"][..])
        } else {
            (5, "400K", &["5%"][..])
        };
        for share in shares {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for round in 1..=rounds {
                let netem = Netem::add(&link, &format!("loss {share}"));
                theirs.push(Flow::send(&link, &target, bytes));
                drop(netem);
                let fault = format!("net.loss={share},direction=egress,mechanism=tcx,seed={round}");
                let injecting = Injecting::start(&target, &fault);
                // A veth without a queue hands a packet over at once, and TCP has fewer on their way then.
                let queue = Netem::add(&link, "");
                ours.push(Flow::send(&link, &target, bytes));
                drop(queue);
                let last = injecting.end();
                assert!(counter(&last, 0, "injected") > 0, "{last}");
            }
            println!("{share}: netem {theirs:?}");
            println!("{share}: kchaos {ours:?}");
            let again = |flows: &[Flow]| flows.iter().map(|flow| flow.again).collect::<Vec<_>>();
            let goodput =
                |flows: &[Flow]| flows.iter().map(|flow| flow.goodput).collect::<Vec<_>>();
            // A few short flows differ by a few times, as netem's do among themselves: what waits for
            // a timer, and how often, is drawn.
            assert!(!are_apart(&again(&ours), &again(&theirs), 2.0));
            assert!(!are_apart(&goodput(&ours), &goodput(&theirs), 2.0));
            if long() {
                let ratio = middle(again(&ours)) / middle(again(&theirs));
                assert!((0.4..=2.5).contains(&ratio), "{share}: sent again, {ratio}");
                let ratio = middle(goodput(&ours)) / middle(goodput(&theirs));
                assert!((0.3..=3.3).contains(&ratio), "{share}: goodput, {ratio}");
            }
        }
    }

    /// The share is what was asked for: within the bounds that a binomial keeps in 999 of 1000.
    #[test]
    fn the_share_that_is_lost_is_the_share_that_was_asked_for() {
        require!("net.loss"; "debian-6.12");
        let (link, target) = (Link::new(), Cgroup::new("share"));
        let _idle = link.settle(&target);
        let count: u64 = if long() { 200_000 } else { 20_000 };
        let send = format!(
            "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range({count}):
    s.sendto(b'x', ('{}', 5000))
",
            Link::FAR[0]
        );
        let shares = [("0.1%", 0.001), ("50%", 0.5), ("1%", 0.01), ("10%", 0.1)];
        for (share, p) in &shares[..if long() { 4 } else { 2 }] {
            let p: f64 = *p;
            let fault = format!("net.loss={share},direction=egress,proto=udp");
            let injecting = Injecting::start(&target, &fault);
            let mut python = link.near(&target, "python3");
            // Every send succeeds, else it ends with an error.
            assert!(python.args(["-c", &send]).status().unwrap().success());
            let last = injecting.end();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let (gone, matched) = (
                counter(&last, 0, "injected") as f64,
                counter(&last, 0, "matched") as f64,
            );
            assert!(
                (matched - f64::from(u32::try_from(count).unwrap())).abs() < 0.5,
                "{last}"
            );
            let bound = 3.3 * (matched * p * (1.0 - p)).sqrt() + 1.0;
            assert!(
                (gone - matched * p).abs() <= bound,
                "{share}: {gone} of {matched}"
            );
        }
    }

    /// Two faults lose what each of them alone lets pass, and go in any order.
    #[test]
    fn losses_combine_and_come_apart() {
        require!("net.loss"; "debian-6.12");
        let (link, target) = (Link::new(), Cgroup::new("two"));
        let _idle = link.settle(&target);
        let send = format!(
            "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(1000):
    s.sendto(b'x', ('{}', 5000))
",
            Link::FAR[0]
        );
        let go = || {
            let mut python = link.near(&target, "python3");
            assert!(python.args(["-c", &send]).status().unwrap().success());
        };
        for first_goes_first in &[true, false][usize::from(!long())..] {
            let first = Injecting::start(&target, "net.loss=50%,direction=egress,proto=udp");
            let second =
                Injecting::start(&target, "net.loss=50%,direction=egress,proto=udp,seed=9");
            go();
            let (goes, stays) = if *first_goes_first {
                (first, second)
            } else {
                (second, first)
            };
            let gone = goes.end();
            go();
            let last = stays.end();
            let seen = [&gone, &last].map(|account| counter(account, 0, "matched"));
            let hits = [&gone, &last].map(|account| counter(account, 0, "injected"));
            // Two processes, each with programs of its own: whichever is in front sees every packet, the
            // other one what was left, and the one that stays all of the second round.
            let all: u64 = seen.iter().sum();
            assert!((2380..=2620).contains(&all), "{gone}\n{last}");
            assert!(hits.iter().all(|hits| *hits > 200), "{gone}\n{last}");
        }
    }
}
