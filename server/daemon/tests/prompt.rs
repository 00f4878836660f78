//! The shell at a terminal: prompt, history, completion, Ctrl-C, and what a person sees of the other commands.
#![cfg(unix)]

mod support;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{FromRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use support::{Server, slotkv};

/// How long a terminal may stay silent before the test gives up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A program at a terminal.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let (mut master, mut slave) = (0, 0);
        let (name, termios, size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: both pointers are to integers, the null ones are allowed.
        assert_eq!(unsafe { libc::openpty(&mut master, &mut slave, name, termios, size) }, 0);
        // SAFETY: openpty has just made them, nobody else has them.
        let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = command.spawn().unwrap();
        drop(command);
        let keyboard = File::from(master.try_clone().unwrap());
        let (to, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut screen = File::from(master);
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if to.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        drop(slave);
        Self { child, keyboard, screen, shown: String::new() }
    }

    fn press(&mut self, keys: impl AsRef<[u8]>) {
        self.keyboard.write_all(keys.as_ref()).unwrap();
    }

    /// Waits until this is shown behind what was waited for before.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(SILENCE_MAX) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} was not shown, but {:?}", self.shown),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_at_the_prompt_is_helped_and_not_thrown_out() {
    let dev = Server::dev(&[]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = slotkv();
    command.args(["shell", "--uri", &dev.uri]).env("XDG_STATE_HOME", folder.path());
    let mut terminal = Terminal::start(command);
    terminal.wait_for("slotkv> ");
    terminal.press("put user:one \"a b\"\r");
    terminal.wait_for("created");
    terminal.wait_for("slotkv> ");
    terminal.press("ge\tus\t\r");
    terminal.wait_for("\"a b\"");
    terminal.wait_for("slotkv> ");
    terminal.press("get \"half a li\x03");
    terminal.wait_for("slotkv> ");
    terminal.press("fly\r");
    terminal.wait_for("unknown command");
    terminal.wait_for("slotkv> ");
    terminal.press("ns other\r");
    terminal.wait_for("slotkv other> ");
    terminal.press("\x1b[A\x1b[A\x1b[A\r");
    terminal.wait_for("not found");
    terminal.wait_for("slotkv other> ");
    terminal.press(b"get caf\xff");
    terminal.wait_for("no UTF-8");
    terminal.wait_for("up to Enter> ");
    // What is left of that line is no command.
    terminal.press("put dropped by-mistake\r");
    terminal.wait_for("slotkv other> ");
    terminal.press("has dropped\r");
    terminal.wait_for("no\r\n");
    terminal.wait_for("slotkv other> ");
    terminal.press("\x04");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    let history = std::fs::read_to_string(folder.path().join("slotkv/history")).unwrap();
    assert!(history.contains("put user:one \"a b\"\n") && history.contains("fly\n"), "{history}");
}

#[test]
fn values_and_progress_are_made_for_people() {
    let dev = Server::dev(&[]);
    dev.run(&["put", "k", "v"]).expect(0);
    let mut terminal = Terminal::start(dev.command(&["get", "k"]));
    terminal.wait_for("v\r\n");
    let mut terminal = Terminal::start(dev.command(&["bench", "--records", "3000", "--operations", "3000"]));
    terminal.wait_for("/3,000  load");
    terminal.wait_for("run: 3000 operations");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
}
