//! What a log record holds. A record that decodes is the same after it has been encoded again.

use bytes::Bytes;
use slotkv_storage::{LogRecord, SlotRow};

pub fn run(bytes: &[u8]) {
    let Ok(record) = LogRecord::from_bytes(Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(LogRecord::from_bytes(record.to_bytes()).expect("it had been decoded"), record);
    if let Ok(row) = SlotRow::decode(&record.slot_row) {
        assert_eq!(SlotRow::decode(&row.encode()).expect("it had been decoded"), row);
    }
}
