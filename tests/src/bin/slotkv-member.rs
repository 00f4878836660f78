//! The `slotkv` binary once more, so that the tests of this package always run a fresh one as real processes.

fn main() -> std::process::ExitCode {
    slotkv_daemon::main()
}
