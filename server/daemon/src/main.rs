//! The `slotkv` binary; everything is in the library.

// What one thread of a worker allocates, another one mostly frees: the committer, the engine's threads, the streams.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    slotkv_daemon::main()
}
