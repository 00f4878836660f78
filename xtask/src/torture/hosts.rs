//! Hosts of their own on one machine: a network namespace each, joined by a bridge in another. No namespace and no mount
//! here has a name outside: the kernel removes them with the last process in them, and every process gets SIGKILL when
//! its parent dies, so nothing is left behind however xtask ends.

use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Outcome, process};

/// What cuts links: packets from the addresses of this set do not arrive.
const CUTS: &str = "\
table inet torture {
    set cut { type ipv4_addr; }
    chain input {
        type filter hook input priority 0;
        ip saddr @cut drop
    }
    chain resets { type filter hook input priority 1; }
}
table ip torture_links {
    chain redirects { type nat hook prerouting priority -100; }
}
";

/// A network namespace with one address.
pub struct Host {
    pub name: String,
    pub address: Ipv4Addr,
    namespace: File,
}

/// All hosts and the bridge between them.
pub struct Network {
    _hub: File,
    pub hosts: Vec<Host>,
}

/// Gives this thread, and those that it starts, mounts of their own; they end with it.
pub fn own_mounts() -> Outcome<()> {
    // SAFETY: system calls on this thread alone; the strings are constants.
    let failed = unsafe {
        libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS) != 0
            || libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) != 0
    };
    if failed {
        return Err(format!("no mounts of our own: {}", io::Error::last_os_error()).into());
    }
    Ok(())
}

/// A disk of so many bytes, in memory.
pub fn mount_disk(folder: &Path, bytes: u64) -> Outcome<()> {
    std::fs::create_dir_all(folder)?;
    let options = format!("size={bytes}");
    process::run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "torture"]).arg(folder))
}

impl Network {
    /// Makes a host for each name.
    pub fn new(names: &[String]) -> Outcome<Self> {
        let hub = namespace()?;
        let mut wires = "link add bridge type bridge\nlink set bridge up\n".to_owned();
        let mut hosts = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let namespace = namespace()?;
            let way = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
            wires += &format!("link add w{at} type veth peer name eth0 netns {way}\n");
            wires += &format!("link set w{at} master bridge up\n");
            let address = Ipv4Addr::new(10, 77, 0, u8::try_from(at + 1)?);
            hosts.push(Host { name: name.clone(), address, namespace });
        }
        feed(enter(&mut Command::new("ip"), &hub).args(["-batch", "-"]), &wires)?;
        for host in &hosts {
            let address = format!("addr add {}/24 dev eth0\n", host.address);
            let up = "link set lo up\nlink set eth0 up\n";
            feed(host.command("ip").args(["-batch", "-"]), &(address + up))?;
            host.nft(CUTS)?;
        }
        Ok(Self { _hub: hub, hosts })
    }

    /// Cuts or mends the way from one host to another; the way back stays as it is.
    pub fn cut(&self, from: usize, to: usize, is_cut: bool) -> Outcome<()> {
        let verb = if is_cut { "add" } else { "delete" };
        let from = self.hosts[from].address;
        self.hosts[to].nft(&format!("{verb} element inet torture cut {{ {from} }}\n"))
    }
}

impl Host {
    /// A program that will run on this host, and not longer than its parent.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        enter(&mut command, &self.namespace);
        command
    }

    /// Has a program run on this host, and not longer than its parent.
    pub fn place(&self, command: &mut Command) {
        enter(command, &self.namespace);
    }

    /// Runs `work` on this host.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Outcome<T> {
        let namespace = self.namespace.as_raw_fd();
        let ran = std::thread::scope(|scope| {
            let thread = scope.spawn(move || -> io::Result<T> {
                // SAFETY: a system call on this thread alone, with a descriptor that outlives it.
                if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(work())
            });
            thread.join()
        });
        Ok(ran.map_err(|_| "a thread panicked")??)
    }

    /// Feeds rules to this host's packet filter.
    pub fn nft(&self, rules: &str) -> Outcome<()> {
        feed(self.command("nft").args(["-f", "-"]), rules)
    }
}

/// A new network namespace, as long as the descriptor is open or anything is in it.
fn namespace() -> Outcome<File> {
    let made = std::thread::spawn(|| -> io::Result<File> {
        // SAFETY: a system call on this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        File::open("/proc/thread-self/ns/net")
    });
    let made = made.join().map_err(|_| "a thread panicked")?;
    Ok(made.map_err(|error| format!("no network namespace: {error}"))?)
}

fn enter<'a>(command: &'a mut Command, namespace: &File) -> &'a mut Command {
    let (parent, namespace) = (std::process::id(), namespace.as_raw_fd());
    // SAFETY: only system calls that are safe between fork and exec, with a descriptor that is open in the parent.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() as u32 != parent {
                libc::raise(libc::SIGKILL);
            }
            if libc::setns(namespace, libc::CLONE_NEWNET) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        })
    }
}

fn feed(command: &mut Command, text: &str) -> Outcome<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", process::shown(command)))?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let ended = child.wait_with_output()?;
    if let (true, Some(Ok(()))) = (ended.status.success(), written) {
        return Ok(());
    }
    Err(format!("{}: {}\n{text}", process::shown(command), String::from_utf8_lossy(&ended.stderr)).into())
}
