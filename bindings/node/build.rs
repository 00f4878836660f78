//! What the linker is told about an addon.

fn main() {
    napi_build::setup();
}
