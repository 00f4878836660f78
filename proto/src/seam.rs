//! Seams: what code that decides something takes as an argument, so that the same code runs in the simulator.
//! Timers are tokio's, which the simulator runs in virtual time.

use std::time::{SystemTime, UNIX_EPOCH};

/// A machine's clocks.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970. May jump in either direction.
    fn wall_ms(&self) -> u64;

    /// Microseconds since some moment before this process. Never goes back and goes on in suspend: leases are counted on
    /// it.
    fn uptime_us(&self) -> u64;

    /// Microseconds that this thread has had a processor for, since some moment; where nobody counts them, those that went by.
    fn busy_us(&self) -> u64 {
        self.uptime_us()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    #[cfg(target_os = "linux")]
    fn uptime_us(&self) -> u64 {
        // Rust's Instant stands still in suspend.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    }

    #[cfg(target_os = "linux")]
    fn busy_us(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    }

    #[cfg(not(target_os = "linux"))]
    fn uptime_us(&self) -> u64 {
        static BEGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        BEGIN.get_or_init(std::time::Instant::now).elapsed().as_micros() as u64
    }
}

/// A source of chance: jitter, client ids, names.
pub trait Chance: Send + Sync + 'static {
    /// A uniformly random number.
    fn next_u64(&self) -> u64;

    /// A uniformly random number below `bound`; 0 if `bound` is 0.
    fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    /// Asks the system each time. A generator in this process's memory would go on alike in the children of a fork, and
    /// clients with the same id would be given each other's results.
    fn next_u64(&self) -> u64 {
        use rand::TryRngCore;
        rand::rngs::OsRng.try_next_u64().unwrap_or_else(|_| rand::random())
    }
}

/// Random numbers that a seed determines.
#[derive(Debug)]
pub struct SeededChance(std::sync::Mutex<rand::rngs::SmallRng>);

impl SeededChance {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        use rand::SeedableRng;
        Self(std::sync::Mutex::new(rand::rngs::SmallRng::seed_from_u64(seed)))
    }
}

impl Chance for SeededChance {
    fn next_u64(&self) -> u64 {
        use rand::RngCore;
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next_u64()
    }
}
