#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| slotkv_fuzz::log_record::run(bytes));
