//! The exec of a command, and what it said.

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::ffi::OsStrExt as _,
    ptr::{self, NonNull},
    sync::atomic::{AtomicI32, Ordering::Relaxed},
};

/// A command's arguments as exec takes them, and memory in which a child leaves what exec said. The standard
/// library has a pipe for that, which is one more thing that a fault of allocations hits, and then aborts.
#[derive(Debug)]
pub(super) struct Exec {
    /// What `arguments` points to.
    _strings: Vec<CString>,
    /// Ends with a null pointer.
    arguments: Vec<*const libc::c_char>,
    errno: NonNull<AtomicI32>,
}

// SAFETY: the pointers are to memory that lives as long as this does, which nobody changes but for one atomic.
unsafe impl Send for Exec {}
// SAFETY: as above.
unsafe impl Sync for Exec {}

impl Exec {
    /// Prepares it: a child between fork and exec may not allocate.
    pub(super) fn new(command: &[OsString]) -> io::Result<Self> {
        let strings = command
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut arguments: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        arguments.push(ptr::null());
        // SAFETY: a new mapping of nothing that is there.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<AtomicI32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let errno = NonNull::new(memory.cast::<AtomicI32>())
            .ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self {
            _strings: strings,
            arguments,
            errno,
        })
    }

    /// Has the child's page of the memory be there, before a fault can be: fork does not copy where a shared page lies.
    pub(super) fn touch(&self) {
        self.errno().store(0, Relaxed);
    }

    fn errno(&self) -> &AtomicI32 {
        // SAFETY: mapped until this is dropped.
        unsafe { self.errno.as_ref() }
    }

    /// Becomes the command, searched for in `PATH`, or ends.
    ///
    /// For a child between fork and exec: it allocates nothing and takes no lock.
    pub(super) fn become_it(&self) -> ! {
        /// Nobody looks at it.
        const STATUS: i32 = 126;
        // SAFETY: strings that end with a zero, in a list that ends with a null pointer.
        unsafe { libc::execvp(self.arguments[0], self.arguments.as_ptr()) };
        let errno = io::Error::last_os_error().raw_os_error();
        self.errno().store(errno.unwrap_or(libc::EIO), Relaxed);
        // SAFETY: ends this process, and runs nothing of the parent's that it has a copy of.
        unsafe { libc::_exit(STATUS) }
    }

    /// Why a child that has ended never was the command, if so.
    pub(super) fn error(&self) -> Option<io::Error> {
        let errno = self.errno().load(Relaxed);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // SAFETY: the mapping, which nobody can look at any more.
        unsafe { libc::munmap(self.errno.as_ptr().cast(), size_of::<AtomicI32>()) };
    }
}
