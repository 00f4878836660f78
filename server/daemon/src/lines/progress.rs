//! A progress bar on stderr, for people only: where stderr is no terminal nothing is drawn.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{bar:30} {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  eta {eta}";
const BYTES_OPEN: &str = "{spinner} {bytes}  {msg}  {bytes_per_sec}";
const ITEMS: &str = "{bar:30} {human_pos}/{human_len}  {msg}  {per_sec}  eta {eta}";
const ITEMS_OPEN: &str = "{spinner} {human_pos}  {msg}  {per_sec}";

/// A bar over `length` bytes, or without an end if it is not known.
pub(crate) fn bytes(length: Option<u64>) -> ProgressBar {
    bar(length, BYTES, BYTES_OPEN)
}

/// A bar over `length` items, or without an end if it is not known.
pub(crate) fn items(length: Option<u64>) -> ProgressBar {
    bar(length, ITEMS, ITEMS_OPEN)
}

fn bar(length: Option<u64>, closed: &str, open: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if length.is_some() { closed } else { open };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Prints a line above the bar, or as a line of its own if nothing is drawn.
pub(crate) fn say<'a>(bar: &ProgressBar, line: impl Into<Cow<'a, str>>) {
    let line = line.into();
    bar.suspend(|| eprintln!("{line}"));
}
