//! Moving content to the store of chunks, wherever it is cut: every place reads as before.

use crate::home::{Home, Step};
use std::sync::Arc;
use weald_engine::moving::MovedAmount;
use weald_engine::needed::{NeededChunks, is_missing};
use weald_engine::seal::SealError;
use weald_engine::{Placed, Shared, Workspace};
use weald_model::{Errno, Result, SnapshotId};

/// Cuts that fit no write.
const CUT_BYTES: u64 = 7_000;

/// Moves what the present shows of its own log. Some of it is left to be cut by the engine.
pub(crate) fn move_present(workspace: &Arc<Workspace>) -> Result<MovedAmount> {
    workspace.move_content(&locate(workspace)?, &|| false, &|work| work())
}

/// Seals a snapshot, unless that was done, and moves what it shows.
pub(crate) fn seal_and_move(workspace: &Arc<Workspace>, id: SnapshotId) -> Result<()> {
    let failed = |error: SealError| error.errno();
    if workspace.seal(id, &|_| true).map_err(failed)?.is_some() {
        let mut placed = Vec::new();
        workspace.sealed_places(id, &mut |one| placed.push(one)).map_err(failed)?;
        workspace.move_content(&placed, &|| false, &|work| work())?;
    }
    Ok(())
}

/// Drops what neither sealed snapshots nor logs need.
pub(crate) fn drop_chunks(shared: &Arc<Shared>, all: &[Arc<Workspace>]) -> Result<u64> {
    let alone = shared.chunks().alone().ok_or(Errno::Busy)?;
    let mut needed = NeededChunks::default();
    for workspace in all {
        workspace.sync()?;
        for snapshot in workspace.snapshots() {
            let owner = all.iter().find(|one| one.id() == snapshot.point.log);
            let is_listed = owner.is_some_and(|one| one.snapshots().iter().any(|own| own.id == snapshot.id));
            match snapshot.seal.map_or(Ok(()), |seal| needed.sealed(shared, &seal)) {
                // Of a fork of a past that listed it still.
                Err(error) if is_missing(&error) && !is_listed => {}
                sealed => sealed.unwrap(),
            }
        }
        needed.moved(shared, workspace.id(), &*shared.given_back_of(workspace.id())?)?;
    }
    let dropped = alone.retain(&|hash| needed.has(hash));
    shared.forget_read();
    dropped.map_err(|error| error.errno())
}

/// Puts the present's own data into the store of chunks, but for each fifth cut.
fn locate(workspace: &Workspace) -> Result<Vec<Placed>> {
    let shared = workspace.shared();
    let mut runs = Vec::new();
    workspace.now_past().data(&mut |place, skip, len| runs.push((place, skip, len)));
    let mut writer = shared.chunks().writer();
    let mut placed = Vec::new();
    for (place, skip, len) in runs.into_iter().filter(|(place, _, _)| place.log == workspace.id()) {
        let mut at = 0;
        while at < len {
            let mut bytes = vec![0; CUT_BYTES.min(len - at) as usize];
            shared.read_log(place, skip + at, &mut bytes)?;
            if (skip + at) / CUT_BYTES % 5 != 4 {
                let chunk = writer.put(&bytes).map_err(|error| error.errno())?;
                let len = bytes.len() as u64;
                placed.push(Placed { place, skip: skip + at, len, chunk, offset: 0 });
            }
            at += bytes.len() as u64;
        }
    }
    writer.finish().map_err(|error| error.errno())?;
    Ok(placed)
}

#[test]
fn moved_content_reads_as_before_and_its_log_gives_the_space_back() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.take(&Step::Write { stem: 0, file: 1, offset: 0, len: 19_000 });
    home.take(&Step::Write { stem: 0, file: 1, offset: 3_000, len: 5_000 });
    home.take(&Step::Fork { stem: 0 });
    let moved = home.move_content(0).unwrap();
    assert_eq!(moved.entries, 3);
    assert!(moved.freed_bytes >= 32_768, "{moved:?}");
    home.check();
    assert_eq!(home.problems(), Vec::<String>::new());
    assert_eq!(home.move_content(0).unwrap(), MovedAmount::default(), "there is nothing left to move");
    home.take(&Step::Restart);
    home.check();
    assert_eq!(home.problems(), Vec::<String>::new());
}

#[test]
fn what_the_caller_says_wrongly_is_not_moved() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.take(&Step::Write { stem: 0, file: 1, offset: 0, len: 20_000 });
    let workspace = home.stem(0).clone();
    let placed = locate(&workspace).unwrap();
    let wrong: Vec<Placed> = placed
        .iter()
        .map(|run| Placed { chunk: placed[placed.len() - 1].chunk, ..*run })
        .chain([Placed { chunk: [9; 32], ..placed[0] }, Placed { skip: 19_999, len: u64::MAX, ..placed[0] }])
        .collect();
    assert_eq!(workspace.move_content(&wrong, &|| false, &|work| work()).unwrap(), MovedAmount::default());
    home.check();
}

#[test]
fn a_damaged_chunk_is_named_and_its_content_is_never_served() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.move_content(0).unwrap();
    home.check();
    home.damage_chunks();
    assert_eq!(home.problems().len(), 1, "also when it was read before: {:?}", home.problems());
    let workspace = home.stem(0).clone();
    let ino = workspace.lookup(weald_model::Ino::ROOT, b"f0").unwrap().ino;
    assert_eq!(workspace.read(ino, 0, 20_000, &mut Vec::new()), Err(Errno::Io));
}

/// Space is given back for good when nothing reaches what was moved: the chunks of it are not named any more.
#[test]
fn moved_content_that_nothing_reaches_is_given_back_like_any() {
    let mut home = Home::new();
    for _ in 0..3 {
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
        home.move_content(0).unwrap();
    }
    let old = home.points(0)[1];
    assert_eq!(home.gc(0, u64::MAX, |_| ()), Ok(0), "its space was given back when it was moved");
    assert_eq!(home.stem(0).past(old).map(drop), Err(Errno::Stale));
    home.check();
    assert_eq!(home.problems(), Vec::<String>::new());
}

#[test]
fn no_failure_and_power_cut_while_content_is_moved_loses_any() {
    for (call, seed) in (0..24).flat_map(|call| (0..12).map(move |seed| (call, seed))) {
        let mut home = Home::new();
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
        home.take(&Step::Write { stem: 0, file: 1, offset: 0, len: 9_000 });
        home.take(&Step::Sync { stem: 0 });
        home.take(&Step::MoveCrash { stem: 0, call, seed });
        home.take(&Step::Move { stem: 0 });
        assert_eq!(home.problems(), Vec::<String>::new(), "call {call}, seed {seed}");
    }
}

/// The commit that follows a sync could not be written, which a sync need not tell; who then makes holes in data must.
#[test]
fn a_commit_that_could_not_be_written_is_not_taken_for_durable() {
    for (call, seed) in (8..24).flat_map(|call| (0..40).map(move |seed| (call, seed))) {
        let mut home = Home::new();
        home.take(&Step::Restart);
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 9_113 });
        home.take(&Step::Move { stem: 0 });
        home.take(&Step::Restart);
        home.take(&Step::Snapshot { stem: 0 });
        home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 7_161 });
        home.take(&Step::Drop { stem: 0, which: 0 });
        home.take(&Step::MoveCrash { stem: 0, call, seed });
    }
}

/// A snapshot keeps what it shows in the store of chunks, until it is dropped; the space comes back then.
#[test]
fn chunks_of_a_dropped_snapshot_go_and_those_of_others_stay() {
    let mut home = Home::new();
    for file in 0..2 {
        home.take(&Step::Write { stem: 0, file, offset: 0, len: 20_000 });
        home.take(&Step::Snapshot { stem: 0 });
        home.take(&Step::Seal { stem: 0, which: file });
        home.take(&Step::Write { stem: 0, file, offset: 0, len: 20_000 });
    }
    assert_eq!(home.drop_chunks(), Ok(0), "all are needed");
    home.check();
    home.take(&Step::Drop { stem: 0, which: 0 });
    home.gc(0, u64::MAX, |_| ()).unwrap();
    assert!(home.drop_chunks().unwrap() > 0);
    home.check();
    home.take(&Step::Drop { stem: 0, which: 0 });
    // The second snapshot had moved what the present showed of it.
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.gc(0, u64::MAX, |_| ()).unwrap();
    home.drop_chunks().unwrap();
    home.check();
    let workspace = home.stem(0).clone();
    assert_eq!(workspace.shared().chunks().disk_bytes().unwrap().1, 0, "nothing is left");
    assert_eq!(home.problems(), Vec::<String>::new());
}

#[test]
fn what_a_sealed_snapshot_shows_is_moved() {
    let mut home = Home::new();
    home.take(&Step::Write { stem: 0, file: 0, offset: 0, len: 20_000 });
    home.take(&Step::Snapshot { stem: 0 });
    let workspace = home.stem(0).clone();
    let id = workspace.snapshots()[0].id;
    assert!(workspace.has_data_to_move(id).unwrap());
    seal_and_move(&workspace, id).unwrap();
    assert!(workspace.shared().moved_bytes(workspace.id()).unwrap() >= 12_288);
    assert!(!workspace.has_data_to_move(id).unwrap());
    home.check();
}
