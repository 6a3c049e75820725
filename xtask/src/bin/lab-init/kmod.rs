//! Kernel modules out of the initramfs.

use std::{ffi::CString, fs::File};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, kmod::ModuleInitFlags};

/// Loads modules in the given order; the host sorted them by dependency and unpacked them.
pub(crate) fn load(names: &[String]) -> Result<()> {
    let none = CString::default();
    for name in names {
        let path = format!("/modules/{name}.ko");
        let file = File::open(&path).with_context(|| format!("open {path}"))?;
        match nix::kmod::finit_module(&file, &none, ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => (),
            Err(Errno::ENODEV) => crate::log(&format!("module {name}: no such device here")),
            Err(errno) => return Err(errno).with_context(|| format!("load module {name}")),
        }
    }
    Ok(())
}
