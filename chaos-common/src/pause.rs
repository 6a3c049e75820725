//! Threads that sleep for longer than a processor may be kept busy: what a program and the process
//! that has them sleep tell each other.

/// What is kept of a call whose thread sleeps, by the thread (`bpf_get_current_pid_tgid`): the kernel
/// makes the call again when it wakes up, and the program must know it again.
///
/// A program makes it, and gives it back when the call is there again; the process marks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pause {
    /// Boot time in nanoseconds until which it sleeps.
    pub until_ns: u64,
    /// The number of the system call.
    pub call: u64,
    /// Where the thread called from.
    pub instruction: u64,
    /// Its stack at that moment.
    pub stack: u64,
    /// Which event of the call it was, in the words of its program: one call may be several.
    pub event: u64,
    /// The plan that has it sleep: it wakes up when that is held no longer.
    pub plan: u32,
    /// [`Pause::ASKED`], [`Pause::GRANTED`] or [`Pause::REFUSED`]
    pub state: u32,
    /// What the call comes to afterwards, as [`crate::RuleConfig::effect`]; 0 is nothing.
    pub effect: u32,
    /// [`crate::flags`] of the effect.
    pub flags: u32,
}

impl Pause {
    /// The program waits for an answer.
    pub const ASKED: u32 = 0;
    /// The thread will sleep as soon as it is about to leave the kernel.
    pub const GRANTED: u32 = 1;
    /// It can't be made to.
    pub const REFUSED: u32 = 2;

    /// `ERESTARTNOINTR` (include/linux/errno.h): what a call returns for the kernel to make it again
    /// in any case, once the signal, or the stop, that is pending has been dealt with. Nobody else
    /// ever sees it.
    pub const AGAIN: u32 = 513;
}

/// A program's question, as it comes through the ring buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PauseRequest {
    /// Process and thread in the first pid namespace, as the key of a [`Pause`].
    pub thread: u64,
    /// Boot time in nanoseconds.
    pub asked_ns: u64,
    /// What is kept of the call.
    pub pause: Pause,
}

const _: () = assert!(size_of::<Pause>() == 56);
const _: () = assert!(size_of::<PauseRequest>() == 72);
