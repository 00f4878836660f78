//! Gives the shared library its SONAME, which cargo does not, and keeps it loaded once it is: it has threads.

/// Changes with [`SLOTKV_ABI_VERSION`](src/lib.rs): programs ask for the library by this name.
const SONAME: &str = "libslotkv.so.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
