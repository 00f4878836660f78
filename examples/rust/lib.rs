//! Examples of slotkv in Rust. Each starts with the command that runs it and ends in a result that can be checked.
//! Start a cluster with `slotkv dev` first; or name one: `cargo run -p slotkv-examples --example hello -- slotkv://host:port`.
//!
//! | example | teaches |
//! |---|---|
//! | hello | put, get, delete, and what they answer |
//! | many | thousands of keys at once, a result for each |
//! | scan | prefixes, key order, and going on from a cursor |
//! | compare_and_set | changing a value that others change, too |
//! | fail_over | what a caller meets while a worker is down |
//! | compare_file | reading a JSON Lines file back and comparing every byte |

/// The cluster that the first argument names, else the one that `slotkv dev` starts.
pub fn uri() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "slotkv://127.0.0.1:7700".to_owned())
}
