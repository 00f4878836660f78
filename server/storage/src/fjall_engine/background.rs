//! Background: fjall's threads that flush and compact give way to those that serve clients. A flush takes a core for a tenth of a
//! second and more; where there are few cores, requests wait beside it. With ten steps less priority a thread has a ninth of
//! another's weight; where it gets behind even so, fjall lets writes wait. Measured for minutes of small writes on two busy cores,
//! not for longer (docs/benchmarks.md, hand-overs).

#[cfg(target_os = "linux")]
use crate::threads;

#[cfg(target_os = "linux")]
const NICE: i32 = 10;
/// What fjall 3.1 calls them.
#[cfg(target_os = "linux")]
const NAME: &str = "fjall:worker";

/// Lowers the priority of those that this process has now. Where that cannot be done, it stays.
#[cfg(target_os = "linux")]
pub(super) fn give_way() {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        let number = thread.file_name().to_str().and_then(|number| number.parse().ok());
        if let Some(number) = number.and_then(rustix::process::Pid::from_raw)
            && name.trim_end() == NAME
        {
            threads::give_way(Some(number), NICE);
        }
    }
}

/// Elsewhere a thread has no priority of its own.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_way() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use super::*;

    /// Priority of the thread that asks.
    fn nice() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("a thread has it");
        let behind_name = stat.rsplit(") ").next().expect("a name");
        behind_name.split(' ').nth(16).and_then(|nice| nice.parse().ok()).expect("a number")
    }

    #[test]
    fn threads_of_that_name_give_way_and_no_others() {
        let before = nice();
        let begin = |name: &str| {
            let (begun, has_begun) = mpsc::channel();
            let (go_on, goes_on) = mpsc::channel::<()>();
            let run = move || {
                begun.send(()).expect("somebody waits");
                let _ = goes_on.recv();
                nice()
            };
            let thread = thread::Builder::new().name(name.into()).spawn(run).expect("a thread");
            has_begun.recv().expect("it runs");
            (thread, go_on)
        };
        let (flusher, server) = (begin(NAME), begin("server"));
        give_way();
        let end = |(thread, go_on): (thread::JoinHandle<i32>, mpsc::Sender<()>)| {
            drop(go_on);
            thread.join().expect("it ends")
        };
        assert_eq!((end(flusher), end(server), nice()), (NICE.max(before), before, before));
    }
}
