//! A ring of `io_uring`, by its system calls alone (`include/uapi/linux/io_uring.h`).

use std::{
    ffi::CStr,
    io, ptr,
    sync::atomic::{AtomicU32, Ordering},
};

const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const OP_READ: u8 = 22;
const OP_WRITE: u8 = 23;

/// `IOSQE_ASYNC`: by a worker, without a try before.
const BY_WORKER: u8 = 1 << 4;
/// `IORING_OFF_SQES`
const ENTRIES_OFFSET: i64 = 0x1000_0000;
/// `IORING_ENTER_GETEVENTS`
const WAIT: u32 = 1;
/// `IORING_REGISTER_IOWQ_MAX_WORKERS`, since 5.15
const MAX_WORKERS: u32 = 19;
/// Entries of a ring; of completions it has twice as many.
const ENTRIES: u32 = 8;

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, in which the last two words of the eight
/// have other names.
#[repr(C)]
#[derive(Debug, Default)]
struct Offsets {
    head: u32,
    tail: u32,
    _mask: u32,
    _entries: u32,
    _counter: u32,
    /// `dropped`, or `cqes`.
    fifth: u32,
    /// `array`, or `flags`.
    sixth: u32,
    _reserved: u32,
    _user: u64,
}

/// `struct io_uring_params`
#[repr(C)]
#[derive(Debug, Default)]
struct Parameters {
    submissions: u32,
    completions: u32,
    _other: [u32; 8],
    submitted: Offsets,
    completed: Offsets,
}

/// An operation: `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    file: i32,
    offset: u64,
    address: u64,
    length: u32,
    operation_flags: u32,
    token: u64,
    _rest: [u64; 3],
}

impl Entry {
    /// An openat from the current directory.
    pub fn open(path: &CStr, flags: i32) -> Self {
        Self {
            opcode: OP_OPENAT,
            file: libc::AT_FDCWD,
            address: path.as_ptr() as u64,
            operation_flags: flags.cast_unsigned(),
            ..Self::default()
        }
    }

    /// A read from the beginning of a file.
    pub fn read(file: i32, buffer: &mut [u8]) -> Self {
        Self {
            opcode: OP_READ,
            file,
            address: buffer.as_mut_ptr() as u64,
            length: u32::try_from(buffer.len()).unwrap(),
            ..Self::default()
        }
    }

    /// A write to the beginning of a file.
    pub fn write(file: i32, bytes: &[u8]) -> Self {
        Self {
            opcode: OP_WRITE,
            file,
            address: bytes.as_ptr() as u64,
            length: u32::try_from(bytes.len()).unwrap(),
            ..Self::default()
        }
    }

    /// A connect.
    pub fn connect(socket: i32, peer: &libc::sockaddr_in) -> Self {
        Self {
            opcode: OP_CONNECT,
            file: socket,
            // The length of the address stands where others have an offset.
            offset: size_of_val(peer) as u64,
            address: ptr::from_ref(peer) as u64,
            ..Self::default()
        }
    }

    /// The same by one of the ring's workers.
    #[must_use]
    pub fn by_worker(mut self) -> Self {
        self.flags |= BY_WORKER;
        self
    }

    /// What its completion has.
    #[must_use]
    pub fn with_token(mut self, token: u64) -> Self {
        self.token = token;
        self
    }
}

/// `struct io_uring_cqe`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Completion {
    token: u64,
    result: i32,
    flags: u32,
}

/// A ring; it lives as long as the process.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    fd: i32,
    submitted_tail: *mut AtomicU32,
    submitted_array: *mut u32,
    entries: *mut Entry,
    completed_head: *mut AtomicU32,
    completed_tail: *mut AtomicU32,
    completions: *mut Completion,
    completions_mask: u32,
}

// SAFETY: nobody else than one thread at a time submits and waits, by what the methods say.
unsafe impl Send for Ring {}

impl Ring {
    /// Makes one.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn new() -> io::Result<Self> {
        let mut parameters = Parameters::default();
        // SAFETY: the kernel fills the parameters in.
        let fd = called(unsafe {
            libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut parameters)
        })?;
        // Both rings lie in one mapping since 5.4 (IORING_FEAT_SINGLE_MMAP).
        let submitted = &parameters.submitted;
        let completed = &parameters.completed;
        let array = size_of::<u32>() * parameters.submissions as usize;
        let behind = size_of::<Completion>() * parameters.completions as usize;
        let bytes = (submitted.sixth as usize + array).max(completed.fifth as usize + behind);
        let rings = map(fd, bytes, 0)?;
        let table = size_of::<Entry>() * parameters.submissions as usize;
        let at = |offset: u32| rings.wrapping_add(offset as usize);
        Ok(Self {
            fd,
            submitted_tail: at(submitted.tail).cast(),
            submitted_array: at(submitted.sixth).cast(),
            entries: map(fd, table, ENTRIES_OFFSET)?.cast(),
            completed_head: at(completed.head).cast(),
            completed_tail: at(completed.tail).cast(),
            completions: at(completed.fifth).cast(),
            // There are a power of two.
            completions_mask: parameters.completions - 1,
        })
    }

    /// Gives operations to the kernel.
    ///
    /// # Safety
    /// What they point to lives until they are completed, and no other thread submits meanwhile.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub unsafe fn submit(&self, operations: &[Entry]) -> io::Result<()> {
        let count = u32::try_from(operations.len()).unwrap();
        assert!(count <= ENTRIES);
        // SAFETY: the ring's own memory; all that was submitted before has been taken.
        unsafe {
            let tail = (*self.submitted_tail).load(Ordering::Relaxed);
            for (index, operation) in (tail..).zip(operations) {
                let slot = index % ENTRIES;
                self.entries.add(slot as usize).write(*operation);
                self.submitted_array.add(slot as usize).write(slot);
            }
            (*self.submitted_tail).store(tail + count, Ordering::Release);
        }
        let taken = self.enter(count, 0, 0)?;
        assert_eq!(taken, count, "an entry was not taken");
        Ok(())
    }

    /// Waits for the next completion: its token, and the errno or 0.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&self) -> io::Result<(u64, i32)> {
        // SAFETY: the ring's own memory, of which the kernel only writes behind the tail.
        unsafe {
            let head = (*self.completed_head).load(Ordering::Relaxed);
            while (*self.completed_tail).load(Ordering::Acquire) == head {
                match self.enter(0, 1, WAIT) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            let place = (head & self.completions_mask) as usize;
            let completion = self.completions.add(place).read();
            (*self.completed_head).store(head + 1, Ordering::Release);
            Ok((completion.token, completion.result.min(0).wrapping_neg()))
        }
    }

    /// Has the ring's users have so many workers at most for operations that end soon.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn limit_workers(&self, most: u32) -> io::Result<()> {
        let mut limits = [most, 0];
        // SAFETY: two words, which the kernel reads and writes.
        called(unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd,
                MAX_WORKERS,
                limits.as_mut_ptr(),
                limits.len(),
            )
        })
        .map(drop)
    }

    fn enter(&self, submit: u32, wait: u32, flags: u32) -> io::Result<u32> {
        // SAFETY: takes integers.
        let taken = called(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd,
                submit,
                wait,
                flags,
                0_usize,
                0_usize,
            )
        })?;
        Ok(taken.cast_unsigned())
    }
}

fn called(result: i64) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

fn map(fd: i32, bytes: usize, offset: i64) -> io::Result<*mut u8> {
    // SAFETY: a new mapping.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd,
            offset,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped.cast())
}
