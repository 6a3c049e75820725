//! The command line.

fn main() -> std::process::ExitCode {
    chaos_userspace::cli::main()
}
