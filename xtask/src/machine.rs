//! What xtask installs on a Debian machine, and only when it is missing; parts of the Rust toolchain, too.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, process, project};

/// A Debian package and a file whose presence shows that it is there.
pub struct Package {
    name: &'static str,
    proof: &'static str,
}

/// ZooKeeper's classes; the package starts nothing.
pub const ZOOKEEPER: Package = Package { name: "zookeeper", proof: "/usr/share/java/zookeeper.jar" };
/// Network namespaces and what joins them.
pub const IPROUTE2: Package = Package { name: "iproute2", proof: "/usr/sbin/ip" };
/// The packet filter.
pub const NFTABLES: Package = Package { name: "nftables", proof: "/usr/sbin/nft" };
/// What runs ZooKeeper.
pub const JAVA: Package = Package { name: "default-jre-headless", proof: "/usr/bin/java" };
/// What builds Kotlin projects.
pub const MAVEN: Package = Package { name: "maven", proof: "/usr/bin/mvn" };
/// The C compiler.
pub const GCC: Package = Package { name: "gcc", proof: "/usr/bin/gcc" };
/// The C++ compiler.
pub const GXX: Package = Package { name: "g++", proof: "/usr/bin/g++" };
/// The other C and C++ compiler.
pub const CLANG: Package = Package { name: "clang", proof: "/usr/bin/clang" };
/// What programs that it sanitizes are linked with.
pub const CLANG_RUNTIME: Package = Package {
    name: "libclang-rt-14-dev",
    proof: "/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.asan-x86_64.a",
};
/// What builds C projects.
pub const CMAKE: Package = Package { name: "cmake", proof: "/usr/bin/cmake" };
/// What tells compilers where libraries are.
pub const PKG_CONFIG: Package = Package { name: "pkg-config", proof: "/usr/bin/pkg-config" };
/// Go, with what its race detector needs.
pub const GO: Package = Package { name: "golang-go", proof: "/usr/bin/go" };
/// What counts instructions and watches memory.
pub const VALGRIND: Package = Package { name: "valgrind", proof: "/usr/bin/valgrind" };
/// The peer.
pub const REDIS_SERVER: Package = Package { name: "redis-server", proof: "/usr/bin/redis-server" };
/// `redis-cli` and `redis-benchmark`.
pub const REDIS_TOOLS: Package = Package { name: "redis-tools", proof: "/usr/bin/redis-benchmark" };

/// Another peer.
pub const ETCD: Package = Package { name: "etcd-server", proof: "/usr/bin/etcd" };
/// `etcdctl`.
pub const ETCD_CLIENT: Package = Package { name: "etcd-client", proof: "/usr/bin/etcdctl" };

/// Installs those of `packages` that are missing; asks for nothing.
pub fn install(packages: &[Package]) -> Outcome<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !Path::new(package.proof).exists())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install_by_name(&missing)
}

/// Installs `names` without looking whether they are there.
pub fn install_by_name(names: &[&str]) -> Outcome<()> {
    update()?;
    let log = project::scratch().join("logs/apt-install.log");
    let mut command = apt_get();
    command.args(["install", "-y", "--no-install-recommends"]).args(names);
    process::logged(&format!("apt-get install {}", names.join(" ")), &log, &mut command)
}

/// Adds what `cargo VERB` wants to the Rust toolchain, if it is missing and rustup manages the toolchain.
pub fn install_rust(verb: &str, component: &str) -> Outcome<()> {
    let there = process::works(project::cargo().args([verb, "--version"]));
    if there || !process::works(Command::new("rustup").arg("--version")) {
        return Ok(());
    }
    let log = project::scratch().join("logs/rustup.log");
    let mut command = Command::new("rustup");
    command.args(["component", "add", component]).current_dir(project::root());
    process::logged(&format!("rustup component add {component}"), &log, &mut command)
}

/// Reads the package index anew.
pub fn update() -> Outcome<()> {
    let log = project::scratch().join("logs/apt-update.log");
    process::logged("apt-get update", &log, apt_get().arg("update"))
}

fn apt_get() -> Command {
    // SAFETY: a system call without arguments.
    let root = unsafe { libc::geteuid() } == 0;
    let mut command = Command::new(if root { "env" } else { "sudo" });
    // Debian starts the services it installs unless it believes to be in single-user mode.
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]);
    command
}
