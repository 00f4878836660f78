//! Running and ending programs. A child dies with xtask, and xtask ends what it started by process id.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Outcome;

/// Longest time that a server may take to leave after SIGTERM, before SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a failed program's log that are shown.
const LOG_TAIL_BYTES: u64 = 6_000;

/// Runs `command` with its output on the terminal; an error if it fails.
pub fn run(command: &mut Command) -> Outcome<()> {
    let status = tied(command).status().map_err(|error| cannot_start(command, &error))?;
    succeeded(command, status)
}

/// Runs `command` and gives what it wrote to stdout; stderr goes to the terminal.
pub fn output(command: &mut Command) -> Outcome<Vec<u8>> {
    let out =
        tied(command).stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    succeeded(command, out.status)?;
    Ok(out.stdout)
}

/// Whether `command` can be started and succeeds; its output goes nowhere.
pub fn works(command: &mut Command) -> bool {
    tied(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `command` behind a spinner that shows its last line; everything goes to the log file, whose end is shown if
/// the command fails.
pub fn logged(label: &str, log: &Path, command: &mut Command) -> Outcome<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = File::create(log)?;
    let spinner = spinner(label);
    let start = Instant::now();
    let mut child = tied(command)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(line) = last_line(log) {
            spinner.set_message(line);
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    spinner.finish_and_clear();
    if status.success() {
        eprintln!("{label}: {:.1} s", start.elapsed().as_secs_f64());
        return Ok(());
    }
    eprintln!("{}", tail(log));
    Err(format!("{label} failed ({status}); all of its output is in {}", log.display()).into())
}

/// A program that runs beside xtask until [`Server::stop`] or until the value is dropped.
pub struct Server {
    child: Child,
    /// Lines of its stdout.
    lines: Receiver<String>,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts `command`; stderr goes to `log`.
    pub fn start(name: &str, log: &Path, command: &mut Command) -> Outcome<Self> {
        Self::spawn(name, log, tied(command))
    }

    /// The same, but the program goes on when xtask ends.
    pub fn start_detached(name: &str, log: &Path, command: &mut Command) -> Outcome<Self> {
        Self::spawn(name, log, command.process_group(0))
    }

    fn spawn(name: &str, log: &Path, command: &mut Command) -> Outcome<Self> {
        if let Some(dir) = log.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()
            .map_err(|error| cannot_start(command, &error))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, name: name.to_owned(), log: log.to_owned() })
    }

    /// The rest of the first stdout line that starts with `prefix`.
    pub fn await_line(&mut self, prefix: &str, timeout: Duration) -> Outcome<String> {
        let end = Instant::now() + timeout;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(reason) => {
                    let why = match reason {
                        mpsc::RecvTimeoutError::Timeout => format!("within {} s", timeout.as_secs()),
                        mpsc::RecvTimeoutError::Disconnected => "before it ended".to_owned(),
                    };
                    return Err(format!(
                        "{} did not print {prefix:?} {why}; its log:\n{}",
                        self.name,
                        tail(&self.log)
                    )
                    .into());
                }
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its stderr goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Outcome<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits; SIGKILL after a while. Returns whether it left by itself with success.
    pub fn stop(&mut self) -> Outcome<bool> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status.success());
        }
        // SAFETY: plain system call on the id of a child that has not been waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let end = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("xtask: {} did not leave within {} s of SIGTERM", self.name, STOP_TIMEOUT.as_secs());
        self.kill()?;
        Ok(false)
    }

    /// Lets it run on after xtask has ended.
    pub fn leave_running(self) {
        std::mem::forget(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("xtask: {}: {error}", self.name);
        }
    }
}

/// A spinner with a label, on a terminal only.
pub fn spinner(label: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
        spinner.set_style(style);
    }
    spinner.set_prefix(label.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// A bar with a label, on a terminal only.
pub fn bar(label: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) =
        ProgressStyle::with_template("  {prefix} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar
}

/// The end of a log file.
pub fn tail(log: &Path) -> String {
    read_tail(log, LOG_TAIL_BYTES).unwrap_or_default()
}

fn last_line(log: &Path) -> Option<String> {
    let text = read_tail(log, 400)?;
    text.split(['\n', '\r']).map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

fn read_tail(log: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes))).ok()?;
    let mut tail = Vec::new();
    file.take(bytes).read_to_end(&mut tail).ok()?;
    Some(String::from_utf8_lossy(&tail).into_owned())
}

/// Makes the child get SIGTERM when xtask dies, so that nothing is left behind.
pub fn tied(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: only system calls that are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            if libc::getppid() as u32 != parent {
                libc::raise(libc::SIGTERM);
            }
            Ok(())
        })
    }
}

fn succeeded(command: &Command, status: ExitStatus) -> Outcome<()> {
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", shown(command)).into()) }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().to_string_lossy())
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
