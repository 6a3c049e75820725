//! What faults cost, in the short form of `cargo xtask bench`: how figures compare with each other, with
//! bounds so generous that another job on the machine does not matter.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kchaos_tests::{
        bench::{Form, There, Way, heading, measure},
        bpf::Loaded,
        needs::has_its_turn,
        require,
    };

    /// Of a call that is not hit, in times of the same with nothing armed.
    const DEAR: f64 = 3.0;
    /// Of an injected error: how much cheaper than strace's it has to be. On 6.1 it is 14 times.
    const CHEAP: f64 = 5.0;
    /// By how much the same may differ from itself.
    const NOISE: f64 = 2.0;

    #[test]
    fn who_is_not_hit_hardly_notices_and_an_error_is_cheap() {
        require!("file.error", "syscall.error");
        let before = Loaded::now();
        let mut ways = Way::all();
        ways.retain(|way| has_its_turn(way.mechanism));
        let timed = Path::new(env!("CARGO_BIN_EXE_timed"));
        let figures = measure(timed, Form::SHORT, &ways);
        println!("{}\n\n{figures}", heading());
        for row in &figures.not_hit {
            let most = match row.there {
                There::Nothing => NOISE,
                There::Empty(_) | There::Fault(_) => DEAR,
            };
            assert!(row.ratio.median <= most, "dearer than {most}:\n{row}");
        }
        for row in &figures.hit {
            // The filter asks a process about each call as well.
            let asks = row.way.mechanism == "seccomp-notify";
            let least = if asks { 1.0 / NOISE } else { CHEAP };
            assert!(row.cheaper.median >= least, "not {least} times: {row:?}");
        }
        assert_eq!(before.left_since(), Loaded::default());
    }
}
