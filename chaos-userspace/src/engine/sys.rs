//! bpf(2), as far as aya does not offer it.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::{
    Function,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type},
};

/// What a program is, as far as the kernel wants to know when it is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// The type of program.
    pub(super) program: bpf_prog_type,
    /// How it will be attached.
    pub(super) attach: bpf_attach_type,
    /// The BTF id of the kernel function that it belongs to; 0 for none.
    pub(super) function: u32,
}

/// `BPF_BTF_LOAD`: the types that an object's programs are described with.
pub(super) fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let types = unsafe { &mut attr.__bindgen_anon_7 };
    types.btf = btf.as_ptr() as u64;
    types.btf_size = u32::try_from(btf.len()).map_err(io::Error::other)?;
    for_descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

/// `BPF_PROG_LOAD`. `types` is what [`load_types`] has made: callbacks need it, and it shows the
/// verifier's log with lines of source. `log` receives what the verifier says, if it has room for
/// any.
pub(super) fn load(
    function: &Function,
    types: Option<BorrowedFd<'_>>,
    name: &str,
    kind: Kind,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let instructions = &function.instructions;
    let functions = function.func_info.func_info_bytes();
    let lines = function.line_info.line_info_bytes();
    let license = c"GPL";
    let name = CString::new(name).unwrap_or_default();
    let mut attr = zeroed();
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind.program as u32;
    load.expected_attach_type = kind.attach as u32;
    load.attach_btf_id = kind.function;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = license.as_ptr() as u64;
    // The kernel cuts names at 15 bytes and a zero.
    for (to, from) in load.prog_name.iter_mut().take(15).zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    let size = |count: usize| u32::try_from(count).map_err(io::Error::other);
    if let Some(types) = types {
        load.prog_btf_fd = types.as_raw_fd().cast_unsigned();
        load.func_info = functions.as_ptr() as u64;
        load.func_info_cnt = size(function.func_info.len())?;
        load.func_info_rec_size = size(function.func_info_rec_size)?;
        load.line_info = lines.as_ptr() as u64;
        load.line_info_cnt = size(function.line_info.len())?;
        load.line_info_rec_size = size(function.line_info_rec_size)?;
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
    }
    for_descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches an LSM or tracing program to the function that it was loaded for.
pub(super) fn attach_to_function(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    for_descriptor(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Attaches a program to the beginning of a kernel function, by its name.
pub(super) fn attach_to_kprobe(program: BorrowedFd<'_>, function: &str) -> io::Result<OwnedFd> {
    let function = CString::new(function)?;
    let functions = [function.as_ptr()];
    let mut attr = zeroed();
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    link.attach_type = bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32;
    // SAFETY: this type of attachment reads this member.
    let probe = unsafe { &mut link.__bindgen_anon_3.kprobe_multi };
    probe.cnt = 1;
    probe.syms = functions.as_ptr() as u64;
    for_descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Attaches a program to a cgroup by a link, beside whatever else is attached there.
pub(super) fn attach_to_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach: bpf_attach_type,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    link.__bindgen_anon_2.target_fd = cgroup.as_raw_fd().cast_unsigned();
    link.attach_type = attach as u32;
    for_descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Attaches a program to a network device of this thread's namespace by a tcx link (Linux 6.6), in front
/// of everybody else's.
pub(super) fn attach_to_device(
    program: BorrowedFd<'_>,
    device: u32,
    attach: bpf_attach_type,
) -> io::Result<OwnedFd> {
    /// `BPF_F_BEFORE` (include/uapi/linux/bpf.h): of nobody in particular, so of all.
    const BEFORE: u32 = 1 << 3;
    let mut attr = zeroed();
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    link.__bindgen_anon_2.target_ifindex = device;
    link.attach_type = attach as u32;
    link.flags = BEFORE;
    for_descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Fills the only entry of a map that holds an object's constants, and makes it read-only for all.
pub(super) fn fill_and_freeze(map: BorrowedFd<'_>, data: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attr = zeroed();
    // SAFETY: this command reads this member, and every other field of it stays zero.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd().cast_unsigned();
    element.key = &raw const key as u64;
    element.__bindgen_anon_1.value = data.as_ptr() as u64;
    for_status(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    for_status(bpf_cmd::BPF_MAP_FREEZE, &mut attr)
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of plain integers, for which all zeros is the kernel's default.
    unsafe { std::mem::zeroed() }
}

fn for_descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn for_status(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<()> {
    bpf(command, attr).map(|_zero| ())
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attribute outlives the call, and so does everything that it points to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
