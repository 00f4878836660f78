//! Where long work runs: threads in a process, tasks in the simulator.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
};

use parking_lot::Mutex;
use slotkv_storage::threads;
use tokio::{runtime::Handle, task::AbortHandle};

/// How a worker runs what would block.
#[derive(Clone, Debug)]
pub enum Runner {
    /// The committer has a thread of its own, pages run on the runtime's blocking threads.
    Threads(Handle),
    /// Everything is a task of the calling runtime, so that one seed decides the order of events.
    Inline(Tasks),
}

/// The tasks of one simulated process.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Mutex<Process>>);

#[derive(Debug, Default)]
struct Process {
    tasks: Vec<AbortHandle>,
    is_paused: bool,
    /// Tasks that would have taken a step since.
    woken: Vec<Waker>,
}

impl Tasks {
    /// Ends the process as a power cut would: no task of it takes another step.
    pub fn kill(&self) {
        self.0.lock().tasks.drain(..).for_each(|task| task.abort());
    }

    /// Stops the process as SIGSTOP would: until [`resume`](Self::resume) no task of it takes a step, and its timers go on.
    pub fn pause(&self) {
        self.0.lock().is_paused = true;
    }

    /// Ends a pause; without one it does nothing. Who takes the first step is drawn: a number below the one that it is told.
    pub fn resume(&self, draw: impl Fn(usize) -> usize) {
        let mut process = self.0.lock();
        process.is_paused = false;
        let mut woken = std::mem::take(&mut process.woken);
        drop(process);
        while !woken.is_empty() {
            woken.swap_remove(draw(woken.len())).wake();
        }
    }

    /// Whether the process is stopped.
    pub fn is_paused(&self) -> bool {
        self.0.lock().is_paused
    }

    /// What the process does inside somebody else's task: it takes no step while the process is stopped.
    pub async fn within<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            let mut process = self.0.lock();
            if process.is_paused {
                process.woken.push(context.waker().clone());
                return Poll::Pending;
            }
            drop(process);
            work.as_mut().poll(context)
        })
        .await
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let own = self.clone();
        let task = tokio::spawn(async move { own.within(task).await }).abort_handle();
        let mut process = self.0.lock();
        process.tasks.retain(|task| !task.is_finished());
        process.tasks.push(task.clone());
        task
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Task {
    /// Ends it.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runner {
    /// Tasks on the calling runtime.
    pub fn inline() -> Self {
        Self::Inline(Tasks::default())
    }

    /// Runs `work` without holding up the caller's task, unless inline.
    pub fn blocking(&self, work: impl FnOnce() + Send + 'static) {
        match self {
            Runner::Threads(handle) => drop(handle.spawn_blocking(move || {
                threads::works();
                work();
            })),
            Runner::Inline(_) => work(),
        }
    }

    /// The same of what also waits.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        match self {
            Runner::Threads(handle) => {
                let waiting = handle.clone();
                drop(handle.spawn_blocking(move || {
                    threads::works();
                    waiting.block_on(work);
                }));
            }
            Runner::Inline(tasks) => drop(tasks.spawn(work)),
        }
    }

    /// Runs a task that waits for the network; it ends when what is returned is dropped.
    pub fn task(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        match self {
            Runner::Threads(handle) => Task(handle.spawn(task).abort_handle()),
            Runner::Inline(tasks) => Task(tasks.spawn(task)),
        }
    }

    /// Runs a task that ends by itself.
    pub fn errand(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Runner::Threads(handle) => drop(handle.spawn(task)),
            Runner::Inline(tasks) => drop(tasks.spawn(task)),
        }
    }

    /// Runs a task that blocks now and then, for as long as it takes.
    pub fn dedicated(
        &self,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        self.on_thread(name, threads::works, task)
    }

    /// The same for a task that clients wait for.
    pub fn serving(
        &self,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        self.on_thread(name, threads::serves, task)
    }

    fn on_thread(
        &self,
        name: String,
        begin: fn(),
        task: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        match self {
            Runner::Threads(handle) => {
                let handle = handle.clone();
                let run = move || {
                    begin();
                    handle.block_on(task);
                };
                std::thread::Builder::new().name(name).spawn(run).map(drop)
            }
            Runner::Inline(tasks) => {
                tasks.spawn(task);
                Ok(())
            }
        }
    }
}
