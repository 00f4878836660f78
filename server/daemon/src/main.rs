//! The `slotkv` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    slotkv_daemon::main()
}
