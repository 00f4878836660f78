//! What a command shows once, or with `--watch` again and again.

use std::time::Duration;

use serde_json::json;
use slotkv::Error;
use tokio::time::sleep;

use super::{
    explained, failure,
    output::{Output, Reading},
};
use crate::cli::flags::StatusFlags;

/// How often `--watch` looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Clears a terminal and goes to its first line.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

/// Looks, and shows what there is; with `--watch` until nobody reads any more. On a terminal every look is shown, else only
/// what is new. While nobody answers, the last answer stays and is followed by why.
pub(crate) async fn show<T: PartialEq>(
    flags: &StatusFlags,
    output: &mut Output,
    look: impl AsyncFn() -> Result<T, Error>,
    show: impl Fn(&T, bool, &mut Output) -> Reading,
) -> Reading {
    let as_json = flags.client.json;
    if !flags.watch {
        return show(&look().await.map_err(failure)?, as_json, output);
    }
    let redraws = output.is_terminal() && !as_json;
    let mut last = None;
    loop {
        let seen = look().await.map_err(|error| explained(&error));
        if redraws || last.as_ref() != Some(&seen) {
            if redraws {
                output.bytes(CLEAR)?;
            }
            let reads = match &seen {
                Ok(seen) => show(seen, as_json, output)?,
                Err(why) if as_json => output.line(&json!({ "error": why }).to_string())?,
                Err(why) => output.line(why)?,
            };
            if !reads || !output.flush()? {
                return Ok(false);
            }
            last = Some(seen);
        }
        sleep(INTERVAL).await;
    }
}
