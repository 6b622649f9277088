//! Where a log begins whose first segments were given up: the file `begin` beside its segments.
//!
//! It says which segment is the first, what number and chain the log had there, what was durable, and, for the log's user,
//! whatever is needed to do without the records before. Invariants: the file is there, whole and durable, before the first
//! segment goes; segments before the one it names do not count, whether they are there or not; without the file, a missing
//! segment is damage. Who walks over segments keeps them from going meanwhile ([`Files::reading`]).
//! Read next: docs/format.md, "Records that were given up".

use super::files::Files;
use super::format::{Commit, HEADER_BYTES, Place, Position, u32_at, u64_at};
use super::recovery::segment_header;
use super::segments::last_commit;
use super::{Head, Log, LogError, Logs};
use crate::disk::{OpenMode, read_exact_at};
use crate::publish::publish;
use std::sync::{PoisonError, TryLockError};
use weald_model::WorkspaceId;

/// The file's name.
pub(super) const NAME: &str = "begin";
const MAGIC: [u8; 8] = *b"WEALDBG\0";
const VERSION: u32 = 1;
/// Bytes before the user's.
const FIXED_BYTES: usize = 100;
const HASH_BYTES: usize = 32;
/// Most bytes of the user's: far over a first record and a few hashes.
const USER_BYTES_MAX: usize = 2 << 20;

/// Where a log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Its first segment.
    pub segment: u32,
    /// The last record before that, and the chain there.
    pub head: Head,
    /// Where the segment before ended.
    pub end_before: u64,
    /// What was durable there, of the log and of data segments.
    durable: (Position, Position),
    /// What the log's user wants to know of the records before.
    pub user: Vec<u8>,
}

impl Begin {
    /// What the commit says that ended the segment before.
    pub(super) fn commit(&self) -> Commit {
        Commit { durable_log: self.durable.0, durable_data: self.durable.1, chain: self.head.chain }
    }

    fn encode(&self, log: WorkspaceId) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        for number in
            [log.0, self.head.seq, self.end_before, self.durable.0.to_u64(), self.durable.1.to_u64()]
        {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.head.chain);
        bytes.extend_from_slice(&(self.user.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        debug_assert_eq!(bytes.len(), FIXED_BYTES, "what comes before the user's bytes");
        bytes.extend_from_slice(&self.user);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// The inner error is a newer version, or None: the bytes are not what was written.
    fn decode(bytes: &[u8], log: WorkspaceId) -> Result<Self, Option<u32>> {
        let end = bytes.len().checked_sub(HASH_BYTES).filter(|end| *end >= FIXED_BYTES).ok_or(None)?;
        if bytes[..8] != MAGIC || *blake3::hash(&bytes[..end]).as_bytes() != bytes[end..] {
            return Err(None);
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(Some(u32_at(bytes, 8)));
        }
        let is_its = u64_at(bytes, 16) == log.0 && u64_at(bytes, 88) == (end - FIXED_BYTES) as u64;
        let begin = Self {
            segment: u32_at(bytes, 12),
            head: Head { seq: u64_at(bytes, 24), chain: bytes[56..88].try_into().map_err(|_| None)? },
            end_before: u64_at(bytes, 32),
            durable: (Position::from_u64(u64_at(bytes, 40)), Position::from_u64(u64_at(bytes, 48))),
            user: bytes[FIXED_BYTES..end].to_vec(),
        };
        if is_its && begin.head.seq < u64::MAX && begin.segment > 0 && begin.segment & Place::DATA == 0 {
            Ok(begin)
        } else {
            Err(None)
        }
    }
}

/// Where a log begins; None for one that has all its segments.
pub(super) fn read(files: &Files, id: WorkspaceId) -> Result<Option<Begin>, LogError> {
    let path = files.log_dir(id).join(NAME);
    let file = match files.disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("opening", &path)(error)),
    };
    let damaged = |why| LogError::Damaged { file: path.clone(), offset: 0, why };
    let len = file.len().map_err(LogError::io("reading", &path))?;
    if len > (FIXED_BYTES + USER_BYTES_MAX + HASH_BYTES) as u64 {
        return Err(damaged("it is too long to say where a log begins"));
    }
    let mut bytes = vec![0; len as usize];
    read_exact_at(&*file, &mut bytes, 0).map_err(LogError::io("reading", &path))?;
    Begin::decode(&bytes, id).map(Some).map_err(|version| match version {
        Some(version) => LogError::Version { file: path.clone(), version },
        None => damaged("it does not say where the log begins"),
    })
}

impl Logs {
    /// Where a log begins; None for one that has all its segments.
    pub fn begin(&self, id: WorkspaceId) -> Result<Option<Begin>, LogError> {
        read(&self.files, id)
    }

    /// The file that says where a log begins.
    pub fn begin_path(&self, id: WorkspaceId) -> std::path::PathBuf {
        self.files.log_dir(id).join(NAME)
    }

    /// Bytes of disk of the log segments before `segment`.
    pub fn bytes_before(&self, id: WorkspaceId, segment: u32) -> Result<u64, LogError> {
        let files = &*self.files;
        let mut bytes = 0;
        for number in before(files, id, segment)? {
            let file = files.open(id, number, OpenMode::Read)?;
            bytes += file.allocated_bytes().map_err(LogError::io("reading", &files.path(id, number)))?;
        }
        Ok(bytes)
    }
}

impl Log {
    /// True when a segment follows the first there ever was.
    pub fn is_long(&self) -> bool {
        self.lock_tail().at.segment > 0
    }

    /// The last record before a segment, and the chain there; None when there is no such segment.
    pub fn head_before(&self, segment: u32) -> Result<Option<Head>, LogError> {
        let header = segment_header(&self.files, self.id, segment)?;
        Ok(header.map(|header| Head { seq: header.seq_before, chain: header.chain_before }))
    }

    /// Has the log begin with `segment`: those before it go, for good. `user` is kept instead of them. The caller has made
    /// sure that nobody will need them, and had the log settled. False, and nothing done, while somebody reads segments.
    /// At any crash the log is whole, with or without them.
    pub fn begin_at(&self, segment: u32, user: Vec<u8>) -> Result<bool, LogError> {
        let (files, id) = (&*self.files, self.id);
        let _nobody_reads = match files.reading.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        let no_segment = || LogError::Damaged {
            file: files.path(id, segment),
            offset: 0,
            why: "the log cannot begin here: the segment before it was not ended",
        };
        let header = segment_header(files, id, segment)?.ok_or_else(no_segment)?;
        let commit = last_commit(files, id, &header)?.ok_or_else(no_segment)?;
        let durable = self.lock_tail().durable_log;
        if segment == 0 || durable < (Position { segment, offset: HEADER_BYTES as u32 }) {
            return Err(no_segment());
        }
        let begin = Begin {
            segment,
            head: Head { seq: header.seq_before, chain: header.chain_before },
            end_before: header.end_before,
            durable: (commit.durable_log, commit.durable_data),
            user,
        };
        let dir = files.log_dir(id);
        let path = dir.join(NAME);
        publish(&*files.disk, &files.dir, &dir, NAME, &begin.encode(id))
            .map_err(LogError::io("writing", &path))?;
        sweep(files, id, segment).map(|()| true)
    }

    /// Removes segments before the one the log begins with: what a crash left of them.
    pub fn sweep_before_begin(&self) -> Result<(), LogError> {
        let Some(begin) = read(&self.files, self.id)? else { return Ok(()) };
        let _reading = self.files.reading.read().unwrap_or_else(PoisonError::into_inner);
        sweep(&self.files, self.id, begin.segment)
    }
}

fn sweep(files: &Files, id: WorkspaceId, segment: u32) -> Result<(), LogError> {
    let gone = before(files, id, segment)?;
    if gone.is_empty() {
        return Ok(());
    }
    files.forget(id);
    for number in gone {
        let path = files.path(id, number);
        files.disk.remove_file(&path).map_err(LogError::io("removing", &path))?;
    }
    let dir = files.log_dir(id);
    files.disk.sync_dir(&dir).map_err(LogError::io("syncing", &dir))
}

fn before(files: &Files, id: WorkspaceId, segment: u32) -> Result<Vec<u32>, LogError> {
    let mut numbers = files.numbers(id)?;
    numbers.retain(|number| *number < segment);
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::faulty_disk::FaultyDisk;
    use crate::log::tests::{ID, SMALL, faulty};
    use crate::log::verify::{Expected, Problem};
    use std::path::Path;
    use std::sync::Arc;

    /// A settled log of many segments.
    fn long() -> (Arc<FaultyDisk>, Logs, Log) {
        let (disk, logs) = faulty(SMALL);
        let log = logs.create(ID, b"genesis", crate::log::Durability::Durable).unwrap();
        for number in 0..100u8 {
            log.append(&[number; 300], b"inline").unwrap();
            if number % 10 == 0 {
                log.put_data(&[number; 2000]).unwrap();
            }
        }
        log.settle().unwrap();
        (disk, logs, log)
    }

    type Seen = Vec<(u64, Vec<u8>)>;

    fn open(logs: &Logs) -> Result<(Head, Seen), LogError> {
        let mut seen = Vec::new();
        let (log, _) = logs.open(ID, &mut |record| {
            seen.push((record.seq, record.body.to_vec()));
            Ok(())
        })?;
        Ok((log.head(), seen))
    }

    fn problems(logs: &Logs, heads: Vec<(Head, String)>) -> Vec<Problem> {
        let mut found = Vec::new();
        let expected = Expected { heads, ..Expected::default() };
        logs.verify_frames(ID, &expected, &mut |_| Ok(()), &mut |problem| found.push(problem)).unwrap();
        found
    }

    #[test]
    fn a_log_whose_first_segments_went_is_the_rest_of_it() {
        let (_disk, logs, log) = long();
        let early = log.head_before(1).unwrap().unwrap();
        let starts = logs.segments(ID).unwrap();
        let start = starts[starts.len() / 2];
        let head = log.head();
        drop(log);
        let (_, all) = open(&logs).unwrap();
        let log = logs.open(ID, &mut |_| Ok(())).unwrap().0;
        let taken = logs.bytes_before(ID, start.number).unwrap();
        let bytes = logs.bytes(ID).unwrap();
        log.settle().unwrap();
        assert!(log.begin_at(start.number, b"of the user".to_vec()).unwrap());
        assert!(taken > 0 && logs.bytes(ID).unwrap() < bytes);
        assert_eq!(logs.segments(ID).unwrap()[0], start);
        let begin = logs.begin(ID).unwrap().unwrap();
        assert_eq!((begin.head.seq, &begin.user[..]), (start.seq_before, &b"of the user"[..]));
        log.append(b"more", b"").unwrap();
        let head_now = log.head();
        log.sync().unwrap();
        drop(log);
        let (reopened, rest) = open(&logs).unwrap();
        assert_eq!(reopened, head_now);
        assert_eq!(rest[..rest.len() - 1], all[start.seq_before as usize..]);
        let mut late = Vec::new();
        let last = logs.segments(ID).unwrap()[1];
        let (log, _) = logs
            .open_at(ID, last.number, &mut |record| {
                late.push(record.seq);
                Ok(())
            })
            .unwrap()
            .unwrap();
        assert_eq!((log.head(), late[0]), (head_now, last.seq_before + 1));
        let mut read = Vec::new();
        logs.reader(ID)
            .read_until(u64::MAX, &mut |record| {
                read.push(record.seq);
                Ok(())
            })
            .unwrap();
        assert_eq!((read[0], *read.last().unwrap()), (start.seq_before + 1, head_now.seq));
        logs.make_durable(ID).unwrap();
        // A head of what went can be compared with nothing; one behind it can.
        assert_eq!(problems(&logs, vec![(early, "before".to_owned()), (head, "behind".to_owned())]), []);
        let wrong = Head { chain: [7; 32], ..head };
        assert_eq!(problems(&logs, vec![(wrong, "another".to_owned())]).len(), 1);
    }

    #[test]
    fn without_the_file_that_says_so_or_with_a_damaged_one_missing_segments_are_damage() {
        let (disk, logs, log) = long();
        log.begin_at(2, Vec::new()).unwrap();
        drop(log);
        let path = logs.files.log_dir(ID).join(NAME);
        let bytes = disk.bytes(&path);
        for at in 0..bytes.len() {
            disk.change(path.to_str().unwrap(), |bytes| bytes[at] ^= 1);
            assert!(matches!(open(&logs), Err(LogError::Damaged { .. })), "byte {at}");
            assert!(!problems(&logs, Vec::new()).is_empty());
            disk.change(path.to_str().unwrap(), |bytes| bytes[at] ^= 1);
        }
        open(&logs).unwrap();
        let header = logs.files.path(ID, 2).display().to_string();
        disk.change(&header, |bytes| bytes[50] ^= 1);
        assert!(matches!(open(&logs), Err(LogError::Damaged { .. })));
        disk.change(&header, |bytes| bytes[50] ^= 1);
        crate::disk::Disk::remove_file(&*disk, Path::new(&path)).unwrap();
        assert!(matches!(open(&logs), Err(LogError::Damaged { .. })));
    }

    #[test]
    fn segments_stay_while_somebody_reads_them() {
        let (_disk, logs, log) = long();
        let mut tried = None;
        logs.replay_until(ID, 5, &mut |_| {
            tried = Some(log.begin_at(2, Vec::new()).unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(tried, Some(false));
        assert_eq!(logs.begin(ID).unwrap(), None);
        assert!(log.begin_at(2, Vec::new()).unwrap());
    }
}
