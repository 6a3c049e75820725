//! The BPF objects that were built into this binary.

use super::EngineError;

/// The object of one fault kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// `file.error`
    FileError,
    /// `net.loss`
    NetLoss,
    /// `syscall.error`
    SyscallError,
    /// `mem.slab`
    MemSlab,
    /// `mem.page`
    MemPage,
    /// `mem.mmap`
    MemMmap,
    /// `disk.error`
    DiskError,
    /// `net.connect`
    NetConnect,
    /// `net.link`
    NetLink,
    /// `dns.error`
    DnsError,
}

static FILE_ERROR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/file_error.o"));
static SYSCALL_ERROR: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscall_error.o"));
static NET_LOSS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net_loss.o"));

static MEM_SLAB: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mem_slab.o"));

static MEM_PAGE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mem_page.o"));

static MEM_MMAP: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mem_mmap.o"));

static DISK_ERROR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/disk_error.o"));

static NET_LINK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net_link.o"));

static NET_CONNECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net_connect.o"));

static DNS_ERROR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dns_error.o"));

impl Object {
    /// The name of its source in chaos-ebpf/src/bin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FileError => "file_error",
            Self::NetLoss => "net_loss",
            Self::SyscallError => "syscall_error",
            Self::MemSlab => "mem_slab",
            Self::MemPage => "mem_page",
            Self::MemMmap => "mem_mmap",
            Self::DiskError => "disk_error",
            Self::NetConnect => "net_connect",
            Self::NetLink => "net_link",
            Self::DnsError => "dns_error",
        }
    }

    /// Whether its programs read structures of the kernel.
    pub(super) const fn reads_kernel(self) -> bool {
        matches!(
            self,
            Self::FileError
                | Self::DiskError
                | Self::SyscallError
                | Self::MemMmap
                | Self::MemPage
                | Self::MemSlab
                | Self::NetConnect
                | Self::DnsError
        )
    }

    /// What its programs read of the kernel that not every kernel has.
    pub(super) const fn optional_fields(self) -> &'static [&'static str] {
        match self {
            Self::MemMmap => &["OFF_MM_LOCK_COUNT"],
            Self::MemSlab => &["OFF_CACHE_OBJECT_SIZE", "OFF_CACHE_NAME"],
            _ => &[],
        }
    }

    /// Whether its programs look at the flags of allocations.
    pub(super) const fn reads_gfp(self) -> bool {
        matches!(self, Self::MemPage | Self::MemSlab)
    }

    /// Whether its programs look at requests to disks.
    pub(super) const fn reads_requests(self) -> bool {
        matches!(self, Self::DiskError)
    }

    /// The ELF file.
    ///
    /// # Errors
    /// [`EngineError::ObjectNotBuilt`] when this build was made without a BPF toolchain.
    pub fn bytes(self) -> Result<&'static [u8], EngineError> {
        let bytes = match self {
            Self::FileError => FILE_ERROR,
            Self::NetLoss => NET_LOSS,
            Self::SyscallError => SYSCALL_ERROR,
            Self::MemSlab => MEM_SLAB,
            Self::MemPage => MEM_PAGE,
            Self::MemMmap => MEM_MMAP,
            Self::DiskError => DISK_ERROR,
            Self::NetConnect => NET_CONNECT,
            Self::NetLink => NET_LINK,
            Self::DnsError => DNS_ERROR,
        };
        if bytes.is_empty() {
            Err(EngineError::ObjectNotBuilt(self.name()))
        } else {
            Ok(bytes)
        }
    }
}
