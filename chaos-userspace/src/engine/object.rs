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
}

static FILE_ERROR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/file_error.o"));
static SYSCALL_ERROR: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscall_error.o"));
static NET_LOSS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net_loss.o"));

impl Object {
    /// The name of its source in chaos-ebpf/src/bin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FileError => "file_error",
            Self::NetLoss => "net_loss",
            Self::SyscallError => "syscall_error",
        }
    }

    /// Whether its programs read structures of the kernel.
    pub(super) const fn reads_kernel(self) -> bool {
        matches!(self, Self::FileError | Self::SyscallError)
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
        };
        if bytes.is_empty() {
            Err(EngineError::ObjectNotBuilt(self.name()))
        } else {
            Ok(bytes)
        }
    }
}
