#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // The library's first call would take the place of libFuzzer's hook, and a panic would be an error like others.
        slotkv_facade::guard::quiet();
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            std::process::abort();
        }));
    },
    |bytes: &[u8]| slotkv_c::calls::run(bytes)
);
