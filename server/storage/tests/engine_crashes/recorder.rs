//! Recorder: runs programs and writes down, in order, every call that changes files under one folder or makes them
//! durable. It watches the system calls themselves (ptrace), since part of what an engine is built of does not go through
//! libc. Of these calls one at a time is let through, so that their order is the one in which they took effect.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    os::unix::{
        fs::{FileExt, MetadataExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

/// One call. Files and folders have numbers, which outlast their names; the folder itself is 0.
#[derive(Clone, Debug)]
pub enum Call {
    /// A file or folder was made.
    Link { dir: usize, name: String, id: usize, is_dir: bool },
    /// Another name in the same folder.
    Rename { dir: usize, from: String, to: String },
    /// A name was removed.
    Unlink { dir: usize, name: String },
    /// Bytes were written.
    Write { id: usize, offset: u64, bytes: Vec<u8> },
    /// A file was cut, or filled up with zeros.
    SetLen { id: usize, len: u64 },
    /// Contents of a file or names in a folder were made durable.
    Sync { id: usize },
}

/// What has been recorded.
pub struct Recorder {
    folder: PathBuf,
    pub calls: Vec<Call>,
    /// Numbers of what there is, by inode.
    ids: HashMap<u64, usize>,
    id_next: usize,
}

/// A call that has begun.
enum Begun {
    Open { path: PathBuf, is_new: bool, is_cut: bool },
    MakeDir { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
    Write { ino: u64, offset: u64, bytes: Vec<u8> },
    SetLen { ino: u64, len: u64 },
    Sync { ino: u64 },
}

/// Signals of system calls are told from others by this bit.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;
const OPTIONS: libc::c_int =
    libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;

impl Recorder {
    /// Records what happens in a folder, which is empty.
    pub fn new(folder: &Path) -> Self {
        let ino = fs::metadata(folder).expect("the folder is there").ino();
        Self { folder: folder.into(), calls: Vec::new(), ids: HashMap::from([(ino, 0)]), id_next: 1 }
    }

    /// Runs a program to its end; whether that was a success. An error is that it may not be watched.
    pub fn run(&mut self, command: &mut Command) -> io::Result<bool> {
        // SAFETY: one system call, which is safe between fork and exec.
        unsafe {
            command.pre_exec(|| checked(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop));
        }
        let child = command.spawn()?;
        let pid = child.id() as libc::pid_t;
        let mut busy: Option<(libc::pid_t, Begun)> = None;
        let mut waiting = VecDeque::new();
        let mut is_set_up = false;
        loop {
            let (thread, status) = wait();
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if thread == pid {
                    return Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
                }
                continue;
            }
            if !is_set_up {
                trace(libc::PTRACE_SETOPTIONS, thread, OPTIONS as usize);
                is_set_up = true;
            }
            match libc::WSTOPSIG(status) {
                SYSCALL_STOP => match syscall(thread) {
                    Stop::Entry(number, arguments) => match self.begin(thread, number, arguments) {
                        Some(_) if busy.is_some() => waiting.push_back((thread, number, arguments)),
                        begun => {
                            busy = busy.or(begun.map(|begun| (thread, begun)));
                            go_on(thread, 0);
                        }
                    },
                    Stop::Exit(result) => {
                        if let Some((_, begun)) = busy.take_if(|(owner, _)| *owner == thread) {
                            if result >= 0 {
                                self.end(begun, result as u64);
                            }
                            if let Some((thread, number, arguments)) = waiting.pop_front() {
                                busy = self.begin(thread, number, arguments).map(|begun| (thread, begun));
                                go_on(thread, 0);
                            }
                        }
                        go_on(thread, 0);
                    }
                },
                // Of the tracing itself, as when a thread begins.
                libc::SIGTRAP | libc::SIGSTOP => go_on(thread, 0),
                signal => go_on(thread, signal),
            }
        }
    }

    /// What a call is going to do, if it concerns the folder.
    fn begin(&self, thread: libc::pid_t, number: i64, arguments: [u64; 6]) -> Option<Begun> {
        let [a, b, c, d, ..] = arguments;
        let here = libc::AT_FDCWD as u64;
        let seen = Seen { thread, folder: &self.folder };
        match number {
            libc::SYS_open => seen.opened(here, a, b),
            libc::SYS_openat => seen.opened(a, b, c),
            libc::SYS_creat => seen.opened(here, a, (libc::O_CREAT | libc::O_TRUNC) as u64),
            libc::SYS_mkdir => Some(Begun::MakeDir { path: seen.path(here, a)? }),
            libc::SYS_mkdirat => Some(Begun::MakeDir { path: seen.path(a, b)? }),
            libc::SYS_rename => Some(Begun::Rename { from: seen.path(here, a)?, to: seen.path(here, b)? }),
            libc::SYS_renameat | libc::SYS_renameat2 => {
                Some(Begun::Rename { from: seen.path(a, b)?, to: seen.path(c, d)? })
            }
            libc::SYS_unlink | libc::SYS_rmdir => Some(Begun::Unlink { path: seen.path(here, a)? }),
            libc::SYS_unlinkat => Some(Begun::Unlink { path: seen.path(a, b)? }),
            libc::SYS_write => seen.written(a, None, vec![(b, c)]),
            libc::SYS_pwrite64 => seen.written(a, Some(d), vec![(b, c)]),
            libc::SYS_writev => seen.written(a, None, seen.slices(a, b, c)?),
            libc::SYS_ftruncate => Some(Begun::SetLen { ino: seen.file(a)?, len: b }),
            libc::SYS_fsync | libc::SYS_fdatasync => Some(Begun::Sync { ino: seen.file(a)? }),
            _ => None,
        }
    }

    /// Writes down a call that has succeeded.
    fn end(&mut self, begun: Begun, result: u64) {
        match begun {
            Begun::Open { path, is_new: true, .. } => self.link(&path, false),
            Begun::Open { path, is_cut: true, .. } => {
                let id = self.id(fs::metadata(&path).expect("it has been opened").ino());
                self.calls.push(Call::SetLen { id, len: 0 });
            }
            Begun::Open { .. } => {}
            Begun::MakeDir { path } => self.link(&path, true),
            Begun::Rename { from, to } => {
                let (dir, from) = self.name(&from);
                let (to_dir, to) = self.name(&to);
                assert_eq!(dir, to_dir, "{from} is renamed to {to} in another folder");
                self.calls.push(Call::Rename { dir, from, to });
            }
            Begun::Unlink { path } => {
                let (dir, name) = self.name(&path);
                self.calls.push(Call::Unlink { dir, name });
            }
            Begun::Write { ino, offset, mut bytes } => {
                bytes.truncate(result as usize);
                self.calls.push(Call::Write { id: self.id(ino), offset, bytes });
            }
            Begun::SetLen { ino, len } => self.calls.push(Call::SetLen { id: self.id(ino), len }),
            Begun::Sync { ino } => self.calls.push(Call::Sync { id: self.id(ino) }),
        }
    }

    fn link(&mut self, path: &Path, is_dir: bool) {
        let (dir, name) = self.name(path);
        let id = self.id_next;
        self.id_next += 1;
        // An inode's number may have been that of a file which is gone.
        self.ids.insert(fs::metadata(path).expect("it has been made").ino(), id);
        self.calls.push(Call::Link { dir, name, id, is_dir });
    }

    fn name(&self, path: &Path) -> (usize, String) {
        let parent = path.parent().expect("it is in the folder");
        let ino = fs::metadata(parent).expect("its folder is there").ino();
        (self.id(ino), path.file_name().and_then(|name| name.to_str()).expect("a name").into())
    }

    fn id(&self, ino: u64) -> usize {
        *self.ids.get(&ino).expect("what is in the folder was made there")
    }
}

/// Arguments of a thread that has stopped in a call.
struct Seen<'a> {
    thread: libc::pid_t,
    folder: &'a Path,
}

impl Seen<'_> {
    fn opened(&self, dir: u64, name: u64, flags: u64) -> Option<Begun> {
        let has = |flag: i32| flags & flag as u64 != 0;
        if !has(libc::O_CREAT) && !has(libc::O_TRUNC) {
            return None;
        }
        let path = self.path(dir, name)?;
        Some(Begun::Open { is_new: !path.exists(), is_cut: has(libc::O_TRUNC), path })
    }

    fn written(&self, file: u64, at: Option<u64>, slices: Vec<(u64, u64)>) -> Option<Begun> {
        let ino = self.file(file)?;
        let info = fs::read_to_string(self.proc(&format!("fdinfo/{file}"))).expect("an open file");
        let field = |name: &str| info.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()));
        let flags = i32::from_str_radix(field("flags:")?, 8).expect("flags are octal");
        let offset = if flags & libc::O_APPEND != 0 {
            fs::metadata(self.proc(&format!("fd/{file}"))).expect("an open file").len()
        } else {
            at.unwrap_or(field("pos:")?.parse().expect("a place is a number"))
        };
        let bytes = slices.into_iter().flat_map(|(from, count)| self.memory(from, count as usize)).collect();
        Some(Begun::Write { ino, offset, bytes })
    }

    fn slices(&self, file: u64, from: u64, count: u64) -> Option<Vec<(u64, u64)>> {
        self.file(file)?;
        let words: Vec<_> = self
            .memory(from, count as usize * 16)
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
            .collect();
        Some(words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// The inode of an open file or folder, if it is one of the folder's.
    fn file(&self, file: u64) -> Option<u64> {
        let link = self.proc(&format!("fd/{file}"));
        let path = fs::read_link(&link).ok()?;
        path.starts_with(self.folder).then(|| fs::metadata(&link).expect("an open file").ino())
    }

    fn path(&self, dir: u64, name: u64) -> Option<PathBuf> {
        let mut bytes = Vec::new();
        while !bytes.contains(&0) {
            // A page at a time, since the next one may not be there.
            let at = name + bytes.len() as u64;
            bytes.extend(self.memory(at, (4096 - at % 4096) as usize));
        }
        bytes.truncate(bytes.iter().position(|&byte| byte == 0)?);
        let name = PathBuf::from(String::from_utf8(bytes).ok()?);
        let path = if name.is_absolute() {
            name
        } else if dir as i32 == libc::AT_FDCWD {
            fs::read_link(self.proc("cwd")).ok()?.join(name)
        } else {
            fs::read_link(self.proc(&format!("fd/{}", dir as i32))).ok()?.join(name)
        };
        (path.starts_with(self.folder) && path != self.folder).then_some(path)
    }

    fn memory(&self, from: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let memory = fs::File::open(self.proc("mem")).expect("the memory of a traced process");
        let read = memory.read_at(&mut bytes, from).expect("what a call points to");
        assert_eq!(read, count);
        bytes
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.thread).into()
    }
}

enum Stop {
    Entry(i64, [u64; 6]),
    Exit(i64),
}

fn syscall(thread: libc::pid_t) -> Stop {
    // SAFETY: the structure is plain numbers, of which the system fills in as many as it is told; the union's part is the
    // one that `op` names.
    unsafe {
        let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
        let size = size_of_val(&info);
        let result = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, &raw mut info);
        checked(result).expect("a stopped thread tells its call");
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => Stop::Entry(info.u.entry.nr as i64, info.u.entry.args),
            libc::PTRACE_SYSCALL_INFO_EXIT => Stop::Exit(info.u.exit.sval),
            op => panic!("a stop of kind {op}"),
        }
    }
}

/// The next child of this thread that stopped or ended.
fn wait() -> (libc::pid_t, i32) {
    let mut status = 0;
    // SAFETY: a plain system call that fills in a number.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    checked(thread.into()).expect("there is a child");
    (thread, status)
}

fn go_on(thread: libc::pid_t, signal: i32) {
    trace(libc::PTRACE_SYSCALL, thread, signal as usize);
}

fn trace(request: libc::c_uint, thread: libc::pid_t, data: usize) {
    // SAFETY: a plain system call on a stopped child; no request here touches our memory.
    let result = unsafe { libc::ptrace(request, thread, 0, data) };
    match checked(result) {
        Ok(_) => {}
        // It has been killed meanwhile, as threads are when their process ends.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        Err(error) => panic!("ptrace: {error}"),
    }
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
