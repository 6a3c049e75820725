//! `BPF_PROG_TEST_RUN`: the kernel runs a loaded classifier without attaching it to anything.

use std::io;

/// Runs a program so many times on an empty packet. Returns what the last run
/// returned, and how many nanoseconds one took on the average.
pub(crate) fn test_run(program: i32, times: u32) -> (u32, u32) {
    const BPF_PROG_TEST_RUN: libc::c_int = 10;
    /// The part of the kernel's attribute that this command reads.
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        program: u32,
        returned: u32,
        in_bytes: u32,
        out_bytes: u32,
        input: u64,
        output: u64,
        repeat: u32,
        duration: u32,
        context: [u64; 3],
    }
    let packet = [0_u8; 64];
    let mut run = TestRun {
        program: program.cast_unsigned(),
        in_bytes: 64,
        input: packet.as_ptr() as u64,
        repeat: times,
        ..TestRun::default()
    };
    // SAFETY: the attribute and the packet outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut run,
            size_of::<TestRun>(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    (run.returned, run.duration)
}
