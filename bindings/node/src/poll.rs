//! How Node's event loop watches the descriptor of a port that it drives: by a poll handle of libuv's.
//!
//! Node exports libuv to addons; other runtimes of JavaScript need not. So its functions are looked up, and where one
//! is missing there is no [`Poll`].
//!
//! Invariants:
//! - Everything here happens on the environment's thread.
//! - libuv has the handle until it has called [`closed`], and the environment does not end before.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::OnceLock;

use napi::bindgen_prelude::{Function, JsValue, Unknown};
use napi::{Env, sys};

/// `UV_POLL` of `uv_handle_type`.
const KIND: c_int = 8;
/// `UV_READABLE`.
const READABLE: c_int = 1;

type Handle = *mut c_void;
type Ready = unsafe extern "C" fn(Handle, c_int, c_int);
type Closed = unsafe extern "C" fn(Handle);

/// Functions of libuv's, as its header declares them.
#[derive(Clone, Copy)]
struct Libuv {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    poll_init: unsafe extern "C" fn(*mut sys::uv_loop_s, Handle, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(Handle, c_int, Ready) -> c_int,
    poll_stop: unsafe extern "C" fn(Handle) -> c_int,
    set_data: unsafe extern "C" fn(Handle, *mut c_void),
    get_data: unsafe extern "C" fn(Handle) -> *mut c_void,
    close: unsafe extern "C" fn(Handle, Closed),
    keep: unsafe extern "C" fn(Handle),
    release: unsafe extern "C" fn(Handle),
}

impl Libuv {
    /// Looked for once.
    fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Libuv>> = OnceLock::new();
        *FOUND.get_or_init(Self::look)
    }

    fn look() -> Option<Self> {
        // SAFETY: libuv has kept these signatures since 1.19, and its numbers since 1.0.
        unsafe {
            Some(Self {
                handle_size: function(c"uv_handle_size")?,
                poll_init: function(c"uv_poll_init")?,
                poll_start: function(c"uv_poll_start")?,
                poll_stop: function(c"uv_poll_stop")?,
                set_data: function(c"uv_handle_set_data")?,
                get_data: function(c"uv_handle_get_data")?,
                close: function(c"uv_close")?,
                keep: function(c"uv_ref")?,
                release: function(c"uv_unref")?,
            })
        }
    }
}

/// A function that the process has.
///
/// # Safety
///
/// `F` is a pointer to a function, and the one of this name is of that type.
#[cfg(unix)]
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a name that ends in NUL; for the rest the caller vouches.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (!found.is_null()).then(|| std::mem::transmute_copy(&found))
    }
}

#[cfg(not(unix))]
unsafe fn function<F: Copy>(_name: &CStr) -> Option<F> {
    None
}

/// Calls a function whenever a descriptor is readable. Dropped, it stops.
pub struct Poll {
    handle: Handle,
    libuv: Libuv,
    is_closing: Rc<Cell<bool>>,
}

/// What the handle's callbacks need.
struct Watch {
    env: sys::napi_env,
    on_ready: sys::napi_ref,
    hook: sys::napi_async_cleanup_hook_handle,
    layout: Layout,
    is_closing: Rc<Cell<bool>>,
}

impl Poll {
    /// Does not keep the environment alive by itself. `None` where there is no libuv, or it does not want the descriptor.
    pub fn start(env: &Env, fd: c_int, on_ready: &Function<'_, (), Unknown<'static>>) -> Option<Self> {
        let libuv = Libuv::find()?;
        let mut event_loop = null_mut();
        let mut reference = null_mut();
        let is_closing = Rc::new(Cell::new(false));
        // SAFETY: `env` is live and this is its thread. The handle has the size that libuv wants and stays where it is
        // until `closed`; what is freed before has not been given to libuv.
        unsafe {
            if sys::napi_get_uv_event_loop(env.raw(), &mut event_loop) != sys::Status::napi_ok {
                return None;
            }
            let layout = Layout::from_size_align((libuv.handle_size)(KIND), 16).ok()?;
            let handle: Handle = alloc(layout).cast();
            if handle.is_null() {
                return None;
            }
            if (libuv.poll_init)(event_loop, handle, fd) != 0 {
                dealloc(handle.cast(), layout);
                return None;
            }
            sys::napi_create_reference(env.raw(), on_ready.raw(), 1, &mut reference);
            let watch = Watch {
                env: env.raw(),
                on_ready: reference,
                hook: null_mut(),
                layout,
                is_closing: is_closing.clone(),
            };
            let watch = Box::into_raw(Box::new(watch));
            (libuv.set_data)(handle, watch.cast());
            sys::napi_add_async_cleanup_hook(env.raw(), Some(end), handle, &mut (*watch).hook);
            (libuv.poll_start)(handle, READABLE, ready);
            (libuv.release)(handle);
            Some(Self { handle, libuv, is_closing })
        }
    }

    /// Whether the environment is kept alive.
    pub fn keep_alive(&self, is_wanted: bool) {
        if !self.is_closing.get() {
            let change = if is_wanted { self.libuv.keep } else { self.libuv.release };
            // SAFETY: the handle is libuv's as long as it is not closing.
            unsafe { change(self.handle) };
        }
    }

    /// Watches no more. Before the descriptor is closed.
    pub fn stop(&self) {
        if !self.is_closing.replace(true) {
            // SAFETY: as above; it is closed once.
            unsafe {
                (self.libuv.poll_stop)(self.handle);
                (self.libuv.close)(self.handle, closed);
            }
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The descriptor is readable.
unsafe extern "C" fn ready(handle: Handle, _status: c_int, _events: c_int) {
    let Some(libuv) = Libuv::find() else { return };
    // SAFETY: libuv calls this on the environment's thread with a handle of ours that is not closing.
    unsafe {
        let watch = (libuv.get_data)(handle).cast::<Watch>();
        let (env, on_ready) = ((*watch).env, (*watch).on_ready);
        let (mut scope, mut global, mut function) = (null_mut(), null_mut(), null_mut());
        sys::napi_open_handle_scope(env, &mut scope);
        sys::napi_get_global(env, &mut global);
        sys::napi_get_reference_value(env, on_ready, &mut function);
        // Runs what the function has set off, too.
        let called = sys::napi_make_callback(env, null_mut(), global, function, 0, null(), null_mut());
        if called == sys::Status::napi_pending_exception {
            let mut exception = null_mut();
            sys::napi_get_and_clear_last_exception(env, &mut exception);
            sys::napi_fatal_exception(env, exception);
        }
        sys::napi_close_handle_scope(env, scope);
    }
}

/// The environment is about to end, and waits for `closed`.
unsafe extern "C" fn end(_hook: sys::napi_async_cleanup_hook_handle, handle: Handle) {
    let Some(libuv) = Libuv::find() else { return };
    // SAFETY: the hook is there until `closed` has been called, so the handle is.
    unsafe {
        let watch = (libuv.get_data)(handle).cast::<Watch>();
        if !(*watch).is_closing.replace(true) {
            (libuv.poll_stop)(handle);
            (libuv.close)(handle, closed);
        }
    }
}

/// libuv has no more use for the handle.
unsafe extern "C" fn closed(handle: Handle) {
    let Some(libuv) = Libuv::find() else { return };
    // SAFETY: the last use of the handle and of its data, by the environment's thread.
    unsafe {
        let watch = Box::from_raw((libuv.get_data)(handle).cast::<Watch>());
        sys::napi_delete_reference(watch.env, watch.on_ready);
        dealloc(handle.cast(), watch.layout);
        sys::napi_remove_async_cleanup_hook(watch.hook);
    }
}
