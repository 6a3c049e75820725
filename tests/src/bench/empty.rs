//! Programs that do nothing where faults have theirs. What they cost is the kernel's way to a program and back:
//! no fault by the same hook can cost less.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya_obj::{
    btf::{Btf, BtfKind},
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type},
};

use super::Way;
use crate::cgroup::{Cgroup, MOUNT};

/// Where a program can be that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Empty {
    /// What it is called in a report.
    pub name: &'static str,
    /// The mechanism of faults whose hooks these are.
    mechanism: &'static str,
    program: bpf_prog_type,
    attach: bpf_attach_type,
    /// Called for a read, and for an openat.
    functions: [&'static str; 2],
}

const ALL: [Empty; 4] = [
    Empty {
        name: "an empty program by lsm",
        mechanism: "lsm",
        program: bpf_prog_type::BPF_PROG_TYPE_LSM,
        attach: bpf_attach_type::BPF_LSM_MAC,
        functions: ["bpf_lsm_file_permission", "bpf_lsm_file_open"],
    },
    // Since Linux 6.0 the kernel itself can ask only for the members of a cgroup. It has no mechanism of
    // ours; whether it would be a cheaper one for everybody else is what this tells.
    Empty {
        name: "the same for another cgroup only",
        mechanism: "lsm",
        program: bpf_prog_type::BPF_PROG_TYPE_LSM,
        attach: bpf_attach_type::BPF_LSM_CGROUP,
        functions: ["bpf_lsm_file_permission", "bpf_lsm_file_open"],
    },
    Empty {
        name: "an empty program by fmod-ret",
        mechanism: "fmod-ret",
        program: bpf_prog_type::BPF_PROG_TYPE_TRACING,
        attach: bpf_attach_type::BPF_MODIFY_RETURN,
        functions: ["security_file_permission", "security_file_open"],
    },
    Empty {
        name: "and by fmod-ret-syscall",
        mechanism: "fmod-ret-syscall",
        program: bpf_prog_type::BPF_PROG_TYPE_TRACING,
        attach: bpf_attach_type::BPF_MODIFY_RETURN,
        functions: ["__x64_sys_read", "__x64_sys_openat"],
    },
];

/// Programs and their links; they go when it is dropped.
pub(super) type Attached = Vec<OwnedFd>;

impl Empty {
    /// Those at hooks of these ways.
    pub(super) fn beside(ways: &[Way]) -> Vec<Self> {
        let is_beside = |empty: &Self| ways.iter().any(|way| way.mechanism == empty.mechanism);
        ALL.into_iter().filter(is_beside).collect()
    }

    /// Loads and attaches them; `cgroup` is asked for where a cgroup is.
    pub(super) fn attach(&self, kernel: &Btf, cgroup: &Cgroup) -> Attached {
        let cgroup = std::fs::File::open(format!("{MOUNT}{}", cgroup.path())).unwrap();
        let of = |function: &'static str| {
            let program = self.load(kernel, function).unwrap();
            let link = if self.attach == bpf_attach_type::BPF_LSM_CGROUP {
                let mut attr = zeroed();
                // SAFETY: this command reads this member, and every other field of it stays zero.
                let create = unsafe { &mut attr.link_create };
                create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
                create.__bindgen_anon_2.target_fd = cgroup.as_raw_fd().cast_unsigned();
                create.attach_type = self.attach as u32;
                bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)
            } else {
                let mut attr = zeroed();
                attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
                bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
            };
            [program, link.unwrap()]
        };
        self.functions.into_iter().flat_map(of).collect()
    }

    fn load(&self, kernel: &Btf, function: &str) -> io::Result<OwnedFd> {
        /// `BPF_ALU64 | BPF_MOV | BPF_K` and `BPF_JMP | BPF_EXIT` (include/uapi/linux/bpf.h).
        const MOVE: u8 = 0xb7;
        const EXIT: u8 = 0x95;
        let mut instructions: [bpf_insn; 2] = [EMPTY; 2];
        instructions[0].code = MOVE;
        // "Goes on": of a cgroup's programs 1, as of all that filter.
        instructions[0].imm = (self.attach == bpf_attach_type::BPF_LSM_CGROUP).into();
        instructions[1].code = EXIT;
        let mut attr = zeroed();
        // SAFETY: this command reads this member, and every other field of it stays zero.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = self.program as u32;
        load.expected_attach_type = self.attach as u32;
        load.attach_btf_id = kernel
            .id_by_type_name_kind(function, BtfKind::Func)
            .map_err(io::Error::other)?;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = 2;
        load.license = c"GPL".as_ptr() as u64;
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
    }
}

const EMPTY: bpf_insn = bpf_insn {
    code: 0,
    _bitfield_align_1: [],
    _bitfield_1: aya_obj::generated::__BindgenBitfieldUnit::new([0]),
    off: 0,
    imm: 0,
};

fn zeroed() -> bpf_attr {
    // SAFETY: a union of plain integers, for which all zeros is the kernel's default.
    unsafe { std::mem::zeroed() }
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
