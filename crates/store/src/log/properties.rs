//! What holds for every log, whatever is appended and wherever it is hurt.

use super::faulty_disk::FaultyDisk;
use super::format::Position;
use super::tests::{ID, SMALL, Seen, faulty, records};
use super::*;
use crate::NOT_POISONED;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append { body: usize, inline: usize },
    Put(usize),
    Sync,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..700, 0usize..300).prop_map(|(body, inline)| Step::Append { body, inline }),
        2 => (1usize..6000).prop_map(Step::Put),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A log after some steps.
struct Made {
    disk: Arc<FaultyDisk>,
    logs: Logs,
    expected: Seen,
    data: Vec<(Place, Vec<u8>)>,
    /// Records covered by the last sync.
    synced: usize,
    durable: Position,
}

fn make(steps: &[Step]) -> Made {
    let (disk, logs) = faulty(SMALL);
    let mut log = logs.create(ID, b"genesis", Durability::Durable).unwrap();
    let mut expected = vec![(b"genesis".to_vec(), Vec::new())];
    let (mut data, mut synced) = (Vec::new(), 1);
    for (n, step) in steps.iter().enumerate() {
        match *step {
            Step::Append { body, inline } => {
                let record = (vec![n as u8; body], vec![!n as u8; inline]);
                log.append(&record.0, &record.1).unwrap();
                expected.push(record);
            }
            Step::Put(len) => {
                let bytes = vec![n as u8; len];
                data.push((log.put_data(&bytes).unwrap(), bytes));
                log.append(b"names data", b"").unwrap();
                expected.push((b"names data".to_vec(), Vec::new()));
            }
            Step::Sync => {
                log.sync().unwrap();
                synced = expected.len();
            }
            Step::Reopen => {
                let head = log.head();
                drop(log);
                let seen;
                (log, _, seen) = records(&logs).unwrap();
                assert_eq!(seen, expected);
                assert_eq!(log.head(), head);
            }
        }
    }
    let durable = log.tail.lock().expect(NOT_POISONED).durable_log;
    Made { disk, logs, expected, data, synced, durable }
}

impl Made {
    fn path(&self, segment: u32) -> String {
        self.logs.files.path(ID, segment).display().to_string()
    }

    /// The log segments, with the number of their bytes.
    fn segments(&self) -> Vec<(u32, usize)> {
        let numbers = self.logs.files.numbers(ID).unwrap();
        let log = numbers.into_iter().filter(|number| number & Place::DATA == 0);
        log.map(|number| (number, self.disk.bytes(&self.logs.files.path(ID, number)).len())).collect()
    }

    /// Every position from the durable end on, or before it.
    fn positions(&self, is_durable: bool) -> Vec<Position> {
        let all = self
            .segments()
            .into_iter()
            .flat_map(|(segment, len)| (0..len as u32).map(move |offset| Position { segment, offset }));
        all.filter(|position| (*position < self.durable) == is_durable).collect()
    }
}

/// Opens a log at the last segment where it can be begun in the middle.
fn open_late(made: &Made) -> Result<Option<(Head, Seen)>, LogError> {
    for start in made.logs.segments(ID)?.into_iter().skip(1).rev() {
        let mut seen = Vec::new();
        let opened = made.logs.open_at(ID, start.number, &mut |record| {
            assert_eq!(record.seq, start.seq_before + 1 + seen.len() as u64);
            seen.push((record.body.to_vec(), record.inline.to_vec()));
            Ok(())
        })?;
        if let Some((log, _)) = opened {
            return Ok(Some((log.head(), seen)));
        }
    }
    Ok(None)
}

fn is_prefix_with_all_synced(made: &Made) -> Result<(), TestCaseError> {
    let late = open_late(made).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let (log, recovery, seen) =
        records(&made.logs).map_err(|error| TestCaseError::fail(error.to_string()))?;
    if let Some((head, late)) = late {
        prop_assert_eq!((head, recovery.cut_bytes), (log.head(), 0));
        prop_assert!(seen.ends_with(&late));
    }
    prop_assert!(seen.len() >= made.synced, "{} of {} synced", seen.len(), made.synced);
    prop_assert_eq!(&seen[..], &made.expected[..seen.len()]);
    log.append(b"more", b"").unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, recovery, again) = records(&made.logs).unwrap();
    prop_assert_eq!((again.len(), recovery.cut_bytes), (seen.len() + 1, 0));
    Ok(())
}

/// Number of random cases: `WEALD_CASES`, as everywhere.
fn cases() -> ProptestConfig {
    let cases = std::env::var("WEALD_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(64))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_appended_is_replayed(steps in steps()) {
        let made = make(&steps);
        let (_, recovery, seen) = records(&made.logs).unwrap();
        prop_assert_eq!(&seen, &made.expected);
        prop_assert_eq!(recovery.cut_bytes, 0);
        for (place, bytes) in &made.data {
            let mut buf = vec![0; bytes.len()];
            made.logs.read(*place, 0, &mut buf).unwrap();
            prop_assert_eq!(&buf, bytes);
        }
    }

    #[test]
    fn cutting_the_unsynced_tail_anywhere_keeps_a_prefix_with_all_that_was_synced(
        steps in steps(), pick in any::<prop::sample::Index>(),
    ) {
        let made = make(&steps);
        let positions = made.positions(false);
        prop_assume!(!positions.is_empty());
        let at = positions[pick.index(positions.len())];
        made.disk.change(&made.path(at.segment), |bytes| bytes.truncate(at.offset as usize));
        is_prefix_with_all_synced(&made)?;
    }

    #[test]
    fn zeros_or_rubbish_in_the_unsynced_tail_keep_a_prefix_with_all_that_was_synced(
        steps in steps(), pick in any::<prop::sample::Index>(), len in 1usize..600, byte in any::<u8>(),
    ) {
        let made = make(&steps);
        let positions = made.positions(false);
        prop_assume!(!positions.is_empty());
        let at = positions[pick.index(positions.len())];
        made.disk.change(&made.path(at.segment), |bytes| {
            let end = bytes.len().min(at.offset as usize + len);
            bytes[at.offset as usize..end].fill(byte);
        });
        is_prefix_with_all_synced(&made)?;
    }

    #[test]
    fn what_a_crash_leaves_of_the_unsynced_is_a_prefix(steps in steps()) {
        let made = make(&steps);
        made.disk.crash();
        is_prefix_with_all_synced(&made)?;
    }

    #[test]
    fn any_flipped_bit_before_the_last_claim_is_told_as_damage(
        steps in steps(), pick in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let made = make(&steps);
        let positions = made.positions(true);
        let at = positions[pick.index(positions.len())];
        made.disk.change(&made.path(at.segment), |bytes| bytes[at.offset as usize] ^= 1 << bit);
        let before: Vec<Vec<u8>> = made.segments().iter().map(|(n, _)| made.disk.bytes(Path::new(&made.path(*n)))).collect();
        if let Ok(Some((_, late))) = open_late(&made) {
            prop_assert!(made.expected.ends_with(&late), "the damage is in a segment that was not read");
        }
        let opened = records(&made.logs);
        prop_assert!(matches!(opened, Err(LogError::Damaged { .. })), "{at:?} {:?}", opened.map(|(_, recovery, _)| recovery));
        let after: Vec<Vec<u8>> = made.segments().iter().map(|(n, _)| made.disk.bytes(Path::new(&made.path(*n)))).collect();
        prop_assert_eq!(before, after, "a damaged log is not touched");
    }

    #[test]
    fn no_bytes_whatever_make_opening_panic(rubbish in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..400) {
        let made = make(&[Step::Append { body: 100, inline: 50 }, Step::Sync]);
        made.disk.change(&made.path(0), |bytes| {
            bytes.truncate(at);
            bytes.extend_from_slice(&rubbish);
        });
        let _ = records(&made.logs);
    }
}
