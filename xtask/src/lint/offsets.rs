//! No BPF source may say where something lies in a kernel structure: that differs between kernels,
//! and reading beside it fails silently.

/// How pointers are moved.
const STEPS: [&str; 9] = [
    ".add(",
    ".byte_add(",
    ".byte_offset(",
    ".byte_sub(",
    ".offset(",
    ".sub(",
    ".wrapping_add(",
    ".wrapping_byte_add(",
    ".wrapping_sub(",
];
/// What makes an address of a number, or reads at one.
const ADDRESSES: [&str; 3] = ["as *const", "as *mut", "probe_read"];
/// Steps in memory of our own: the end of the file's name, and what stands there.
const OWN_MEMORY: [(&str, &str); 1] = [("src/path.rs", "slash.add(1)")];

/// The lines, counted from one, that look as if they had a kernel offset in them.
pub(super) fn suspicious(path: &str, source: &str) -> Vec<usize> {
    let lines = source.lines().enumerate();
    lines
        .filter(|(_, line)| {
            let code = line.split("//").next().unwrap_or_default();
            let is_own = OWN_MEMORY
                .iter()
                .any(|(file, text)| path.ends_with(file) && code.contains(text));
            !is_own && has_offset(code)
        })
        .map(|(index, _)| index + 1)
        .collect()
}

fn has_offset(code: &str) -> bool {
    let by_step = STEPS.iter().any(|step| number_follows(code, step));
    let by_sum = ADDRESSES.iter().any(|word| code.contains(word))
        && (number_follows(code, "+ ") || number_follows(code, "- "));
    // User space writes them; a number here would be taken if it forgot to.
    let by_default = code
        .split("Global::new(")
        .skip(1)
        .any(|rest| !rest.starts_with("0)"));
    by_step || by_sum || (by_default && code.contains("Global"))
}

fn number_follows(code: &str, word: &str) -> bool {
    code.split(word)
        .skip(1)
        .any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_addresses_are_found() {
        for line in [
            "let inode = dentry.byte_add(0x30);",
            "let mode = file.cast::<u8>().add(68);",
            "bpf_probe_read_kernel((file + 0x44) as *const u32)",
            "probe_read(out, 8, base + 16)",
            "pub static OFF_FILE_MODE: Global<u32> = Global::new(68);",
        ] {
            let source = format!("fn f() {{\n    {line}\n}}\n");
            assert_eq!(suspicious("src/bin/x.rs", &source), [2], "{line}");
        }
    }

    #[test]
    fn names_indices_and_own_memory_are_not() {
        for line in [
            "let address = base + u64::from(offset.load());",
            "(&raw mut (*self.0).path).cast::<u8>().add(at)",
            "let start = start - length - 1;",
            "// the name lies at dentry.byte_add(0x28) on 6.1",
            "pub static $name: Global<u32> = Global::new(0);",
        ] {
            assert_eq!(suspicious("src/x.rs", line), [0_usize; 0], "{line}");
        }
        assert!(suspicious("chaos-ebpf/src/path.rs", "slash.add(1).cast(),").is_empty());
        assert_eq!(suspicious("chaos-ebpf/src/other.rs", "slash.add(1)"), [1]);
    }
}
