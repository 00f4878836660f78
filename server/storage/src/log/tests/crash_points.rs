//! Every change that a history makes on the disk is a point at which the machine may end, and so is every change that
//! the next opening makes. At each of them: nothing synced is lost, nothing is invented or out of order, the torn tail is
//! cut for good, the log goes on, and a bit that flips in what was found is not served.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    model::{Run, Step},
    *,
};

/// As many changes as an opening makes, or a few more.
const OPENING_CHANGES: u32 = 12;

/// Passes a segment's end, truncates at both ends, resets and closes, with synced and unsynced records around each.
fn fixed() -> Vec<Step> {
    use Step::{Append, Close, Reset, Sync, TruncateBack, TruncateFront};
    vec![
        Append(vec![50, 60, 70]),
        Sync,
        Append(vec![700]),
        Append(vec![5]),
        Sync,
        Append(vec![300, 300]),
        Sync,
        Append(vec![1500]),
        Append(vec![20]),
        Sync,
        Append(vec![10]),
        TruncateFront(6),
        Append(vec![400, 400, 400, 400]),
        Sync,
        Append(vec![90]),
        TruncateBack(5),
        Append(vec![30]),
        Sync,
        Append(vec![2000]),
        Append(vec![0]),
        Sync,
        TruncateBack(1),
        Append(vec![40]),
        Sync,
        Reset(2),
        Append(vec![100]),
        Sync,
        Append(vec![900]),
        Sync,
        Reset(0),
        Append(vec![10]),
        Append(vec![20]),
        Close,
        Append(vec![10, 600]),
        Append(vec![700]),
        Sync,
        Append(vec![64]),
    ]
}

fn drawn(seed: u64) -> Vec<Step> {
    let mut chance = SmallRng::seed_from_u64(seed);
    let sizes = |chance: &mut SmallRng| {
        let size_max = if chance.random_ratio(1, 4) { 2000 } else { 200 };
        (0..chance.random_range(1..5)).map(|_| chance.random_range(0..size_max)).collect()
    };
    let mut step = || match chance.random_range(0..20) {
        0..9 => Step::Append(sizes(&mut chance)),
        9..15 => Step::Sync,
        15 | 16 => Step::TruncateFront(chance.random_range(0..9)),
        17 => Step::TruncateBack(chance.random_range(0..9)),
        18 => Step::Reset(chance.random_range(0..3)),
        _ => Step::Close,
    };
    (0..30).map(|_| step()).collect()
}

/// One point.
#[derive(Clone, Copy, Debug)]
struct Point {
    seed: u64,
    reordering: bool,
    /// Changes before the end.
    after: u32,
    /// Changes before the end of the opening that follows.
    opening_after: Option<u32>,
}

/// Runs a history through its end at a point. Returns how many changes it made altogether.
async fn run(history: &[Step], point: Point) -> u64 {
    let Point { seed, reordering, after, opening_after } = point;
    let disk = SimDisk::new(seed);
    disk.set_reordering(reordering);
    disk.stop_after(after);
    let log = match open_with(&disk, small_segments()).await {
        Ok((log, _)) => log,
        Err(_) => {
            // It ended before there was a log.
            disk.crash();
            if let Some(changes) = opening_after {
                disk.stop_after(changes);
                drop(open_with(&disk, small_segments()).await);
                disk.crash();
            }
            open(&disk).await.0
        }
    };
    let mut run = Run::on(disk, log);
    (run.power_goes, run.opening_stop) = (true, opening_after);
    let mut openings = 0;
    for step in history.iter().cloned().chain([Step::Crash]) {
        let text = format!("{point:?}, {step:?}");
        run.step(step).await.unwrap_or_else(|why| panic!("{text}: {why}"));
        if run.openings > openings {
            openings = run.openings;
            holds_for_good(&mut run).await;
        }
    }
    run.disk.change_count()
}

/// What an opening made of the log is synced: power cuts change nothing of it, and a flipped bit is found.
async fn holds_for_good(run: &mut Run) {
    let records = all(run.log.as_ref().expect("it is open"));
    let files = damage::files(&run.disk);
    let copy = damage::disk_of(&files);
    let (log, recovery) = open(&copy).await;
    assert_eq!((recovery.cut_bytes, all(&log)), (0, records.clone()));
    drop(log);

    let bits: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64 * 8).sum();
    let mut bit = run.disk.change_count().wrapping_mul(0x9e37_79b9_7f4a_7c15) % bits;
    let (path, _) = files
        .iter()
        .find(|(_, bytes)| {
            let here = bit < bytes.len() as u64 * 8;
            bit -= if here { 0 } else { bytes.len() as u64 * 8 };
            here
        })
        .expect("the bit is in a file");
    let copy = damage::disk_of(&files);
    copy.flip_bit(path, bit);
    match open_with(&copy, small_segments()).await {
        // In the mark, or in the header of a segment that holds nothing.
        Ok((log, _)) => assert_eq!(all(&log), records, "bit {bit} of {path:?}"),
        Err(error) => assert!(
            error.is_damage() || matches!(error, Error::NewerFormat { .. }),
            "bit {bit} of {path:?}: {error}"
        ),
    }
}

/// All points of a history, with so many ways of losing what was not synced at each.
async fn exhaust(history: &[Step], seeds: u64) -> u64 {
    let whole = Point { seed: 0, reordering: false, after: u32::MAX, opening_after: None };
    let changes = run(history, whole).await as u32;
    let mut count = 0;
    for after in 0..changes {
        for seed in 0..seeds {
            let point = Point {
                seed: seed << 32 | u64::from(after),
                reordering: seed % 2 == 1,
                after,
                opening_after: (seed % 3 == 2).then_some((seed / 3) as u32 % OPENING_CHANGES),
            };
            run(history, point).await;
            count += 1;
        }
    }
    count
}

#[tokio::test(start_paused = true)]
async fn log_holds_what_was_synced_wherever_the_machine_ends() {
    let long = std::env::var_os("SLOTKV_TEST_LONG").is_some();
    let (histories, seeds) = if long { (24, 108) } else { (4, 36) };
    let mut count = exhaust(&fixed(), seeds).await;
    for seed in 0..histories {
        count += exhaust(&drawn(seed), seeds / 3).await;
    }
    println!("{count} crash points of the log");
    assert!(count >= if long { 100_000 } else { 10_000 }, "{count} crash points");
}
