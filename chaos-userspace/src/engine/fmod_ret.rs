//! Loads `fmod_ret` programs, which aya does not know.
//!
//! aya-obj parses the same ELF again and relocates it against the maps that aya has created; the
//! program is then loaded as what it is and attached by file descriptor.

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya::Btf;
use aya_obj::{
    btf::BtfKind,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type},
};

use super::{EngineError, chain};
use crate::experiment::Mechanism;

/// Room for what the verifier says about a program that it refuses.
const LOG_BYTES: usize = 1 << 20;

/// An attached program; detached when it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct FmodRet {
    _link: OwnedFd,
}

/// Attaches one program of an object.
///
/// `maps` are the object's maps by name, as aya created them. `function` is the kernel function.
pub(super) fn attach(
    object: &[u8],
    maps: &HashMap<String, BorrowedFd<'_>>,
    btf: &Btf,
    program: &'static str,
    function: &str,
) -> Result<FmodRet, EngineError> {
    let refused = |reason: String| EngineError::Refused {
        mechanism: Mechanism::FmodRet,
        program,
        reason,
    };
    let instructions = relocated(object, maps, program).map_err(refused)?;
    let id = btf
        .id_by_type_name_kind(function, BtfKind::Func)
        .map_err(|error| refused(format!("{function}: {}", chain(&error))))?;
    let loaded = load(&instructions, program, id).map_err(refused)?;
    let link = attach_loaded(&loaded)
        .map_err(|error| refused(format!("attach to {function}: {error}")))?;
    Ok(FmodRet { _link: link })
}

fn relocated(
    object: &[u8],
    maps: &HashMap<String, BorrowedFd<'_>>,
    program: &str,
) -> Result<Vec<bpf_insn>, String> {
    let mut object = aya_obj::Object::parse(object).map_err(|error| chain(&error))?;
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let definitions: Vec<(String, aya_obj::Map)> = object.maps.drain().collect();
    let known = definitions.iter().filter_map(|(name, definition)| {
        maps.get(name)
            .map(|fd| (name.as_str(), fd.as_raw_fd(), definition))
    });
    object
        .relocate_maps(known, &text)
        .map_err(|error| chain(&error))?;
    object
        .relocate_calls(&text)
        .map_err(|error| chain(&error))?;
    let key = object
        .programs
        .get(program)
        .ok_or("not in the object")?
        .function_key();
    Ok(object
        .functions
        .get(&key)
        .ok_or("has no code")?
        .instructions
        .clone())
}

fn load(instructions: &[bpf_insn], program: &str, function: u32) -> Result<OwnedFd, String> {
    let (quiet, error) = match try_load(instructions, program, function, &mut []) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => (error.kind(), error),
    };
    if quiet == io::ErrorKind::PermissionDenied && !crate::support::privileged_for_bpf() {
        return Err(error.to_string());
    }
    // Only a program that was refused is asked about again, with a log.
    let mut log = vec![0_u8; LOG_BYTES];
    match try_load(instructions, program, function, &mut log) {
        Ok(loaded) => Ok(loaded),
        Err(error) => {
            let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or(&[]))
                .trim()
                .to_owned();
            Err(if text.is_empty() {
                error.to_string()
            } else {
                format!("{error}: {text}")
            })
        }
    }
}

fn try_load(
    instructions: &[bpf_insn],
    program: &str,
    function: u32,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let name = CString::new(program).unwrap_or_default();
    // SAFETY: a union of plain integers, for which all zeros is the kernel's default.
    let mut attr = unsafe { std::mem::zeroed::<bpf_attr>() };
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
    load.expected_attach_type = bpf_attach_type::BPF_MODIFY_RETURN as u32;
    load.attach_btf_id = function;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = license.as_ptr() as u64;
    // The kernel cuts names at 15 bytes and a zero.
    for (to, from) in load.prog_name.iter_mut().take(15).zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
    }
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

fn attach_loaded(program: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: a union of plain integers, for which all zeros is the kernel's default.
    let mut attr = unsafe { std::mem::zeroed::<bpf_attr>() };
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the attribute outlives the call, and so does everything that it points to.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
