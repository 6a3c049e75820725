//! System calls of one command and its descendants, made to fail, lie or wait from user space
//! (`seccomp_unotify(2)`): no BPF, no cgroup, no privileges.
//!
//! The command installs a filter between fork and exec ([`Entry`]) and hands the filter's listener
//! to kchaos. A guard, a process of its own, answers what comes out of it ([`guard`]): it outlives
//! kchaos, because a listener that closes makes every call that is named fail with ENOSYS for ever.
//! kchaos keeps a copy of the listener, and starts another guard when one dies ([`Calls`]). Rules and
//! what is remembered of them are in memory that all of them share ([`board`]), so that nothing is
//! lost with a guard. A call that is to wait is answered later ([`sleepers`]): its thread sleeps in
//! the kernel, and the guard goes on.

mod board;
mod calls;
mod entry;
mod facts;
mod filter;
pub mod guard;
mod mark;
mod notify;
mod probe;
mod rule;
mod sleepers;
mod task;
mod threads;

use std::io;

pub(crate) use calls::{Calls, Spec};
pub(crate) use entry::{Entry, Greeting};
pub(crate) use probe::probe;

/// To be said where the filter took it.
pub(crate) const NO_NEW_PRIVS: &str = "COMMAND runs with no_new_privs, which a filter takes without \
                                       CAP_SYS_ADMIN: setuid programs and file capabilities gain it \
                                       nothing";

/// Why a filter was refused, in words for people.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "a filter with a listener is in force already, and there can be one \
                              only: a container's, or that of another `kchaos run`"
            .to_owned(),
        Some(libc::EINVAL | libc::ENOSYS) => format!(
            "this kernel has no seccomp filters with listeners (CONFIG_SECCOMP_FILTER): {error}"
        ),
        _ => format!("the filter was refused: {error}"),
    }
}
