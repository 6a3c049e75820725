//! Has the current thread wait: a program can keep the processor busy, and no more than that. For what
//! is longer the thread sleeps, outside of the program: a process of kchaos' stops it, as a debugger
//! does, and the program has the call return [`Pause::AGAIN`]. So the thread stops before it leaves the
//! kernel, with nothing done yet, and when it is let go the kernel makes the call again.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_loop};
use chaos_common::{Pause, PauseRequest, limits::BUSY_WAIT_NS};

use crate::{
    call::{Call, Origin},
    maps::{PAUSES, PAUSES_ASKED},
    scratch::{Claim, Scratch},
    subject::now,
};

/// How much later than it was to wake up a call is still known again: the event that it had been
/// about may not come, because the file is gone by then.
const GRACE_NS: u64 = 10_000_000_000;

/// More looks at the clock than fit into [`BUSY_WAIT_NS`] on any machine; the kernel allows 2^23.
const LOOKS: u32 = 1 << 22;

/// What an event of a call comes to: an effect and its flags, or 0 and 0.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// As [`chaos_common::RuleConfig::effect`].
    pub effect: u32,
    /// Of these [`chaos_common::flags`] only what the effect is.
    pub flags: u32,
}

impl Outcome {
    /// In one word, which is all that a global function returns.
    #[inline(always)]
    pub fn word(self) -> u64 {
        u64::from(self.flags) << 32 | u64::from(self.effect)
    }

    /// Of [`Self::word`].
    #[inline(always)]
    pub fn of(word: u64) -> Self {
        Self {
            effect: word as u32,
            flags: (word >> 32) as u32,
        }
    }
}

/// What was decided about this event before the thread slept, if the call is one that was made before.
/// Its other events were decided then, and pass.
#[inline(always)]
pub fn decided(event: u64) -> Option<Outcome> {
    let thread = bpf_get_current_pid_tgid();
    let pause = PAUSES.get_ptr(thread)?;
    let call = Call::current()?;
    let origin = Origin::current()?;
    // SAFETY: a map's value; what was given back meanwhile is not given out while a program runs.
    unsafe {
        let same = (*pause).call == call.number
            && (*pause).instruction == origin.instruction
            && (*pause).stack == origin.stack;
        if now() > (*pause).until_ns + GRACE_NS {
            PAUSES.remove(thread).ok();
            return None;
        }
        // A signal's handler runs before the call is made again.
        if !same {
            return None;
        }
        let mut outcome = Outcome {
            effect: 0,
            flags: 0,
        };
        if (*pause).event == event {
            outcome.effect = (*pause).effect;
            outcome.flags = (*pause).flags;
            PAUSES.remove(thread).ok();
        }
        Some(outcome)
    }
}

/// Has the thread wait for as long as the event is to; whether the call is to return
/// [`Pause::AGAIN`], for the event to come to the outcome then.
///
/// The buffer is given back before: who runs on this processor meanwhile may need it.
#[inline(always)]
pub fn wait(scratch: Claim, event: u64, outcome: Outcome) -> bool {
    let wait_ns = scratch.wait_ns();
    if wait_ns == 0 {
        return false;
    }
    let asked = wait_ns > BUSY_WAIT_NS && ask(*scratch, wait_ns, event, outcome).is_some();
    drop(scratch);
    let mut until = Until {
        time_ns: now()
            + if wait_ns < BUSY_WAIT_NS {
                wait_ns
            } else {
                BUSY_WAIT_NS
            },
        thread: if asked { bpf_get_current_pid_tgid() } else { 0 },
    };
    // SAFETY: the callback casts the pointer back to what it was.
    unsafe {
        bpf_loop(LOOKS, is_over as *mut c_void, (&raw mut until).cast(), 0);
    }
    if !asked {
        return false;
    }
    if state(until.thread) == Some(Pause::GRANTED) {
        return true;
    }
    // The call goes on. If the answer comes yet, the thread stops when that is done.
    PAUSES.remove(until.thread).ok();
    false
}

/// Asks for the current thread to be stopped.
#[inline(always)]
fn ask(scratch: Scratch, wait_ns: u64, event: u64, outcome: Outcome) -> Option<()> {
    let call = Call::current()?;
    if !call.can_be_made_again() {
        return None;
    }
    let origin = Origin::current()?;
    let thread = bpf_get_current_pid_tgid();
    let request = scratch.request();
    let asked_ns = now();
    // SAFETY: a map's value, and this program holds it.
    unsafe {
        (&raw mut (*request).thread).write_volatile(thread);
        (&raw mut (*request).asked_ns).write_volatile(asked_ns);
        let pause = &raw mut (*request).pause;
        (&raw mut (*pause).until_ns).write_volatile(asked_ns + wait_ns);
        (&raw mut (*pause).call).write_volatile(call.number);
        (&raw mut (*pause).instruction).write_volatile(origin.instruction);
        (&raw mut (*pause).stack).write_volatile(origin.stack);
        (&raw mut (*pause).event).write_volatile(event);
        (&raw mut (*pause).state).write_volatile(Pause::ASKED);
        (&raw mut (*pause).effect).write_volatile(outcome.effect);
        (&raw mut (*pause).flags).write_volatile(outcome.flags);
        // By reference: a copy would stand on the stack.
        let kept: &Pause = &*pause;
        PAUSES.insert(thread, kept, 0).ok()?;
        let asked: &PauseRequest = &*request;
        if PAUSES_ASKED.output::<PauseRequest>(asked, 0).is_err() {
            PAUSES.remove(thread).ok();
            return None;
        }
    }
    Some(())
}

/// Until when a processor is kept busy, and by which thread if that waits for an answer.
struct Until {
    time_ns: u64,
    thread: u64,
}

/// Whether the time, or the answer, has come; 1 ends the loop.
unsafe extern "C" fn is_over(_index: u64, until: *mut c_void) -> i64 {
    // SAFETY: the caller passes one, and waits for the end of the loop.
    let until = unsafe { &*until.cast::<Until>() };
    let answered = until.thread != 0 && state(until.thread) != Some(Pause::ASKED);
    i64::from(answered || now() >= until.time_ns)
}

#[inline(always)]
fn state(thread: u64) -> Option<u32> {
    let pause = PAUSES.get_ptr(thread)?;
    // SAFETY: a map's value.
    Some(unsafe { (&raw const (*pause).state).read_volatile() })
}
