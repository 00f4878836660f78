//! Whole-cluster tests. This library holds what they share: [`simulation`], a cluster of real masters, workers and
//! clients in one thread, in virtual time, on a network and on disks that one seed makes fail; [`process`], masters and
//! workers as processes on a real ZooKeeper; [`proxy`], a link that can go silent without closing; [`raw`], peers that
//! say what no peer of ours says; [`load`], readers and writers that remember what was acknowledged; [`operator`], who has slots moved.

pub mod load;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod simulation;

/// Longest wait for something that has to happen; only a broken or a hopelessly slow machine reaches it.
pub const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(120);

/// Waits until `is` holds; fails with `what` when it has not after [`WAIT_MAX`].
pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while !is().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {WAIT_MAX:?}: {what}");
}
