//! `net.link` beside `tc netem`: the same link, in turn.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        cgroup::Cgroup,
        counter,
        inject::Injecting,
        long,
        netem::{Flow, Netem, Server, distance, distance_by_chance, middle},
        network::{COUNTS_IN, COUNTS_OUT, Link, Script},
        require,
    };

    /// Told `COUNT GAP` it sends so many datagrams, each with its time, so many microseconds apart.
    const SENDS: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('10.77.0.2', 5000))
print('ready')
for line in sys.stdin:
    count, gap = map(int, line.split())
    due = time.monotonic()
    for i in range(count):
        due += gap / 1e6
        time.sleep(max(0, due - time.monotonic()))
        s.send(b'%06d %d' % (i, time.clock_gettime_ns(time.CLOCK_REALTIME)))
    print('sent')
";

    /// Told how many it waits for so many datagrams, or for none in two seconds, and says how many
    /// microseconds each was on its way, by the kernel's time of its arrival (`SO_TIMESTAMPNS`).
    const RECEIVES: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
s.setsockopt(socket.SOL_SOCKET, 35, 1)
s.bind(('', 5000))
s.settimeout(2)
print('ready')
for line in sys.stdin:
    took = []
    try:
        while len(took) < int(line):
            data, control, _, _ = s.recvmsg(64, 64)
            seconds, ns = struct.unpack('qq', control[0][2])
            took.append((seconds * 10**9 + ns - int(data.split()[1])) / 1000)
    except TimeoutError:
        pass
    print(*took)
";

    /// Somebody who sends, and somebody who receives.
    struct Pair<'a> {
        link: &'a Link,
        sends: Script,
        receives: Script,
        target: Cgroup,
    }

    /// Datagrams, and so many microseconds between two of them.
    #[derive(Clone, Copy)]
    struct Sent {
        count: usize,
        gap_us: u32,
    }

    impl<'a> Pair<'a> {
        fn new(link: &'a Link) -> Self {
            let target = Cgroup::new("like");
            Self {
                link,
                sends: Script::ready(link.near(&target, "python3"), SENDS),
                receives: Script::ready(link.far("python3"), RECEIVES),
                target,
            }
        }

        /// Microseconds that datagrams are on their way.
        fn delays(&mut self, sent: Sent) -> Vec<f64> {
            let Sent { count, gap_us } = sent;
            assert_eq!(self.sends.ask(&format!("{count} {gap_us}")), "sent");
            let line = self.receives.ask(&count.to_string());
            let took = line.split_whitespace().map(|took| took.parse().unwrap());
            took.collect()
        }

        fn by_netem(&mut self, arguments: &str, sent: Sent) -> Vec<f64> {
            let _netem = Netem::add(self.link, &format!("limit 100000 {arguments}"));
            self.delays(sent)
        }

        fn by_link(&mut self, fault: &str, sent: Sent) -> Vec<f64> {
            let injecting = Injecting::start(&self.target, fault);
            let took = self.delays(sent);
            let last = injecting.end();
            assert_eq!(counter(&last, 0, "injected"), sent.count as u64, "{last}");
            took
        }
    }

    /// How far the smallest and the largest are apart.
    fn width(values: &[f64]) -> f64 {
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most - values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// What the way over one more device takes. Some microseconds of a real processor; under emulation 75 to 100
    /// were seen.
    const DETOUR_US: f64 = 150.0;

    /// A packet is as late as with netem, but for the detour: the median of what is too much lies no more over that of
    /// netem, or than twice of what netem differs from itself.
    #[test]
    fn a_delay_is_as_exact_as_netems() {
        require!("net.link"; "debian-7");
        let link = Link::new();
        let mut pair = Pair::new(&link);
        let (rounds, count, delays) = if long() {
            (7, 500, &[1_u32, 10, 100][..])
        } else {
            (3, 200, &[10][..])
        };
        let sent = Sent {
            count,
            gap_us: 4000,
        };
        for delay in delays.iter().copied() {
            let too_much = |took: Vec<f64>| {
                assert_eq!(took.len(), count);
                assert!(took.iter().all(|took| *took >= f64::from(delay) * 1000.0));
                middle(took) - f64::from(delay) * 1000.0
            };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                theirs.push(too_much(pair.by_netem(&format!("delay {delay}ms"), sent)));
                let fault = format!("net.delay={delay}ms,proto=udp");
                ours.push(too_much(pair.by_link(&fault, sent)));
            }
            println!("{delay} ms and so many us: kchaos {ours:.0?}, netem {theirs:.0?}");
            let more = (2.0 * width(&theirs)).max(DETOUR_US);
            // A second of a busy machine is nobody's.
            let more = if long() { more } else { more + 1000.0 };
            let most = middle(theirs.clone()) + more;
            assert!(middle(ours.clone()) <= most, "{ours:?} {theirs:?}");
        }
    }

    fn tenths(values: &[f64]) -> Vec<f64> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        (0..=10).map(|tenth| values[last * tenth / 10]).collect()
    }

    /// Delays that change are distributed as netem's.
    #[test]
    fn delays_are_distributed_as_netems() {
        require!("net.link"; "debian-6.12");
        let link = Link::new();
        let mut pair = Pair::new(&link);
        let (count, distributions) = if long() {
            (4000, &["uniform", "normal", "pareto", "paretonormal"][..])
        } else {
            (600, &["normal"][..])
        };
        let sent = Sent {
            count,
            gap_us: 2000,
        };
        for distribution in distributions {
            let netem = match *distribution {
                "uniform" => "delay 60ms 15ms".to_owned(),
                other => format!("delay 60ms 15ms distribution {other}"),
            };
            let first = pair.by_netem(&netem, sent);
            let fault = format!("net.delay=60ms,jitter=15ms,distribution={distribution},proto=udp");
            let ours = pair.by_link(&fault, sent);
            let second = pair.by_netem(&netem, sent);
            assert_eq!(
                (first.len(), ours.len(), second.len()),
                (count, count, count)
            );
            let itself = distance(&first, &second);
            let apart = [distance(&ours, &first), distance(&ours, &second)];
            let by_chance = distance_by_chance(&ours, &first);
            println!("{distribution}: {apart:.3?}, netem {itself:.3}, by chance {by_chance:.3}");
            for sample in [&first, &ours, &second] {
                println!("  tenths: {:.0?}", tenths(sample));
            }
            // Of a machine that is busy both have something, and not the same.
            let most = by_chance + itself.min(0.05);
            assert!(apart[0].min(apart[1]) <= most, "{distribution}: {apart:?}");
        }
    }

    /// TCP gets as much through a long line of ours as through one of netem's: what waits there does not hold
    /// up who sends (TCP small queues).
    #[test]
    fn tcp_over_a_long_line_is_as_over_netems() {
        require!("net.link"; "debian-6.12");
        let (link, target) = (Link::new(), Cgroup::new("long"));
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        let (rounds, bytes, least) = if long() {
            (7, "64M", 0.95)
        } else {
            (3, "4M", 0.6)
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let netem = Netem::add(&link, "limit 100000 delay 100ms");
            theirs.push(Flow::send(&link, &target, bytes).goodput / 1e6);
            drop(netem);
            let injecting = Injecting::start(&target, "net.delay=100ms");
            ours.push(Flow::send(&link, &target, bytes).goodput / 1e6);
            let account = injecting.end();
            assert!(counter(&account, 0, "injected") > 0, "{account}");
        }
        println!("100 ms, Mbit/s: kchaos {ours:.1?}, netem {theirs:.1?}");
        let ratio = middle(ours) / middle(theirs);
        assert!(ratio >= least, "{ratio:.2} of netem's");
    }

    /// So much gets through as was asked for, and as by netem.
    #[test]
    fn a_rate_is_as_exact_as_netems() {
        require!("net.link"; "debian-7");
        let (link, target) = (Link::new(), Cgroup::new("rate"));
        let _idle = link.settle(&target);
        let _server = Server::start(&link);
        // What begins and ends a flow is less of it the longer it is.
        let (rounds, rates, bound) = if long() {
            (5, &[("10mbit", "8M"), ("50mbit", "40M")][..], 0.03)
        } else {
            (1, &[("10mbit", "3M")][..], 0.15)
        };
        for (rate, bytes) in rates {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let netem = Netem::add(&link, &format!("limit 1000 rate {rate}"));
                theirs.push(Flow::send(&link, &target, bytes).goodput / 1e6);
                drop(netem);
                let injecting = Injecting::start(&target, &format!("net.rate={rate}"));
                ours.push(Flow::send(&link, &target, bytes).goodput / 1e6);
                injecting.end();
            }
            println!("{rate}, Mbit/s: kchaos {ours:.2?}, netem {theirs:.2?}");
            let ratio = middle(ours) / middle(theirs);
            assert!(
                (ratio - 1.0).abs() <= bound,
                "{rate}: {ratio:.3} of netem's"
            );
        }
    }

    /// Bursts of losses are as long, and as rare, as the model of Gilbert and Elliott has them.
    #[test]
    fn losses_in_bursts_are_the_models() {
        /// Chances of becoming bad, and good again, in `gemodel/2%/20%`.
        const TO_BAD: f64 = 0.02;
        const TO_GOOD: f64 = 0.2;
        require!("net.link"; "debian-7");
        let link = Link::new();
        let target = Cgroup::new("burst");
        let count: u32 = if long() { 100_000 } else { 10_000 };
        let mut sends = Script::ready(link.near(&target, "python3"), COUNTS_OUT);
        let mut receives = Script::ready(link.far("python3"), COUNTS_IN);
        let injecting = Injecting::start(&target, "net.link,loss=gemodel/2%/20%,proto=udp");
        assert_eq!(sends.ask(&count.to_string()), "sent");
        let numbers = receives.ask("");
        let came: Vec<u32> = numbers
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        injecting.end();
        let bursts: Vec<f64> = came
            .windows(2)
            .map(|two| two[1] - two[0] - 1)
            .filter(|lost| *lost > 0)
            .map(f64::from)
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let number = bursts.len() as f64;
        let lost: f64 = bursts.iter().sum();
        let length = lost / number;
        let all = f64::from(count);
        println!("{number} bursts of {length:.2}, {:.4} lost", lost / all);
        // The length is geometric; five standard deviations of the mean.
        let deviation = (1.0 - TO_GOOD).sqrt() / TO_GOOD / number.sqrt();
        assert!((length - 1.0 / TO_GOOD).abs() < 5.0 * deviation, "{length}");
        // A burst for each cycle of a good and a bad time.
        let cycles = all / (1.0 / TO_BAD + 1.0 / TO_GOOD);
        assert!(
            (number - cycles).abs() < 5.0 * cycles.sqrt(),
            "{number} {cycles}"
        );
    }
}
