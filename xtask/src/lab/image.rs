//! Takes the kernel proper out of its self-extracting image, so that the guest need not unpack it:
//! under emulation that takes longer than the whole rest of the boot.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::cache;

/// Offsets in the header of a bzImage: Documentation/arch/x86/boot.rst.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// The build appends the unpacked size to the payload.
const SIZE_FIELD: usize = 4;

/// Magic numbers of the ways that Debian packs kernels, and who unpacks them.
const UNPACKERS: [(&[u8], &str); 2] = [(b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")];

/// The unpacked kernel if it can be had, which QEMU boots by its PVH entry; else the packed one.
pub(crate) fn unpacked(packed: &Path) -> PathBuf {
    let target = packed.with_file_name("vmlinux");
    if target.exists() {
        return target;
    }
    match unpack(packed, &target) {
        Ok(()) => target,
        Err(error) => {
            eprintln!("xtask: boots will be slower: {error:#}");
            packed.to_path_buf()
        }
    }
}

fn unpack(packed: &Path, target: &Path) -> Result<()> {
    let _lock = cache::lock("image")?;
    let image = fs::read(packed)?;
    let payload = payload(&image).context("the kernel's image is not as documented")?;
    let Some((_, program)) = UNPACKERS
        .iter()
        .find(|(magic, _)| payload.starts_with(magic))
    else {
        bail!("the kernel is packed in an unknown way");
    };
    let staging = target.with_extension("partial");
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(File::create(&staging)?)
        .spawn()
        .with_context(|| format!("start {program}"))?;
    child.stdin.take().context("no pipe")?.write_all(payload)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    if !fs::read(&staging)?.starts_with(b"\x7fELF") {
        bail!("the unpacked kernel is no ELF file");
    }
    fs::rename(&staging, target)?;
    Ok(())
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    // Zero stands for four, from times before the field.
    let sectors = match usize::from(*image.get(SETUP_SECTORS)?) {
        0 => 4,
        sectors => sectors,
    };
    let start = (sectors + 1) * SECTOR + word(PAYLOAD_OFFSET)?;
    image.get(start..start + word(PAYLOAD_LENGTH)?.checked_sub(SIZE_FIELD)?)
}
