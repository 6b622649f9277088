//! Verifying the log of a workspace: what its records say is compared with the bytes they speak of.
//!
//! Invariant: nothing is loaded, cut or written, so a damaged log can be verified as well as a right one.
//! Read next: `weald_store::log::verify`, which recomputes checksums and chain.

use crate::Shared;
use crate::record::{Change, Record, Stored};
use crate::workspace::{Origin, Workspace};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use weald_model::WorkspaceId;
use weald_store::log::reclaim::Pieces;
use weald_store::log::verify::{Amount, Expected, Gone, Named, Problem, Report};
use weald_store::log::{self as store, Head, LogError, Place};

/// What verifying a log found out.
#[derive(Debug)]
pub struct VerifiedLog {
    /// Number of the last record.
    pub last: u64,
    /// What its first record says; None when that is damaged.
    pub origin: Option<Origin>,
    /// Stored files that records name, and the first record that does.
    pub stored: BTreeMap<[u8; 32], u64>,
    /// Records that say a snapshot was sealed.
    pub sealed: u64,
    /// How much was looked at.
    pub amount: Amount,
}

/// Recomputes everything about a log from its bytes: frames, chain, records, and the data they name.
///
/// Blocks on the disk; takes no lock of a workspace, but for `expected.live`.
pub fn verify_log(
    shared: &Shared,
    id: WorkspaceId,
    expected: &Expected<'_>,
    report: &mut Report<'_>,
) -> Result<VerifiedLog, LogError> {
    let mut seen = Seen {
        id,
        origin: None,
        named: Vec::new(),
        gone: Pieces::default(),
        stored: BTreeMap::new(),
        sealed: 0,
        given_up: BTreeSet::new(),
    };
    let frames = shared.logs.verify_frames(id, expected, &mut |record| seen.record(record), report)?;
    let begin = shared.logs.begin(id).ok().flatten();
    if let Some(begin) = begin {
        if !seen.given_up.contains(&(begin.head.seq, begin.head.chain)) {
            let what = format!("no record says that those up to {} were given up", begin.head.seq);
            report(Problem { file: shared.logs.begin_path(id), offset: 0, what });
        }
        seen.origin = Workspace::origin(shared, id).ok();
    }
    let Seen { origin, mut named, mut gone, stored, sealed, .. } = seen;
    // Moving makes holes in data segments.
    let _none_is_moved = shared.moving.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(all) = shared.given_back_of(id) {
        // Records behind those that are looked at may have given back what these name.
        gone = Pieces::clone(&all);
    }
    let moved = shared.moved_of(id).map(|moved| moved.pieces()).unwrap_or_default();
    let skipped: Pieces = gone.iter().chain(moved.iter()).collect();
    let skipped: Vec<Gone> =
        skipped.iter().map(|piece| (piece.file, piece.from..=piece.to.saturating_sub(1))).collect();
    let mut amount = frames.amount;
    amount += shared.logs.verify_data(id, &mut named, frames.data_end, &skipped, report)?;
    // What is in memory says nothing of the disk.
    shared.forget_read();
    for named in named {
        let Place { file, offset, .. } = named.place;
        if gone.at(file, offset).is_none() && moved.at(file, offset).is_some() {
            amount += verify_moved(shared, &named, report);
        }
    }
    Ok(VerifiedLog { last: frames.last, origin, stored, sealed, amount })
}

/// Reads what a record wrote from where it is by now, and compares its hash.
fn verify_moved(shared: &Shared, named: &Named, report: &mut Report<'_>) -> Amount {
    const STEP_BYTES: usize = 1 << 20;
    let Named { place, len, hash, seq } = *named;
    let mut hasher = blake3::Hasher::new();
    let mut buf = Vec::new();
    let mut at = 0;
    while at < u64::from(len) {
        buf.resize(STEP_BYTES.min((u64::from(len) - at) as usize), 0);
        if shared.read_log(place, at, &mut buf).is_err() {
            break;
        }
        hasher.update(&buf);
        at += buf.len() as u64;
    }
    let what = match at < u64::from(len) {
        true => Some(format!(
            "data that record {seq} wrote was moved to the store of chunks, and cannot be read there"
        )),
        false if hasher.finalize() != hash => {
            Some(format!("the data in the store of chunks is not what record {seq} wrote"))
        }
        false => None,
    };
    if let Some(what) = what {
        report(Problem { file: shared.logs.path(place), offset: place.offset, what });
    }
    Amount { objects: 1, bytes: at }
}

impl Workspace {
    /// The end of its log: the number of the last record, and the hash over everything up to it.
    pub fn head(&self) -> Head {
        self.log.head()
    }
}

/// What the records of a log say.
struct Seen {
    id: WorkspaceId,
    origin: Option<Origin>,
    named: Vec<Named>,
    gone: Pieces,
    stored: BTreeMap<[u8; 32], u64>,
    sealed: u64,
    /// Records that were given up, and the chain behind them.
    given_up: BTreeSet<(u64, [u8; 32])>,
}

impl Seen {
    fn record(&mut self, stored: store::Record<'_>) -> Result<(), String> {
        let seq = stored.seq;
        let record = Record::decode(stored.body)
            .map_err(|malformed| format!("record {seq} cannot be understood: {}", malformed.0))?;
        if (seq == 1) != matches!(record.change, Change::Origin { .. }) {
            return Err(format!("record {seq} says what the workspace is, or does not where it must"));
        }
        match record.change {
            Change::Write { len, stored: Stored::Inline, .. } => {
                let is_same = stored.inline.len() == len as usize;
                is_same.then_some(()).ok_or_else(|| format!("the data is not what record {seq} wrote"))
            }
            Change::Write { len, stored: Stored::At { place, hash }, .. } => {
                if place.log != self.id || place.file & Place::DATA == 0 {
                    return Err(format!("record {seq} wrote to another log"));
                }
                self.named.push(Named { place, len, hash, seq });
                Ok(())
            }
            Change::Reclaimed { pieces } => {
                pieces.iter().for_each(|piece| self.gone.add(*piece));
                Ok(())
            }
            Change::GivenUp { last, chain } => {
                self.given_up.insert((last, chain));
                Ok(())
            }
            Change::Sealed { .. } => {
                self.sealed += 1;
                Ok(())
            }
            Change::Attach { hash, .. } => {
                self.stored.entry(hash).or_insert(seq);
                Ok(())
            }
            Change::Origin { .. } => {
                self.origin = crate::workspace::read_origin(stored.body).map(|(origin, _)| origin);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
