//! Arbitrary valid values for property tests, here and of the layers above.
//!
//! Boxed, because whole trees of strategies do not fit on the stack of a test.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proptest::{
    collection::{hash_set, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    BitRate, Bound, Bursts, ByteRate, ByteSize, CallFilter, Check, Clock, ClockFreeze, ClockOffset,
    ClockRate, ClockSpeed, ClockStep, Comm, Common, Comparison, ConnectOp, Corruption, Counter,
    CpuQuota, Direction, DiskError, DiskFull, DiskLimit, DiskOp, DiskQuota, DiskReadonly,
    Distribution, DnsAddresses, DnsAnswer, DnsDelay, DnsError, DnsFailure, DnsFilter, DnsName,
    DnsType, Errno, Exclude, Experiment, Fault, FaultKind, FdKind, FileDelay, FileError, FileOp,
    Gfp, LossModel, MAX_DURATION, MapOp, MemMmap, MemPage, MemSlab, Moment, NetConnect, NetDown,
    NetLink, NetLoss, NetPartition, NetReset, Network, OpenFlag, Ordinals, PathFilter, PressureCpu,
    Proto, Protocol, Pulse, Rate, Scope, Share, SocketFilter, Syscall, SyscallClass, SyscallDelay,
    SyscallError, SyscallOp, SyscallReturn, Target, TimeOffset, Traffic, When, number_default_ids,
};

const MAX_NANOS: u64 = 30 * 24 * 60 * 60 * 1_000_000_000;

/// Longer than nothing; often round, so that every unit occurs.
pub(crate) fn lifetime() -> BoxedStrategy<Duration> {
    let unit = prop_oneof![
        Just(1_u64),
        Just(1_000),
        Just(1_000_000),
        Just(1_000_000_000),
        Just(60_000_000_000),
        Just(3_600_000_000_000),
        Just(86_400_000_000_000),
    ];
    let round = (unit, 1..10_000_u64).prop_map(|(unit, n)| (unit * n).min(MAX_NANOS));
    prop_oneof![round, 1..=MAX_NANOS, Just(MAX_NANOS)]
        .prop_map(Duration::from_nanos)
        .boxed()
}

pub(crate) fn share() -> BoxedStrategy<Share> {
    let billionths = prop_oneof![
        0..=1_000_000_000_u32,
        (0..=100_u32).prop_map(|percent| percent * 10_000_000),
        (0..=1000_u32).prop_map(|permille| permille * 1_000_000),
    ];
    billionths
        .prop_map(|billionths| Share::from_billionths(billionths).unwrap())
        .boxed()
}

fn delay() -> BoxedStrategy<Duration> {
    let most = u64::try_from(SyscallDelay::MAX.as_micros()).unwrap();
    prop_oneof![1..=most, (1..=most / 1000).prop_map(|ms| ms * 1000)]
        .prop_map(Duration::from_micros)
        .boxed()
}

fn cpu_quota() -> BoxedStrategy<CpuQuota> {
    let quotas = CpuQuota::MIN.millipercent()..=CpuQuota::MAX.millipercent();
    prop_oneof![quotas, (1..=200_u32).prop_map(|percent| percent * 1000)]
        .prop_map(|quota| CpuQuota::from_millipercent(quota).unwrap())
        .boxed()
}

fn device() -> BoxedStrategy<String> {
    "/([a-z0-9ä=:+ -]{1,9}/){0,2}[a-z0-9.]{0,4}[a-z]".boxed()
}

/// What a target takes for a disk.
fn disk() -> BoxedStrategy<PathFilter> {
    (device(), any::<bool>())
        .prop_map(|(path, is_file)| {
            let path = if is_file { path } else { format!("{path}/") };
            path.parse().unwrap()
        })
        .boxed()
}

fn disk_limit() -> BoxedStrategy<DiskLimit> {
    let bytes = || {
        let rates = prop_oneof![
            1..=ByteRate::MAX.bytes(),
            (1..2000_u64).prop_map(|n| n << 20)
        ];
        option::of(rates.prop_map(|bytes| ByteRate::from_bytes(bytes).unwrap()))
    };
    let iops = || option::of(1..=DiskLimit::MAX_IOPS);
    (device(), bytes(), bytes(), iops(), iops())
        .prop_map(
            |(device, read_bps, write_bps, read_iops, write_iops)| DiskLimit {
                device,
                // One of them has to be there.
                read_bps: match (read_bps, write_bps, read_iops, write_iops) {
                    (None, None, None, None) => Some(ByteRate::MEBIBYTE),
                    _ => read_bps,
                },
                write_bps,
                read_iops,
                write_iops,
            },
        )
        .boxed()
}

fn byte_size() -> BoxedStrategy<ByteSize> {
    prop_oneof![
        1..=ByteSize::MAX.bytes(),
        (1..5000_u64).prop_map(|n| n << 10)
    ]
    .prop_map(|bytes| ByteSize::from_bytes(bytes).unwrap())
    .boxed()
}

fn when() -> BoxedStrategy<When> {
    let small = || prop_oneof![1..20_u64, 1..=u64::MAX];
    (small(), option::of(small()), small())
        .prop_map(|(a, b, step)| When {
            first: b.map_or(a, |b| a.min(b)),
            last: b.map(|b| a.max(b)),
            step,
        })
        .boxed()
}

fn replay() -> BoxedStrategy<Option<Ordinals>> {
    let ordinals = prop_oneof![1..50_u64, any::<u64>().prop_map(|n| n.max(1))];
    let replay = vec(ordinals, 0..20).prop_map(|all| Ordinals::new(all).unwrap());
    option::weighted(0.2, replay).boxed()
}

/// Keys that only events of tasks have: `scope`, `comm`, `uid`, `thread`.
type OfTask = (Scope, Option<Comm>, Option<u32>, Option<Comm>);

fn of_task() -> BoxedStrategy<OfTask> {
    let comm = || "[a-zA-Z0-9_:/ ,=.äé-]{1,7}".prop_map(|name| name.parse().unwrap());
    (
        prop_oneof![Just(Scope::Rule), Just(Scope::Thread)],
        option::of(comm()),
        option::of(0..u32::MAX),
        option::of(comm()),
    )
        .boxed()
}

fn exclude() -> BoxedStrategy<Vec<Exclude>> {
    let cgroup = "/[a-z0-9][a-z0-9.@_ :#,\\\\ä-]{0,12}".prop_map(Exclude::Cgroup);
    let part = prop_oneof![cgroup, (1..=4_194_304_u32).prop_map(Exclude::Pid)];
    vec(part, 0..3)
        .prop_filter("no duplicates", |parts| {
            parts.len() < 2 || parts[0] != parts[1]
        })
        .boxed()
}

fn rate() -> BoxedStrategy<Rate> {
    (1..1000_u64, lifetime())
        .prop_map(|(count, per)| Rate { count, per })
        .prop_filter("not more than one in a nanosecond", |rate| {
            rate.interval_ns() != 0
        })
        .boxed()
}

fn pulse() -> BoxedStrategy<Pulse> {
    (lifetime(), lifetime())
        .prop_filter("a pulse is on and off", |(a, b)| a != b)
        .prop_map(|(a, b)| Pulse {
            active: a.min(b),
            every: a.max(b),
        })
        .boxed()
}

fn path() -> BoxedStrategy<PathFilter> {
    let part = prop_oneof![
        "[a-z]{1,8}",
        // Everything that needs care in a word, in YAML or in a terminal.
        "[ ,=@:+\\\\\"'#{}\\[\\]&*!|>%~?\n\t\u{85}\u{2028}\u{feff}äé漢😀.-]{1,6}",
        "[^/\0]{1,6}",
    ];
    (vec(part, 0..5), any::<bool>())
        .prop_filter_map("a path is normalised", |(parts, slash)| {
            let path = format!("/{}", parts.join("/"));
            let path = if slash && path != "/" {
                format!("{path}/")
            } else {
                path
            };
            path.parse().ok()
        })
        .boxed()
}

fn common(
    probability: BoxedStrategy<Option<Share>>,
    kind: FaultKind,
) -> impl Strategy<Value = Fault> {
    let mechanisms = kind.mechanisms();
    let has_tasks = !matches!(
        kind,
        FaultKind::DiskError(_)
            | FaultKind::NetDown(_)
            | FaultKind::NetLink(_)
            | FaultKind::DnsError(_)
            | FaultKind::DnsAnswer(_)
            | FaultKind::DnsDelay(_)
            | FaultKind::NetLoss(_)
            | FaultKind::NetPartition(_)
            | FaultKind::NetReset(_)
    );
    let has_stack = has_tasks && !matches!(kind, FaultKind::NetConnect(_));
    let of_task = if has_tasks {
        of_task()
    } else {
        Just((Scope::Rule, None, None, None)).boxed()
    };
    (
        probability,
        option::of(when()),
        option::of(1..=u64::MAX),
        option::of(any::<u64>()),
        option::of(lifetime()),
        option::of(prop_oneof![Just(Duration::ZERO), lifetime()]),
        option::of(pulse()),
        any::<bool>(),
        option::of(select(mechanisms)),
        (
            option::of(rate()),
            of_task,
            exclude(),
            replay(),
            any::<bool>(),
        ),
    )
        .prop_map(
            move |(
                probability,
                when,
                times,
                seed,
                duration,
                after,
                pulse,
                shadow,
                mechanism,
                (max_rate, (scope, comm, uid, thread), exclude, replay, stack),
            )| {
                let decided = |scope| match &replay {
                    Some(_) => Scope::default(),
                    None => scope,
                };
                let alone = replay.is_none();
                Fault {
                    id: kind.name().to_owned(),
                    target: None,
                    kind: kind.clone(),
                    common: Common {
                        probability: probability.filter(|_| alone),
                        when: when.filter(|_| alone),
                        scope: decided(scope),
                        times: times.filter(|_| alone),
                        max_rate: max_rate.filter(|_| alone),
                        replay,
                        comm,
                        uid,
                        thread,
                        exclude,
                        seed,
                        duration,
                        after,
                        pulse,
                        shadow,
                        stack: stack && has_stack && !shadow,
                        mechanism,
                    },
                }
            },
        )
}

fn network() -> BoxedStrategy<Network> {
    let any = prop_oneof![
        (any::<u32>(), 0..=32_u8).prop_map(|(bits, prefix)| {
            let kept = bits & u32::MAX.checked_shl((32 - prefix).into()).unwrap_or(0);
            (IpAddr::V4(kept.into()), prefix)
        }),
        (any::<u128>(), 0..=128_u8).prop_map(|(bits, prefix)| {
            let kept = bits & u128::MAX.checked_shl((128 - prefix).into()).unwrap_or(0);
            (IpAddr::V6(kept.into()), prefix)
        }),
    ];
    any.prop_map(|(address, prefix)| Network::new(address, prefix).unwrap())
        .boxed()
}

/// Mostly of one part, so that there are calls which have all of it.
fn call_filter() -> BoxedStrategy<CallFilter> {
    let kinds = subsequence(FdKind::all().collect::<Vec<_>>(), 1..4);
    let flags = OpenFlag::all().filter(|flag| flag.name() != "O_RDWR" && flag.name() != "O_RDONLY");
    let flags = subsequence(flags.collect::<Vec<_>>(), 1..4);
    let peer = vec(network(), 1..4).prop_filter("no duplicates", |peer| {
        (1..peer.len()).all(|i| !peer[..i].contains(&peer[i]))
    });
    let none = CallFilter::default;
    prop_oneof![
        Just(none()),
        kinds.prop_map(move |fd| CallFilter { fd, ..none() }),
        (option::of(path()), option::of(1..=u64::MAX)).prop_map(move |(path, min_size)| {
            CallFilter {
                path,
                min_size,
                ..none()
            }
        }),
        (peer, option::of(1..=u16::MAX)).prop_map(move |(peer, peer_port)| CallFilter {
            peer,
            peer_port,
            ..none()
        }),
        flags.prop_map(move |flags| CallFilter { flags, ..none() }),
    ]
    .boxed()
}

fn direction() -> impl Strategy<Value = Direction> {
    select(Direction::ALL.to_vec())
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let port = || option::of(1..=u16::MAX);
    let proto = option::of(select(Proto::ALL.to_vec()));
    let peers = (vec(network(), 0..3), vec(network(), 0..3));
    (direction(), peers, port(), port(), proto, any::<bool>()).prop_map(
        |(direction, (mut peer, mut except_peer), peer_port, local_port, proto, visible)| {
            let mut seen = Vec::new();
            for list in [&mut peer, &mut except_peer] {
                list.retain(|network| {
                    let is_new = !seen.contains(network);
                    seen.push(*network);
                    is_new
                });
            }
            let ports = proto != Some(Proto::Icmp);
            Traffic {
                direction,
                peer,
                except_peer,
                peer_port: peer_port.filter(|_| ports),
                local_port: local_port.filter(|_| ports),
                proto,
                visible: visible && direction != Direction::Ingress,
            }
        },
    )
}

fn bit_rate() -> BoxedStrategy<BitRate> {
    let any = BitRate::MIN.bits()..=BitRate::MAX.bits();
    prop_oneof![
        any,
        (1..1000_u64).prop_map(|n| n * 1_000_000),
        (1..1000_u64).prop_map(|n| n << 20)
    ]
    .prop_map(|bits| BitRate::from_bits(bits).unwrap())
    .boxed()
}

fn loss_model() -> BoxedStrategy<LossModel> {
    let share = || prop_oneof![share(), Just(Share::ALL), Just(Share::NONE)];
    prop_oneof![
        share().prop_map(LossModel::Random),
        (2..=u32::MAX).prop_map(LossModel::Every),
        (share(), share(), share(), share()).prop_map(
            |(to_bad, to_good, lost_in_bad, lost_in_good)| LossModel::Bursts(Bursts {
                to_bad,
                to_good,
                lost_in_bad,
                lost_in_good,
            })
        ),
    ]
    .boxed()
}

fn dns_name() -> impl Strategy<Value = DnsName> {
    "(\\*\\.)?[a-z0-9_-]{1,63}(\\.[a-z0-9-]{1,9}){0,3}\\.?"
        .prop_filter_map("a name", |name| name.parse().ok())
}

fn dns_filter() -> impl Strategy<Value = DnsFilter> {
    let types = subsequence(DnsType::ALL.to_vec(), 0..=chaos_common::dns::TYPES);
    (
        vec(dns_name(), 0..4),
        vec(dns_name(), 0..3),
        types,
        vec(network(), 0..3),
    )
        .prop_map(|(mut names, mut except_names, types, mut peer)| {
            let mut seen = Vec::new();
            for list in [&mut names, &mut except_names] {
                list.retain(|name| {
                    let is_new = !seen.contains(name);
                    seen.push(name.clone());
                    is_new
                });
            }
            let mut seen = Vec::new();
            peer.retain(|network| {
                let is_new = !seen.contains(network);
                seen.push(*network);
                is_new
            });
            DnsFilter {
                names,
                except_names,
                types,
                peer,
            }
        })
}

/// What each key needs is there.
fn net_link() -> BoxedStrategy<NetLink> {
    let time = || {
        let most = u64::try_from(NetLink::MAX_DELAY.as_nanos()).unwrap() / 2;
        prop_oneof![1..=most, (1..1000_u64).prop_map(|ms| ms * 1_000_000)]
            .prop_map(Duration::from_nanos)
    };
    let times = (option::of(time()), option::of(time()));
    let words = (
        option::of(select(Distribution::ALL.to_vec())),
        option::of(select(Corruption::ALL.to_vec())),
    );
    let chance = || option::of(share());
    let chances = (chance(), chance(), chance(), chance());
    let rates = (option::of(bit_rate()), option::of(byte_size()));
    (
        times,
        words,
        chances,
        option::of(loss_model()),
        rates,
        traffic(),
    )
        .prop_map(|(times, words, chances, loss, (rate, burst), traffic)| {
            let (delay, jitter) = times;
            let (distribution, corruption) = words;
            let (duplicate, corrupt, reorder, correlation) = chances;
            let duplicate = duplicate.filter(|_| traffic.direction == Direction::Egress);
            let nothing = loss.is_none() && duplicate.or(corrupt).is_none() && rate.is_none();
            // One of them has to be there.
            let delay = delay.or(nothing.then_some(NetLink::MAX_DELAY / 2));
            let jitter = jitter.filter(|_| delay.is_some());
            let reorder = reorder.filter(|_| delay.is_some());
            let random_loss = matches!(loss, Some(LossModel::Random(_)));
            let is_random =
                random_loss || jitter.is_some() || duplicate.or(corrupt).or(reorder).is_some();
            NetLink {
                delay,
                jitter,
                distribution: distribution.filter(|_| jitter.is_some()),
                correlation: correlation.filter(|_| is_random),
                loss,
                duplicate,
                corrupt,
                corruption: corruption.filter(|_| corrupt.is_some()),
                reorder,
                rate,
                burst: burst.filter(|_| rate.is_some()),
                traffic: Traffic {
                    visible: false,
                    ..traffic
                },
            }
        })
        .boxed()
}

fn peers() -> BoxedStrategy<Vec<Network>> {
    vec(network(), 0..4)
        .prop_filter("no duplicates", |peer| {
            (1..peer.len()).all(|i| !peer[..i].contains(&peer[i]))
        })
        .boxed()
}

fn errno() -> BoxedStrategy<Errno> {
    select((1..=133).filter_map(Errno::from_number).collect::<Vec<_>>()).boxed()
}

fn net_connect() -> BoxedStrategy<NetConnect> {
    let port = || option::of(1..=u16::MAX);
    let ops = subsequence(ConnectOp::ALL.to_vec(), 0..=3);
    let protocol = option::of(select(Protocol::ALL.to_vec()));
    (ops, errno(), peers(), port(), port(), protocol)
        .prop_map(|(ops, errno, peer, peer_port, local_port, protocol)| {
            // Only what each operation has.
            let has_peer = !ops.contains(&ConnectOp::Bind);
            let has_local = ops == [ConnectOp::Bind];
            let streams = ops != [ConnectOp::Sendmsg];
            NetConnect {
                filter: SocketFilter {
                    peer: if has_peer { peer } else { Vec::new() },
                    peer_port: peer_port.filter(|_| has_peer),
                    local_port: local_port.filter(|_| has_local),
                    protocol: protocol.filter(|protocol| streams || *protocol == Protocol::Udp),
                },
                ops,
                errno,
            }
        })
        .boxed()
}

/// As it comes from a word: the default id and no target.
pub(crate) fn fault() -> BoxedStrategy<Fault> {
    let errno = select((1..=133).filter_map(Errno::from_number).collect::<Vec<_>>());
    let calls = || {
        let names = Syscall::all().map(SyscallOp::Call).collect::<Vec<_>>();
        let classes = SyscallClass::ALL.iter().copied().map(SyscallOp::Class);
        (
            subsequence(names, 1..5),
            subsequence(classes.collect::<Vec<_>>(), 0..3),
        )
            .prop_map(|(mut ops, classes)| {
                ops.splice(1..1, classes);
                ops
            })
    };
    let calls = || {
        (calls(), call_filter()).prop_map(|(mut ops, filter)| {
            // Only what can be asked for all of it.
            let suits = |op: &SyscallOp| match op {
                SyscallOp::Call(call) => filter.suits(*call),
                SyscallOp::Class(class) => class.calls().any(|call| filter.suits(call)),
            };
            ops.retain(suits);
            if ops.is_empty() {
                (vec!["write".parse().unwrap()], CallFilter::default())
            } else {
                (ops, filter)
            }
        })
    };
    let syscall = prop_oneof![
        (calls(), errno.clone()).prop_map(|((ops, filter), errno)| {
            FaultKind::SyscallError(SyscallError { ops, errno, filter })
        }),
        (calls(), delay()).prop_map(|((ops, filter), delay)| {
            FaultKind::SyscallDelay(SyscallDelay { ops, delay, filter })
        }),
        (calls(), 0..=SyscallReturn::MAX).prop_map(|((ops, filter), value)| {
            FaultKind::SyscallReturn(SyscallReturn { ops, value, filter })
        }),
    ];
    let syscall = syscall.prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let ops = subsequence(FileOp::ALL.to_vec(), 1..5);
    let file = (ops, errno, option::of(path()), any::<bool>())
        .prop_map(|(ops, errno, path, include_exec)| {
            FaultKind::FileError(FileError {
                path: path.filter(|_| ops.iter().all(|op| op.has_path())),
                include_exec: include_exec && ops.iter().any(|op| op.in_exec()),
                ops,
                errno,
            })
        })
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let mem_slab = (
        option::of("[a-zA-Z0-9_:,-]{1,30}"),
        option::of(byte_size()),
        subsequence(vec![Gfp::Kernel, Gfp::Nofs, Gfp::Atomic], 0..=3),
    )
        .prop_map(|(cache, min_size, gfp)| {
            FaultKind::MemSlab(MemSlab {
                cache,
                min_size,
                gfp,
            })
        })
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let mem_page = (
        option::of(0..=MemPage::MAX_ORDER),
        subsequence(Gfp::ALL.to_vec(), 0..=4),
    )
        .prop_map(|(min_order, gfp)| FaultKind::MemPage(MemPage { min_order, gfp }))
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let mem_mmap = (
        subsequence(MapOp::ALL.to_vec(), 0..=3),
        option::of(byte_size()),
    )
        .prop_map(|(ops, min_size)| FaultKind::MemMmap(MemMmap { ops, min_size }))
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let room =
        || option::of((1..=ByteSize::MAX.bytes()).prop_map(|n| ByteSize::from_bytes(n).unwrap()));
    let disk_state = prop_oneof![
        (disk(), room()).prop_map(|(path, bytes)| FaultKind::DiskFull(DiskFull { path, bytes })),
        (disk(), room()).prop_map(|(path, bytes)| FaultKind::DiskQuota(DiskQuota { path, bytes })),
        disk().prop_map(|path| FaultKind::DiskReadonly(DiskReadonly { path })),
    ];
    let disk_state = disk_state
        .prop_flat_map(|kind| common(Just(None).boxed(), kind))
        .prop_map(|fault| Fault {
            common: Common {
                when: None,
                scope: Scope::default(),
                times: None,
                max_rate: None,
                replay: None,
                seed: None,
                ..fault.common
            },
            ..fault
        });
    let ops = subsequence(FileOp::ALL.to_vec(), 1..5);
    let file_delay = (ops, delay(), option::of(path()), any::<bool>())
        .prop_map(|(ops, delay, path, include_exec)| {
            FaultKind::FileDelay(FileDelay {
                path: path.filter(|_| ops.iter().all(|op| op.has_path())),
                include_exec: include_exec && ops.iter().any(|op| op.in_exec()),
                ops,
                delay,
            })
        })
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let numbers =
        (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| format!("{major}:{minor}"));
    let disk_error = (
        subsequence(DiskOp::ALL.to_vec(), 0..=4),
        option::of(prop_oneof![device(), numbers.boxed()]),
    )
        .prop_map(|(ops, device)| FaultKind::DiskError(DiskError { ops, device }))
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let net_connect = net_connect()
        .prop_map(FaultKind::NetConnect)
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let clock = clock()
        .prop_flat_map(|kind| common(Just(None).boxed(), kind))
        .prop_map(|fault| Fault {
            common: Common {
                duration: fault.common.duration,
                after: fault.common.after,
                pulse: fault.common.pulse,
                exclude: fault.common.exclude,
                mechanism: fault.common.mechanism,
                times: match fault.kind {
                    FaultKind::ClockStep(_) => fault.common.times,
                    _ => None,
                },
                ..Common::default()
            },
            ..fault
        });
    let port = || option::of(1..=u16::MAX);
    let net_reset = (share(), peers(), port(), port())
        .prop_map(|(share, peer, peer_port, local_port)| {
            FaultKind::NetReset(NetReset {
                share,
                filter: SocketFilter {
                    peer,
                    peer_port,
                    local_port,
                    protocol: None,
                },
            })
        })
        .prop_flat_map(|kind| common(Just(None).boxed(), kind));
    let dns_error = (select(DnsFailure::ALL.to_vec()), dns_filter())
        .prop_map(|(error, filter)| FaultKind::DnsError(DnsError { error, filter }))
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let addresses = (any::<Option<Ipv4Addr>>(), any::<Ipv6Addr>(), any::<bool>());
    let ttl = prop_oneof![Just(0), 0..=DnsAnswer::MAX_TTL];
    let dns_answer = (addresses, ttl, dns_filter())
        .prop_map(|((v4, v6, both), ttl, mut filter)| {
            filter
                .types
                .retain(|kind| matches!(kind, DnsType::A | DnsType::Aaaa));
            let v6 = (both || v4.is_none()).then_some(v6);
            FaultKind::DnsAnswer(DnsAnswer {
                answer: DnsAddresses { v4, v6 },
                ttl,
                filter,
            })
        })
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let most = u64::try_from(NetLink::MAX_DELAY.as_nanos()).unwrap();
    let dns_delay = (1..=most, option::of(1..=most), dns_filter())
        .prop_map(|(delay, jitter, filter)| {
            FaultKind::DnsDelay(DnsDelay {
                delay: Duration::from_nanos(delay),
                jitter: jitter.map(|jitter| Duration::from_nanos(jitter.min(delay))),
                filter,
            })
        })
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let net = prop_oneof![
        (share(), traffic())
            .prop_map(|(share, traffic)| FaultKind::NetLoss(NetLoss { share, traffic })),
        traffic().prop_filter_map("a partition is from somebody", |traffic| {
            traffic
                .is_narrow()
                .then_some(FaultKind::NetPartition(NetPartition { traffic }))
        }),
        (direction(), any::<bool>()).prop_map(|(direction, visible)| {
            FaultKind::NetDown(NetDown {
                direction,
                visible: visible && direction != Direction::Ingress,
            })
        }),
    ];
    let net = net.prop_flat_map(|kind| {
        let probability = match &kind {
            FaultKind::NetLoss(_) => Just(None).boxed(),
            _ => option::of(share()).boxed(),
        };
        common(probability, kind)
    });
    let net_link = net_link()
        .prop_map(FaultKind::NetLink)
        .prop_flat_map(|kind| common(option::of(share()).boxed(), kind));
    let knob = prop_oneof![
        cpu_quota().prop_map(|quota| FaultKind::PressureCpu(PressureCpu { quota })),
        disk_limit().prop_map(FaultKind::DiskLimit),
    ];
    let knob = knob
        .prop_flat_map(|kind| common(Just(None).boxed(), kind))
        .prop_map(|fault| Fault {
            common: Common {
                duration: fault.common.duration,
                after: fault.common.after,
                mechanism: fault.common.mechanism,
                ..Common::default()
            },
            ..fault
        });
    prop_oneof![
        file.boxed(),
        dns_delay.boxed(),
        dns_answer.boxed(),
        dns_error.boxed(),
        net_link.boxed(),
        net_reset.boxed(),
        net_connect.boxed(),
        clock.boxed(),
        disk_error.boxed(),
        file_delay.boxed(),
        disk_state.boxed(),
        mem_mmap.boxed(),
        mem_page.boxed(),
        mem_slab.boxed(),
        net.boxed(),
        knob.boxed(),
        syscall.boxed()
    ]
    .boxed()
}

/// Kinds about clocks, which may run backwards where they would.
fn clock() -> BoxedStrategy<FaultKind> {
    let clocks = || subsequence(Clock::ALL.to_vec(), 1..=3);
    let offset = || {
        let most = 36_500 * 86_400 * 1_000_000_000_i64;
        prop_oneof![
            -most..=most,
            (-5000..5000_i64).prop_map(|n| n * 1_000_000_000)
        ]
        .prop_filter_map("zero", TimeOffset::from_nanos)
    };
    let speed = prop_oneof![
        1_000_000..1_000_000_000_000_u64,
        (1..100_u64).prop_map(|n| n * 100_000_000)
    ]
    .prop_filter_map("as fast as ever", ClockRate::from_billionths);
    let every = lifetime().prop_map(|every| every.max(Duration::from_millis(1)));
    prop_oneof![
        clocks().prop_map(|clocks| FaultKind::ClockFreeze(ClockFreeze { clocks })),
        (clocks(), offset()).prop_map(|(clocks, offset)| FaultKind::ClockOffset(ClockOffset {
            clocks,
            offset,
            allow_backwards: true,
        })),
        (clocks(), speed).prop_map(|(clocks, speed)| FaultKind::ClockSpeed(ClockSpeed {
            clocks,
            speed,
            allow_backwards: true,
        })),
        (clocks(), offset(), every).prop_map(|(clocks, offset, every)| {
            FaultKind::ClockStep(ClockStep {
                clocks,
                offset,
                every,
                allow_backwards: true,
            })
        }),
    ]
    .boxed()
}

fn target(pid: bool) -> BoxedStrategy<Target> {
    let cgroup = vec("[a-z0-9][a-z0-9.@_ :#\\\\ä-]{0,12}", 1..4)
        .prop_map(|parts| Target::Cgroup(format!("/{}", parts.join("/"))));
    // Of one depth, so that none lies in another.
    let cgroups = hash_set("[a-z][a-z0-9 #-]{0,12}", 2..5).prop_map(|names| {
        let path = |name| format!("/pods/{name}");
        Target::Cgroups(names.into_iter().map(path).collect())
    });
    let unit = "[a-zA-Z0-9:_.\\\\@-]{0,20}[a-z]\\.(service|scope|slice)".prop_map(Target::Unit);
    if pid {
        let pid = (2..=4_194_304_u32).prop_map(Target::Pid);
        prop_oneof![cgroup, cgroups, unit, pid].boxed()
    } else {
        prop_oneof![cgroup, unit].boxed()
    }
}

/// Without the id and the fault that it needs.
fn check() -> impl Strategy<Value = Check> {
    let at = subsequence(Moment::ALL.to_vec(), 1..=Moment::ALL.len());
    let bound = (select(&Comparison::ALL), any::<u64>());
    (select(&Counter::ALL), bound, at).prop_map(|(field, (comparison, value), at)| Check {
        id: String::new(),
        fault: String::new(),
        field,
        pass: Bound { comparison, value },
        at,
    })
}

/// Valid by itself, as a file has to be.
pub(crate) fn experiment() -> BoxedStrategy<Experiment> {
    let label = || "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
    let faults = vec(
        (fault(), option::of(label()), option::of(target(true))),
        1..5,
    );
    (
        label(),
        option::of(target(false)),
        option::of(lifetime()),
        option::of(any::<u64>()),
        faults,
        vec(check(), 0..4),
    )
        .prop_map(|(name, target, duration, seed, faults, mut checks)| {
            let mut faults: Vec<Fault> = faults
                .into_iter()
                .map(|(mut fault, id, own)| {
                    fault.id = id.unwrap_or(fault.id);
                    let takes_pid = !matches!(
                        fault.kind,
                        FaultKind::DiskError(_)
                            | FaultKind::DiskLimit(_)
                            | FaultKind::DnsAnswer(_)
                            | FaultKind::DnsDelay(_)
                            | FaultKind::DnsError(_)
                            | FaultKind::NetConnect(_)
                            | FaultKind::NetDown(_)
                            | FaultKind::NetLink(_)
                            | FaultKind::NetLoss(_)
                            | FaultKind::NetPartition(_)
                            | FaultKind::NetReset(_)
                            | FaultKind::PressureCpu(_)
                    );
                    let takes_several = !matches!(
                        fault.kind,
                        FaultKind::DiskLimit(_) | FaultKind::PressureCpu(_)
                    );
                    fault.target = own.filter(|own| match own {
                        Target::Pid(_) => takes_pid,
                        Target::Cgroups(_) => takes_several,
                        _ => true,
                    });
                    if target.is_none() && fault.target.is_none() {
                        fault.target = Some(Target::Unit("some.service".to_owned()));
                    }
                    if duration.is_none() && fault.common.duration.is_none() {
                        fault.common.duration = Some(MAX_DURATION);
                    }
                    fault
                })
                .collect();
            number_default_ids(&mut faults);
            faults.sort_by(|a, b| a.id.cmp(&b.id));
            faults.dedup_by(|a, b| a.id == b.id);
            for (i, check) in checks.iter_mut().enumerate() {
                check.id = format!("c{i}");
                check.fault.clone_from(&faults[i % faults.len()].id);
            }
            Experiment {
                name,
                target,
                duration,
                seed,
                faults,
                checks,
            }
        })
        .boxed()
}
