//! The Rust host: `harmless-rust URI`. Its allocator, its panic hook and its logs are its own: two allocators would not
//! compile.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs, panic,
    sync::atomic::{AtomicUsize, Ordering},
    sync::mpsc,
    time::Duration,
};

use slotkv::{CallOptions, Client, Code, Command};

/// Longest time until a callback is called.
const CALLBACK_MAX: Duration = Duration::from_secs(10);

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static PANICS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's, counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a process has that a library could change.
fn state() -> (Vec<u64>, Vec<(String, String)>, std::path::PathBuf) {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
    let signals = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line per mask");
        // 32 and 33 are the C library's own, from the first thread on.
        u64::from_str_radix(line.trim(), 16).expect("signals") & !0x1_8000_0000
    };
    let masks = ["SigBlk:", "SigIgn:", "SigCgt:"].map(signals).to_vec();
    (masks, std::env::vars().collect(), std::env::current_dir().expect("a folder"))
}

/// No descriptor may be of a file on a disk that can be written.
fn expect_no_files() {
    for entry in fs::read_dir("/proc/self/fd").expect("/proc is there").flatten() {
        let name = entry.file_name().into_string().expect("a number");
        let is_file = fs::metadata(entry.path()).is_ok_and(|what| what.is_file());
        let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{name}")) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map_or("", str::trim);
        let is_written = u32::from_str_radix(flags, 8).is_ok_and(|flags| flags & 3 != 0);
        assert!(["0", "1", "2"].contains(&&*name) || !is_file || !is_written, "descriptor {name}");
    }
}

fn main() {
    panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
    let (before, allocations) = (state(), ALLOCATIONS.load(Ordering::Relaxed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.expect("a runtime").block_on(used());
    // A panic of this program itself ends it with a status that says so, and no word.
    assert_eq!(PANICS.load(Ordering::Relaxed), 1, "the panic in the callback goes to the hook of the host");
    assert!(!tracing::dispatcher::has_been_set(), "the logger of the process is the host's to set");
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > allocations);
    assert_eq!(state(), before);
}

async fn used() {
    let uri = std::env::args().nth(1).expect("usage: harmless-rust URI");
    let client = Client::connect(&uri).await.expect("a cluster");
    client.put("harmless", "value").await.expect("a put");
    assert_eq!(client.get("harmless").await.expect("a get").as_deref(), Some(&b"value"[..]));
    assert_eq!(client.get("").await.expect_err("no key").code, Code::InvalidArgument);
    let (send, called) = mpsc::channel();
    let command = Command::Get { key: "harmless".into() };
    let _ = client.submit(command, CallOptions::default(), move |_| {
        send.send(()).expect("somebody waits");
        panic!("on purpose");
    });
    while called.try_recv().is_err() {
        tokio::time::timeout(CALLBACK_MAX, client.get("harmless")).await.expect("in time").expect("a get");
    }
    client.get("harmless").await.expect("a get after the panic");
    expect_no_files();
    client.close().await;
    assert_eq!(client.get("harmless").await.expect_err("closed").code, Code::Closed);
    let nobody = Client::connect("slotkv://127.0.0.1:1?connect_timeout_ms=200").await;
    assert_eq!(nobody.err().map(|error| error.code), Some(Code::NoMaster));
}
