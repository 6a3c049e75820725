//! Ways of asking for memory, each of which fails as a whole or is done as a whole.

use std::{
    ffi::CStr,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Command,
    ptr,
};

use crate::Said;

/// Memory of each way: more than a program asks for while it starts.
pub const BYTES: usize = 16 << 20;

const NOTHING: &CStr = c"/dev/null";
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Asks for memory in a way: 0, or the errno.
///
/// - `mmap`, `half` (of [`BYTES`]), `shared`, `reserve` (`PROT_NONE`): a mapping
/// - `populate`: all pages of a file of a tmpfs, by one mmap
/// - `brk`, `malloc`: the data segment; 12 if it did not grow
/// - `mremap`: a mapping of a page becomes as long
/// - `fork`
/// - `wait`, until standard input ends
/// - `open`, `socket`, `eventfd`: descriptors
/// - `connect`: three of them, a connection over the loopback
/// - `signal`: to itself
/// - `parts`: a write of so many parts that the kernel needs four pages in a row for the list of them
pub fn ask(way: &str) -> i32 {
    let done = match way {
        "mmap" => map(BYTES, READ_WRITE, PRIVATE, -1).map(drop),
        "half" => map(BYTES / 2, READ_WRITE, PRIVATE, -1).map(drop),
        "shared" => {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            map(BYTES, READ_WRITE, flags, -1).map(drop)
        }
        "reserve" => map(BYTES, libc::PROT_NONE, PRIVATE, -1).map(drop),
        "populate" => populate(),
        "brk" => grow(),
        "malloc" => allocate(),
        "mremap" => enlarge(),
        "fork" => fork(),
        "wait" => io::copy(&mut io::stdin(), &mut io::sink())
            .map(drop)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)),
        "open" => open(),
        // SAFETY: takes integers.
        "socket" => closed(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) }),
        // SAFETY: takes integers.
        "eventfd" => closed(unsafe { libc::eventfd(0, 0) }),
        "connect" => connect().map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)),
        "signal" => signal(),
        "parts" => write_parts(),
        _ => Err(libc::ENOSYS),
    };
    done.err().unwrap_or(0)
}

/// Has `mapper` ask in these ways, and tells what became of each.
pub fn asked(mapper: &mut Command, ways: &[&str]) -> Vec<i32> {
    became(&mapper.args(ways).output().unwrap().into())
}

/// What `mapper` has told.
pub fn became(said: &Said) -> Vec<i32> {
    assert_eq!(said.status, 0, "{said:?}");
    let became = said.out.lines().map(|line| {
        let (_way, errno) = line.split_once(' ').unwrap();
        errno.parse().unwrap()
    });
    became.collect()
}

/// Bytes of the objects of a slab cache, as the kernel tells.
pub fn object_bytes(cache: &str) -> u64 {
    let file = format!("/sys/kernel/slab/{cache}/object_size");
    let bytes = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    bytes.trim().parse().unwrap()
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A mapping, taken away when it is dropped.
struct Mapped(*mut libc::c_void, usize);

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: nobody has a pointer into it any more.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

fn map(bytes: usize, protection: i32, flags: i32, file: i32) -> Result<Mapped, i32> {
    // SAFETY: a new mapping.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, file, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(errno());
    }
    Ok(Mapped(mapped, bytes))
}

fn populate() -> Result<(), i32> {
    // SAFETY: the name ends in a zero; the descriptor is nobody else's.
    unsafe {
        let file = libc::memfd_create(c"populated".as_ptr(), 0);
        if file < 0 || libc::ftruncate(file, 1 << 20) != 0 {
            return Err(errno());
        }
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let mapped = map(1 << 20, READ_WRITE, flags, file);
        libc::close(file);
        mapped.map(drop)
    }
}

/// The C library's own way, which it needs for nothing else meanwhile.
fn grow() -> Result<(), i32> {
    let step = isize::try_from(BYTES).unwrap();
    // SAFETY: what is gained is not used, and given back if nobody has gained more since.
    unsafe {
        if libc::sbrk(step) as isize == -1 {
            return Err(errno());
        }
        libc::sbrk(-step);
    }
    Ok(())
}

/// By the data segment, because mappings are only for more than that; without it by a mapping.
fn allocate() -> Result<(), i32> {
    // SAFETY: the options are the C library's; what is allocated is given back.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        let allocated = libc::malloc(BYTES);
        if allocated.is_null() {
            return Err(errno());
        }
        libc::free(std::hint::black_box(allocated));
    }
    Ok(())
}

fn enlarge() -> Result<(), i32> {
    let mut mapped = map(4096, READ_WRITE, PRIVATE, -1)?;
    // SAFETY: the mapping is this function's own.
    let large = unsafe { libc::mremap(mapped.0, mapped.1, BYTES, libc::MREMAP_MAYMOVE) };
    if large == libc::MAP_FAILED {
        return Err(errno());
    }
    (mapped.0, mapped.1) = (large, BYTES);
    Ok(())
}

fn fork() -> Result<(), i32> {
    // SAFETY: the child does nothing but end.
    unsafe {
        let child = libc::fork();
        if child < 0 {
            return Err(errno());
        }
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child, ptr::null_mut(), 0);
    }
    Ok(())
}

fn closed(descriptor: i32) -> Result<(), i32> {
    if descriptor < 0 {
        return Err(errno());
    }
    // SAFETY: nobody else has it.
    unsafe { libc::close(descriptor) };
    Ok(())
}

fn connect() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    listener.accept().map(drop)
}

/// One that is waited for: it is put into a queue, and taken out of it.
fn signal() -> Result<(), i32> {
    // SAFETY: the set is this function's own.
    unsafe {
        let mut wanted: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut wanted);
        libc::sigaddset(&raw mut wanted, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const wanted, ptr::null_mut());
        if libc::kill(libc::getpid(), libc::SIGUSR1) != 0 {
            return Err(errno());
        }
        let mut came = 0;
        libc::sigwait(&raw const wanted, &raw mut came);
    }
    Ok(())
}

fn open() -> Result<(), i32> {
    // SAFETY: the path ends in a zero.
    closed(unsafe { libc::open(NOTHING.as_ptr(), libc::O_WRONLY) })
}

fn write_parts() -> Result<(), i32> {
    const PARTS: usize = 1024;
    let nothing = libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    };
    let parts = [nothing; PARTS];
    // SAFETY: the path ends in a zero, the descriptor is nobody else's, and the parts have no bytes.
    unsafe {
        let file = libc::open(NOTHING.as_ptr(), libc::O_WRONLY);
        if file < 0 {
            return Err(errno());
        }
        let written = libc::syscall(libc::SYS_writev, file, parts.as_ptr(), PARTS);
        let error = errno();
        libc::close(file);
        if written < 0 { Err(error) } else { Ok(()) }
    }
}
