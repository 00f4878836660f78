//! Sweep: how far the next CLEAN goes.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use slotkv_migration::{Cursor, Sweep};
use slotkv_storage::Error;

use super::item::{self, Span};
use crate::replica::Replica;

/// Bytes of rows that one CLEAN deletes, as whoever applies it reads them for the slot's sums; one row it always deletes.
const BYTES_MAX: usize = 4 << 20;

impl Replica {
    /// The last item of a piece, and whether it is the last of all; then the name is empty. Everything before is applied.
    pub fn sweep(&self, sweep: &Sweep) -> Result<(Bytes, bool), Error> {
        let span = Span { after: sweep.after.clone(), upto: Cursor::End };
        let (mut count, mut bytes) = (0, 0);
        let mut last = Bytes::new();
        for &slot in &sweep.slots {
            for client in self.results_of(slot).map_or(Vec::new(), |results| results.clients()) {
                let name = item::of_client(slot, &client);
                if !span.has(&name) {
                    continue;
                }
                if count >= sweep.count_max.max(1) {
                    return Ok((last, false));
                }
                count += 1;
                last = name;
            }
            let bounds = span.rows(slot);
            let mut is_full = false;
            self.engine().scan(borrowed(&bounds), &mut |key, value| {
                if count >= sweep.count_max.max(1) || (bytes >= BYTES_MAX && count > 0) {
                    is_full = true;
                    return ControlFlow::Break(());
                }
                count += 1;
                bytes += key.len() + value.len();
                last = item::of_row(slot, key);
                ControlFlow::Continue(())
            })?;
            if is_full {
                return Ok((last, false));
            }
        }
        Ok((Bytes::new(), true))
    }
}

/// Bounds as the engine takes them.
pub(crate) fn borrowed((begin, end): &(Bound<Bytes>, Bound<Bytes>)) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (begin.as_ref().map(|key| &key[..]), end.as_ref().map(|key| &key[..]))
}
