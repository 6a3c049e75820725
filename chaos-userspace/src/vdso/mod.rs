//! Clocks that are bent in user space, where nearly everybody reads them: in the vDSO.
//!
//! The first instructions of its functions become a jump to a page of code that the process gets
//! ([`stub`]). That calls the real function and bends what it returns by what stands in a page that
//! the process, its children and we share ([`control`]). Deadline and lease stand in there too, and
//! the code itself compares them with what it has just read: a fault needs nobody to end it.
//!
//! Who is patched, when, and by which rules is the business of a process of its own ([`tender`]).

mod control;
mod home;
mod image;
mod maps;
mod patch;
mod stub;
pub(crate) mod tender;
mod tracee;
mod undo;
mod wanted;

pub use tender::main_if_asked;
pub(crate) use undo::{Restored, undo, undo_orphans};
pub use wanted::Wanted;

/// Whether the functions of this machine's vDSO can be redirected.
///
/// # Errors
/// Why not.
pub(crate) fn probe() -> Result<(), String> {
    patch::Before::look(std::process::id())
        .map(drop)
        .map_err(|error| error.to_string())
}
