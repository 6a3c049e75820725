//! `disk.quota` on a real kernel.

#[cfg(test)]
mod tests {
    use kchaos_tests::{bpf::Loaded, counter, mounts::Mounted, require, run_script};

    /// Several writers at once, none of which finds room when another one has found none.
    const WRITERS: &str = r#"
cd "$FOLDER" || exit 1
for n in 1 2 3 4; do
    dd if=/dev/zero of=file$n bs=1000 count=100 status=none 2> said$n &
done
wait
cat said? >&2
stat --format %s file? | awk '{sum += $1} END {print sum}'
"#;

    #[test]
    fn the_target_writes_so_much_and_no_more() {
        require!("disk.quota");
        let before = Loaded::now();
        let mounted = Mounted::tmpfs();
        let folder = mounted.path().display();
        let script = WRITERS.replace("$FOLDER", &folder.to_string());
        // What the programs say lies beside it, and is counted as well: so much is left for them.
        let fault = format!("disk.quota={folder}/,bytes=50000B");
        let (said, account) = run_script(&[&fault], &script);
        let written: u64 = said.out.trim().parse().unwrap();
        assert_eq!(written, 50_000, "{said:?}");
        assert!(counter(&account, 0, "injected") >= 4, "{account}");
        assert_eq!(before.left_since(), Loaded::default());
    }
}
