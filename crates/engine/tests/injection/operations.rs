//! What is interrupted: each operation as the daemon does it, step by step, each step acknowledged.

use crate::scene::{FORK, NEW, OLD, Scene, USER};
use std::sync::Arc;
use weald_engine::needed::NeededChunks;
use weald_engine::reach::Reach;
use weald_engine::{Occasion, OpenError, Workspace};
use weald_model::{Errno, Ino, SnapshotId, WorkspaceId};
use weald_store::log::LogError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Snapshot,
    Restore,
    RestorePaths,
    Undo,
    Redo,
    Drop,
    Tag,
    Fork,
    ForkAt,
    GiveBack,
    Write,
    Remove,
    Seal,
    Move,
    DropChunks,
    GiveUp,
}

type Done = Result<Option<Arc<Workspace>>, Errno>;

impl Operation {
    /// What must have been done before.
    pub(crate) fn prepare(self, scene: &mut Scene) {
        let own = scene.own();
        match self {
            Operation::Redo => drop(own.undo(&USER).unwrap().unwrap()),
            Operation::GiveBack => {
                let large = own.lookup(Ino::ROOT, b"large").unwrap().ino;
                own.write(&USER, large, 0, &[12; 40_000]).unwrap();
                own.drop_snapshot(&USER, NEW).unwrap();
            }
            Operation::Move => seal(own, NEW).unwrap(),
            Operation::GiveUp => prepare_giving_up(scene),
            Operation::DropChunks => {
                seal(own, OLD).unwrap();
                seal(own, NEW).unwrap();
                own.drop_snapshot(&USER, OLD).unwrap();
            }
            _ => {}
        }
    }

    /// The workspace it makes next.
    pub(crate) fn child(self, scene: &Scene) -> Option<WorkspaceId> {
        matches!(self, Operation::Fork | Operation::ForkAt).then(|| WorkspaceId(scene.next() + 1))
    }

    /// Does it. `step` is told after each step whose effect was acknowledged as durable.
    pub(crate) fn run(self, scene: &mut Scene, step: &mut dyn FnMut(&Scene)) -> Done {
        let made = self.do_steps(scene, step)?;
        step(scene);
        Ok(made)
    }

    fn do_steps(self, scene: &mut Scene, step: &mut dyn FnMut(&Scene)) -> Done {
        let fresh = scene.fresh();
        let own = scene.own().clone();
        let point = |id| {
            let listed = own.snapshots().into_iter().find(|listed| listed.id == id);
            listed.map(|listed| listed.point).ok_or(Errno::NotFound)
        };
        match self {
            Operation::Snapshot => {
                let tags = ["tag".to_owned()];
                own.snapshot(&USER, SnapshotId(fresh), "note", &tags, Occasion::Asked)?;
            }
            Operation::Restore | Operation::RestorePaths => {
                let old = own.past(point(OLD)?)?;
                own.snapshot(&USER, SnapshotId(fresh), "before", &[], Occasion::BeforeRestore)?;
                step(scene);
                let paths = [b"dir".to_vec(), b"large".to_vec()];
                own.restore(&USER, &old, if self == Operation::Restore { &[] } else { &paths })?;
            }
            Operation::Undo => drop(own.undo(&USER)?),
            Operation::Redo => drop(own.redo(&USER)?),
            Operation::Drop => own.drop_snapshot(&USER, OLD)?,
            Operation::Tag => own.tag(&USER, NEW, &["other".to_owned(), "more".to_owned()])?,
            Operation::Fork | Operation::ForkAt => {
                let id = WorkspaceId(fresh);
                let made = match self {
                    Operation::Fork => own.fork(id, b"child"),
                    _ => own.fork_at(point(OLD)?, id, b"child"),
                };
                let made = made.map_err(|error| refused(&error))?;
                made.sync()?;
                return Ok(Some(made));
            }
            Operation::GiveBack => drop(give_back(scene)?),
            Operation::Write => {
                let ino = own.lookup(Ino::ROOT, b"large")?.ino;
                own.write(&USER, ino, 1_000, &[13; 30_000])?;
            }
            Operation::Seal => {
                // The second is made from the first.
                seal(&own, OLD)?;
                own.sync()?;
                step(scene);
                seal(&own, NEW)?;
            }
            Operation::Move => {
                let mut placed = Vec::new();
                own.sealed_places(NEW, &mut |one| placed.push(one)).map_err(|error| error.errno())?;
                own.move_content(&placed, &|| false, &|work| work())?;
            }
            Operation::DropChunks => drop_chunks(&own)?,
            Operation::GiveUp => {
                drop(own);
                give_up(scene)?;
                return Ok(None);
            }
            Operation::Remove => {
                scene.fork = None;
                match scene.logs.remove(FORK) {
                    Ok(()) | Err(LogError::Missing(_)) => {}
                    Err(error) => return Err(error.errno()),
                }
            }
        }
        own.sync()?;
        Ok(None)
    }
}

fn give_back(scene: &Scene) -> Result<u64, Errno> {
    let family: Vec<Arc<Workspace>> = [scene.own()].into_iter().chain(&scene.fork).cloned().collect();
    // Of the run before, if it was interrupted.
    family.iter().try_for_each(|workspace| workspace.finish_giving_back())?;
    let mut reach = Reach::begin(family.clone(), |_| true);
    for workspace in &family {
        workspace.snapshots().iter().for_each(|listed| reach.point(listed.point));
    }
    reach.finish().map_err(|error| refused(&error))?.give_back()
}

/// Many small writes, a sealed snapshot behind them, and a fork of that instead of the one from before.
fn prepare_giving_up(scene: &mut Scene) {
    scene.fork = None;
    scene.logs.remove(FORK).unwrap();
    let own = scene.own().clone();
    let small = own.lookup(Ino::ROOT, b"small").unwrap().ino;
    for number in 0..16u64 {
        own.write(&USER, small, number * 350, &[number as u8; 500]).unwrap();
    }
    let floor = SnapshotId(3);
    own.snapshot(&USER, floor, "floor", &[], Occasion::Asked).unwrap();
    for id in [OLD, NEW, floor] {
        seal(&own, id).unwrap();
    }
    let fork = own.fork(FORK, b"fork").unwrap();
    fork.sync().unwrap();
    scene.fork = Some(fork);
    assert!(own.shared().given_up(own.id()).unwrap().is_none());
}

fn give_up(scene: &Scene) -> Result<(), Errno> {
    let family: Vec<Arc<Workspace>> = [scene.own()].into_iter().chain(&scene.fork).cloned().collect();
    family.iter().try_for_each(|workspace| workspace.finish_giving_back())?;
    let mut reach = Reach::begin(family.clone(), |_| true);
    for workspace in &family {
        workspace.snapshots().iter().for_each(|listed| reach.snapshot(listed));
        reach.point(workspace.present());
    }
    let shortening = reach.shorten(scene.own())?;
    let unreached = reach.finish().map_err(|error| refused(&error))?;
    if let Some(shortening) = shortening {
        assert!(unreached.give_up(&shortening, &|work| work())?.is_some(), "nobody reads");
    }
    scene.own().sync()?;
    let is_given_up = scene.own().shared().given_up(scene.own().id())?.is_some();
    assert!(is_given_up, "the first segments are no longer in the log");
    Ok(())
}

fn seal(workspace: &Workspace, id: SnapshotId) -> Result<(), Errno> {
    workspace.seal(id, &|_| true).map(drop).map_err(|error| error.errno())
}

fn drop_chunks(workspace: &Workspace) -> Result<(), Errno> {
    let shared = workspace.shared();
    let alone = shared.chunks().alone().ok_or(Errno::Busy)?;
    let mut needed = NeededChunks::default();
    workspace.sync()?;
    for seal in workspace.snapshots().iter().filter_map(|listed| listed.seal) {
        needed.sealed(shared, &seal).map_err(|error| error.errno())?;
    }
    needed.moved(shared, workspace.id(), &*shared.given_back_of(workspace.id())?)?;
    let dropped = alone.retain(&|hash| needed.has(hash));
    shared.forget_read();
    dropped.map(drop).map_err(|error| error.errno())
}

fn refused(error: &OpenError) -> Errno {
    match error {
        OpenError::Log(error) => error.errno(),
        OpenError::Past(errno) => *errno,
        _ => Errno::Io,
    }
}
