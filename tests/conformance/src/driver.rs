//! A driver as a child process: steps in, answers out, in bounded time.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use crate::step::Step;

/// Longest wait for one answer; a step's own deadline is far shorter.
pub const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A running driver. Dropped, its process is killed.
pub struct Driver {
    name: String,
    child: Child,
    steps: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Driver {
    /// Starts a driver; `command` has its arguments already. Its standard error is ours.
    pub fn start(name: &str, mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let steps = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, steps, answers })
    }

    /// The surface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Carries out a step.
    pub fn carry_out(&mut self, step: &Step) -> io::Result<String> {
        self.begin(step)?;
        self.answer(step)
    }

    /// Hands a step over.
    pub fn begin(&mut self, step: &Step) -> io::Result<()> {
        let steps = self.steps.as_mut().ok_or_else(|| io::Error::other("it was finished"))?;
        steps.write_all(step.line().as_bytes())?;
        steps.write_all(b"\n")?;
        steps.flush()
    }

    /// What came of the step that was handed over.
    pub fn answer(&mut self, step: &Step) -> io::Result<String> {
        self.answers.recv_timeout(ANSWER_MAX).map_err(|error| {
            let why = match error {
                mpsc::RecvTimeoutError::Timeout => "no answer",
                mpsc::RecvTimeoutError::Disconnected => "it ended",
            };
            io::Error::other(format!("{}: {why} at `{}`", self.name, shortened(&step.line())))
        })
    }

    /// Ends it: no more steps, and it must leave in good order.
    pub fn finish(mut self) -> io::Result<()> {
        drop(self.steps.take());
        // Its output ends when it does.
        match self.answers.recv_timeout(ANSWER_MAX) {
            Err(mpsc::RecvTimeoutError::Disconnected) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(io::Error::other(format!("{}: does not end", self.name)));
            }
            Ok(line) => {
                return Err(io::Error::other(format!("{}: {line:?} that nobody asked for", self.name)));
            }
        }
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: {status}", self.name))) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It has ended, or it does now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(200).collect()
}
