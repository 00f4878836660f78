//! How a host's event loop is woken: a descriptor that it watches, or a function that it gives.

/// Wakes a host. Called from the runtime's thread; must return soon and must not call back into slotkv.
pub trait Wake: Send + Sync + 'static {
    /// Makes the host drain its queue, soon and at least once.
    fn wake(&self);

    /// Called by the host's own thread as it begins to drain: what was signalled so far has been seen.
    fn clear(&self) {}
}

/// Wakes by calling a function.
pub struct Callback<F>(pub F);

impl<F: Fn() + Send + Sync + 'static> Wake for Callback<F> {
    fn wake(&self) {
        (self.0)()
    }
}

/// Wakes by making a descriptor readable: an eventfd where there is one, else a pipe. The descriptor is closed when
/// the signal is dropped; a host takes it out of its event loop before.
#[cfg(unix)]
pub struct Signal {
    read: std::os::fd::OwnedFd,
    /// A pipe's other end; an eventfd has one only.
    write: Option<std::os::fd::OwnedFd>,
}

#[cfg(unix)]
impl Signal {
    /// A signal that has not been given.
    pub fn new() -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::FromRawFd;
            // SAFETY: plain system call without pointers.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            // SAFETY: the descriptor was just made and nobody else owns it.
            Ok(Self { read: unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }, write: None })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let (read, write) = std::os::unix::net::UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok(Self { read: read.into(), write: Some(write.into()) })
        }
    }

    /// The descriptor to watch for reading.
    pub fn fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsRawFd;
        self.read.as_raw_fd()
    }
}

#[cfg(unix)]
impl Wake for Signal {
    fn wake(&self) {
        use std::os::fd::AsRawFd;
        let fd = self.write.as_ref().unwrap_or(&self.read).as_raw_fd();
        let one = 1u64.to_ne_bytes();
        // A full eventfd or pipe refuses the write; then the descriptor is readable already.
        // SAFETY: eight bytes from a live buffer to a descriptor that we own.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }

    fn clear(&self) {
        let mut seen = [0u8; 512];
        // SAFETY: `seen` has room for what is read, and the descriptor is ours and does not block.
        while unsafe { libc::read(self.fd(), seen.as_mut_ptr().cast(), seen.len()) } == seen.len() as isize {}
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn readable(signal: &Signal) -> bool {
        let mut poll = libc::pollfd { fd: signal.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, live for the call, no wait.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no poll")]
    fn a_signal_given_many_times_is_cleared_at_once() {
        let signal = Signal::new().unwrap();
        assert!(!readable(&signal));
        for _ in 0..1000 {
            signal.wake();
        }
        assert!(readable(&signal));
        signal.clear();
        assert!(!readable(&signal));
        signal.wake();
        assert!(readable(&signal));
    }
}
