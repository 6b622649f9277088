//! Ways in for `crates/fuzz`, to what reads bytes and is no part of the interface.
//!
//! Invariant: nothing here is part of the program, and each function says what must hold of what was read by a panic.

use crate::config::ConfigFile;
use crate::conversions::table::Table;
use crate::protocol::{Envelope, Line};
use crate::upload_pack::Talk;
use crate::{anchor, fsmonitor, hold, wire};
use std::path::Path;

/// What git sends to `weald-upload-pack`.
pub fn packets(bytes: &[u8]) {
    let mut talk = Talk { input: bytes, output: Vec::new() };
    let mut heard = 0;
    while let Ok(Some(lines)) = talk.hear() {
        heard += lines.iter().map(Vec::len).sum::<usize>();
    }
    assert!(heard <= bytes.len(), "no line is longer than what was sent");
}

/// Lines over the control socket in both directions, and between daemon and supervisor.
pub fn control(bytes: &[u8]) {
    let mut input = bytes;
    while let Ok(Some(envelope)) = wire::receive::<Envelope>(&mut input) {
        let mut again = Vec::new();
        wire::send(&mut again, &envelope).expect("a request can be sent");
        assert!(matches!(wire::receive::<Envelope>(&mut &*again), Ok(Some(_))));
    }
    let mut input = bytes;
    while let Ok(Some(_)) = wire::receive::<Line>(&mut input) {}
    hold::fuzz(bytes);
}

/// The file of settings. One that is taken is taken again as it is written.
pub fn config(text: &str) {
    let file = ConfigFile::new(Path::new("/home"));
    if let Ok(document) = file.parsed(text) {
        assert!(file.parsed(&document.to_string()).is_ok());
    }
}

/// Words that name a state: of anchors and of git's fsmonitor.
pub fn tokens(text: &str) {
    if let Some((id, head)) = anchor::parse(text) {
        assert_eq!(anchor::parse(&anchor::word(id, &head)), Some((id, head)));
    }
    if let Some(since) = fsmonitor::parse(text) {
        assert_eq!(fsmonitor::parse(&fsmonitor::text(since)), Some(since));
    }
}

/// The table of a tree whose files are converted.
pub fn conversions(bytes: &[u8]) {
    if let Some(table) = Table::parse(bytes) {
        let again = table.to_bytes();
        assert_eq!(Table::parse(&again).map(|table| table.to_bytes()), Some(again));
    }
}
