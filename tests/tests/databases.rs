//! Databases under the faults that they are said to bear: what they say, and that they are well when it
//! is over. Where nothing but a filter sees an fsync, that fault is one of `kchaos run`; all others are
//! an agent's, and come and go while the server runs.

#[cfg(test)]
mod tests {
    use kchaos_tests::{
        Said,
        agent::Agent,
        bpf::Loaded,
        cgroup::Cgroup,
        database::{Disk, Postgres, Redis, sqlite, sqlite_by},
        needs::can,
        require,
    };

    const NO_SPACE: &str = "No space left on device";

    /// A target's faults, which begin and end.
    struct Faults<'a> {
        agent: Agent,
        target: &'a Cgroup,
    }

    impl<'a> Faults<'a> {
        fn on(target: &'a Cgroup) -> Self {
            Self {
                agent: Agent::start(&[]),
                target,
            }
        }

        fn experiment(&self, faults: &[&str]) -> String {
            let faults: Vec<String> = faults.iter().map(|it| format!("  - {it}\n")).collect();
            format!(
                "apiVersion: kchaos.dev/v1alpha1
kind: FaultExperiment
metadata: {{name: database}}
spec:
  target: {{cgroup: {}}}
  duration: 10m
  faults:
{}",
                self.target.path(),
                faults.concat()
            )
        }

        /// What is seen while these hold; each of them hits something.
        fn during<T>(&self, faults: &[&str], see: impl FnOnce() -> T) -> T {
            self.agent.apply(&self.experiment(faults));
            let seen = see();
            let account = self.agent.stop("database");
            for fault in 0..faults.len() {
                let injected = kchaos_tests::counter(&account["nodes"][0], fault, "injected");
                assert!(injected > 0, "{account}");
            }
            seen
        }

        /// Whether the kernel can have its own allocations fail; elsewhere it has to say why not.
        fn can_have_no_slabs(&self) -> bool {
            if can("mem.slab") {
                return true;
            }
            let file = self
                .agent
                .file(&self.experiment(&["memSlab: {errno: ENOMEM}"]));
            let said = self.agent.ask(&["apply", &file]);
            assert_eq!(said.status, 3, "{said:?}");
            assert!(said.err.contains("CONFIG_FAILSLAB"), "{said:?}");
            false
        }

        fn end(mut self) {
            self.agent.signal(libc::SIGTERM);
            assert!(self.agent.child.wait().unwrap().success());
        }
    }

    const TABLE: &str = "create table if not exists t(a)";
    const ROW: &str = "insert into t values (zeroblob(300000))";

    #[test]
    fn sqlite_says_what_is_wrong_and_loses_nothing() {
        require!("file.error", "syscall.error", "mem.mmap");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let disks = [Disk::new(4096), Disk::new(1024)];
        for (cgroup, disk) in [&target, &neighbour].into_iter().zip(&disks) {
            assert_eq!(sqlite(cgroup, disk, TABLE).status, 0);
        }
        let [disk, small] = &disks;
        let folder = disk.path().display();
        let faults = Faults::on(&target);
        // The statement of both, and what the one in the target says.
        let both = |fault: &str, statement: &str| {
            faults.during(&[fault], || {
                let spared = sqlite(&neighbour, small, statement);
                assert_eq!(spared.status, 0, "beside {fault}: {spared:?}");
                sqlite(&target, disk, statement)
            })
        };

        let no_space = format!("fileError: {{ops: [write], errno: ENOSPC, path: {folder}/}}");
        let full = both(&no_space, ROW);
        assert!(full.err.contains("database or disk is full"), "{full:?}");
        // There it is really full, and says the same.
        small.fill();
        let real = sqlite(&neighbour, small, ROW);
        assert_eq!((full.status, &full.err), (real.status, &real.err));
        small.empty();
        assert_eq!(sqlite(&neighbour, small, ROW).status, 0);

        let no_files = format!("syscallError: {{ops: [openat], errno: EMFILE, path: {folder}/}}");
        let said = both(&no_files, "select count(*) from t");
        assert!(said.err.contains("unable to open database"), "{said:?}");

        let said = both(
            "memMmap: {errno: ENOMEM, minSize: 16MiB}",
            "select length(zeroblob(50000000) || '')",
        );
        assert!(said.err.contains("out of memory"), "{said:?}");

        let run = {
            let mut command = target.command("kchaos");
            command.args(["run", "--fault", "syscall.error:fsync+fdatasync=EIO", "--"]);
            command.arg("/usr/bin/sqlite3");
            command
        };
        let said = sqlite_by(run, disk, ROW);
        assert!(said.err.contains("disk I/O error"), "{said:?}");

        let check = "insert into t values (1); select count(*) from t; pragma integrity_check";
        let after = sqlite(&target, disk, check);
        assert_eq!(after.out, "1\nok\n", "{after:?}");
        faults.end();
        assert_eq!(before.left_since(), Loaded::default());
    }

    #[test]
    fn redis_says_what_is_wrong_and_gets_over_it() {
        require!("file.error", "syscall.error", "mem.mmap");
        let before = Loaded::now();
        let (target, neighbour) = (Cgroup::new("target"), Cgroup::new("neighbour"));
        let (disk, small) = (Disk::new(65536), Disk::new(4096));
        let folder = disk.path().display();
        let redis = Redis::start(&target, &disk, None, "everysec");
        let beside = Redis::start(&neighbour, &small, None, "everysec");
        let faults = Faults::on(&target);

        // Nothing is in its log yet, so that not even a part of a line finds room.
        let full = "Error writing to the AOF file";
        small.fill();
        let real = (beside.ask_until("SET key 1", "-"), beside.logged(full));
        small.empty();
        beside.ask_until("SET key 1", "+OK");
        let no_space = format!("fileError: {{ops: [write], errno: ENOSPC, path: {folder}/}}");
        let seen = faults.during(&[&no_space], || {
            let seen = (redis.ask_until("SET key 1", "-"), redis.logged(full));
            assert_eq!(beside.ask("SET key 2").as_deref(), Some("+OK"));
            seen
        });
        assert!(real.0.starts_with("-MISCONF") && real.1.ends_with(NO_SPACE));
        assert_eq!(seen, real);
        redis.ask_until("SET key 1", "+OK");
        let over = "AOF write error looks solved";
        assert_eq!(redis.logged(over), beside.logged(over));

        let no_files = format!("syscallError: {{ops: [openat], errno: EMFILE, path: {folder}/}}");
        let said = faults.during(&[&no_files], || {
            assert_eq!(beside.ask("SAVE").as_deref(), Some("+OK"));
            redis.ask_until("SAVE", "-");
            redis.logged("Failed opening the temp RDB file")
        });
        assert!(said.ends_with("Too many open files"), "{said}");
        assert_eq!(redis.ask("SAVE").as_deref(), Some("+OK"));

        let no_peer = "syscallError: {ops: [connect], errno: ETIMEDOUT, peerPort: 1}";
        faults.during(&[no_peer], || {
            assert_eq!(redis.ask("REPLICAOF 127.0.0.1 1").as_deref(), Some("+OK"));
            redis.logged("Connection timed out")
        });
        assert_eq!(redis.ask("REPLICAOF NO ONE").as_deref(), Some("+OK"));
        assert_eq!(redis.ask("SET key 3").as_deref(), Some("+OK"));

        if faults.can_have_no_slabs() {
            // It accepts the connection when it is over.
            faults.during(&["memSlab: {errno: ENOMEM, cache: filp, times: 3}"], || {
                assert_eq!(redis.ask("PING").as_deref(), Some("+PONG"));
                redis.logged("Accepting client connection")
            });
        }

        // jemalloc has its mappings without memory set aside for them (MAP_NORESERVE), about which nobody
        // asks for mem.mmap.
        let no_memory = "syscallError: {ops: [mmap], errno: ENOMEM}";
        let log = faults.during(&[no_memory], || {
            assert_eq!(redis.ask("SETRANGE large 100000000 x"), None);
            redis.ended()
        });
        assert!(log.contains("Out Of Memory allocating 100000"), "{log}");
        faults.end();

        // It has what it had said to have, and the second sync fails.
        let synced = disk.path().join("appendonlydir/appendonly.aof.1.incr.aof");
        let no_sync = format!(
            "syscall.error:fdatasync=EIO,when=2,path={}",
            synced.display()
        );
        let redis = Redis::start(&target, &disk, Some(&no_sync), "always");
        assert_eq!(redis.ask("GETRANGE key 0 -1").as_deref(), Some("$1"));
        assert_eq!(redis.ask("SET key long").as_deref(), Some("+OK"));
        redis.ask("SET key longer");
        let log = redis.ended();
        let said = log.lines().find(|line| line.contains("Can't persist AOF"));
        assert!(
            said.unwrap_or_default().contains("Input/output error"),
            "{log}"
        );
        let redis = Redis::start(&target, &disk, None, "always");
        let kept = redis.ask("STRLEN key").unwrap();
        // What was not synced may be there or not, as after a real failure.
        assert!([":4", ":6"].contains(&kept.as_str()), "{kept}");
        assert_eq!(redis.ask("SET key 4").as_deref(), Some("+OK"));
        drop((redis, beside));
        assert_eq!(before.left_since(), Loaded::default());
    }

    /// No log is written for its rows, so that the first write that fails is that of the table.
    const UNLOGGED: &str = "create unlogged table u(a text)";
    const ROWS: &str = "insert into u select repeat('x', 1000) from generate_series(1, 200)";
    const LARGE: &str = "select length(repeat('x', 50000000))";

    /// An error without the name of the table's file, which is another one each time.
    fn error(said: &Said) -> (i32, Vec<String>) {
        let words = said.err.split('"').step_by(2).map(str::to_owned);
        (said.status, words.collect())
    }

    #[test]
    fn postgres_says_what_is_wrong_and_recovers() {
        require!("file.error", "syscall.error", "mem.mmap");
        let before = Loaded::now();
        let target = Cgroup::new("target");
        let disk = Disk::new(160 << 10);
        let data = disk.path().join("data");
        Postgres::make(&disk);
        // What initdb has logged is in the first segment, and the second is synced only for commits.
        let segment = data.join("pg_wal/000000010000000000000002");
        let no_sync = format!(
            "syscall.error:fdatasync=EIO,times=1,path={}",
            segment.display()
        );
        let postgres = Postgres::start(&target, &disk, Some(&no_sync));
        let well = |statement: &str| {
            let said = postgres.psql(statement);
            assert_eq!(said.status, 0, "{statement}: {said:?}");
            said.out
        };
        well("create table t(a int); insert into t values (1)");
        well("select pg_switch_wal()");
        let panic = postgres.psql("insert into t values (2)");
        let log = postgres.log();
        let said = log.lines().find(|line| line.contains("PANIC"));
        let said = said.unwrap_or_else(|| panic!("{panic:?} {log}"));
        assert!(
            said.contains("could not fdatasync file") && said.ends_with("Input/output error"),
            "{said}"
        );
        postgres.recovers();
        // The second row was in the log, whether or not it was on the disk: it may be there or not, as
        // after a real failure. The first one has to be.
        let rows = well("insert into t values (3); select min(a), max(a) from t");
        assert_eq!(rows, "1|3\n");

        let faults = Faults::on(&target);
        let base = format!("path: {}/base/", data.display());
        well(UNLOGGED);
        let no_space = format!("fileError: {{ops: [write], errno: ENOSPC, {base}}}");
        let full = faults.during(&[&no_space], || postgres.psql(ROWS));
        well(ROWS);
        disk.fill();
        let real = postgres.psql(ROWS);
        disk.empty();
        well(ROWS);
        assert_eq!(error(&full), error(&real), "{full:?} {real:?}");
        for words in [
            "could not extend file",
            NO_SPACE,
            "HINT:  Check free disk space.",
        ] {
            assert!(full.err.contains(words), "{full:?}");
        }

        let no_files = format!("syscallError: {{ops: [openat], errno: EMFILE, {base}}}");
        let said = faults.during(&[&no_files], || postgres.psql("select count(*) from u"));
        assert_ne!(said.status, 0, "{said:?}");
        assert!(said.err.contains("Too many open files"), "{said:?}");
        assert_eq!(well("select count(*) from u"), "400\n");

        let no_memory = "memMmap: {errno: ENOMEM, minSize: 16MiB}";
        let said = faults.during(&[no_memory], || postgres.psql(LARGE));
        assert!(said.err.contains("ERROR:  out of memory"), "{said:?}");
        assert_eq!(well(LARGE), "50000000\n");

        faults.end();
        drop(postgres);
        assert_eq!(before.left_since(), Loaded::default());
    }
}
