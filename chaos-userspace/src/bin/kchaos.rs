//! The command line.

fn main() -> std::process::ExitCode {
    chaos_userspace::guard::main_if_asked()
        .or_else(chaos_userspace::pause::main_if_asked)
        .or_else(chaos_userspace::vdso::main_if_asked)
        .unwrap_or_else(chaos_userspace::cli::main)
}
