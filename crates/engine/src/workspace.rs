//! One workspace, loaded: opening, forking, and the one way to change it.
//!
//! Lock order (docs/locks.md): state, then the log's own. Reads take the state shared; a change takes it
//! exclusively, is checked, appended to the log, and applied. Content is read and large writes are stored without
//! any lock. The public file operations are in [`names`](crate::names), [`files`](crate::files) and
//! [`attributes`](crate::attributes).

use crate::audit::News;
use crate::base::Base;
use crate::flush::Stream;
use crate::history::Point;
use crate::kept::RECORDS_BETWEEN;
use crate::opening::{self, Opened};
use crate::programs::{Author, ProgramName, ProgramNumbers};
use crate::record::{Change, Record, Root};
use crate::requests::Requests;
use crate::room;
use crate::state::{At, State};
use crate::{Shared, StatFs, Summary};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use weald_model::{Attr, Caller, Errno, Ino, Oid, Result, Timestamp, WorkspaceId};
use weald_store::log::{Appended, Durability, Log, LogError};

/// Why a workspace could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log, or that of a workspace it was forked from.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record that cannot be understood or does not fit: number, whose log, why.
    #[error("record {0} of log {1} cannot be applied: {2}")]
    Record(u64, WorkspaceId, String),
    /// A fork whose starting point its parent lost in a power cut: nothing of the fork was ever durable.
    #[error("workspace {0} was forked from {1} just before a power cut, which lost its starting point")]
    Unrooted(WorkspaceId, WorkspaceId),
    /// The past that a fork was to start from.
    #[error("the state to fork from cannot be had: {0}")]
    Past(Errno),
}

/// What the first record of a log says: enough to rebuild the registry's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Tree of the base; None for an empty base.
    pub tree: Option<Oid>,
    /// Owner of base files.
    pub uid: u32,
    /// Group of base files.
    pub gid: u32,
    /// For a fork, its parent and the parent's record it starts behind.
    pub parent: Option<(WorkspaceId, u64)>,
    /// The daemon's own description, opaque to the engine.
    pub note: Vec<u8>,
    /// When it was made.
    pub time: Timestamp,
}

/// A loaded workspace. Cheap to share; all operations take `&self`.
pub struct Workspace {
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: Base,
    pub(crate) log: Log,
    id: WorkspaceId,
    /// The logs it starts from and how far, the nearest last.
    lineage: Vec<Point>,
    opened_from: Option<u64>,
    state: RwLock<State>,
    /// Set when a logged change could not be applied, so memory and log differ, or when a parent's log could not be
    /// made durable, so its part on disk is unknown: nothing more is accepted until it is opened again.
    broken: AtomicBool,
    /// Set from the first change after a sync.
    dirty: AtomicBool,
    /// Large data since the last sync.
    stream: Stream,
    /// The numbers programs have in this log. Taken while the state is held exclusively.
    programs: Mutex<ProgramNumbers>,
    pub(crate) news: News,
    /// What the last requests that are in the log did, from when it was opened.
    requests: Mutex<Requests>,
    /// Logs this one starts from, until they are known to be durable: a durable fork needs durable parents.
    unsynced_parents: Mutex<Vec<Parent>>,
    /// Shared while data is put and the record that names it appended: taken exclusively, it waits for these.
    pub(crate) putting: RwLock<()>,
    me: Weak<Workspace>,
}

/// What a workspace begins with when it is loaded.
struct Begun {
    state: State,
    programs: ProgramNumbers,
    lineage: Vec<Point>,
    parents: Vec<Parent>,
    requests: Requests,
    /// The record of the sealed snapshot that was begun with.
    from: Option<u64>,
}

/// A log another one starts from.
#[derive(Clone)]
enum Parent {
    /// Still loaded: its own group commit makes it durable.
    Loaded(Arc<Workspace>),
    /// Only on disk.
    Stored(WorkspaceId),
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Workspace {
    /// Makes a workspace on `base`. `note` goes into the first record. Durable after [`Workspace::sync`].
    pub fn create(
        shared: Arc<Shared>,
        id: WorkspaceId,
        base: Base,
        note: &[u8],
    ) -> std::result::Result<Arc<Self>, OpenError> {
        let (uid, gid) = base.owner();
        let (tree, parent, root, note) = (base.tree_id(), None, Root::Mark, note.to_vec());
        let log = new_log(&shared, id, uid, Change::Origin { tree, uid, gid, parent, root, note })?;
        let state = State::new(&base);
        let begun = Begun {
            state: state.begin(),
            programs: ProgramNumbers::default(),
            lineage: Vec::new(),
            parents: Vec::new(),
            requests: Requests::default(),
            from: None,
        };
        Ok(Self::assemble(shared, id, base, log, begun))
    }

    /// Loads a workspace. For a fork, the parents' logs are read up to the fork; `base` is that of the origin.
    /// Cost: the segments from that of the newest sealed snapshot on; without one, the whole log.
    pub fn open(
        shared: Arc<Shared>,
        id: WorkspaceId,
        base: Base,
    ) -> std::result::Result<Arc<Self>, OpenError> {
        // What is in memory may be of records that the log has lost since.
        shared.forget_kept(id);
        shared.given_back.forget(id);
        let (log, opened) = match opening::from_seal(&shared, id, &base) {
            Some(opened) => opened,
            None => {
                shared.given_back.forget(id);
                opening::from_first_record(&shared, id, &base)?
            }
        };
        let Opened { state, programs, lineage, requests, from } = opened;
        shared.given_back.complete(id);
        let parents = lineage.iter().map(|point| Parent::Stored(point.log)).collect();
        Ok(Self::assemble(shared, id, base, log, Begun { state, programs, lineage, parents, requests, from }))
    }

    /// Reads the first record of a log.
    pub fn origin(shared: &Shared, id: WorkspaceId) -> std::result::Result<Origin, OpenError> {
        let unreadable = || OpenError::Record(1, id, "it does not say what the workspace is".to_owned());
        if let Some(floor) = shared.floor(id)? {
            return read_origin(&floor.first).map(|(origin, _)| origin).ok_or_else(unreadable);
        }
        let mut origin = None;
        let replayed = shared.logs.replay_until(id, 1, &mut |record| {
            origin.get_or_insert_with(|| read_origin(record.body).map(|(origin, _)| origin));
            Ok(())
        });
        replayed.map_err(|error| match error {
            LogError::Short { last: 0, .. } => LogError::Unborn(id),
            error => error,
        })?;
        origin.flatten().ok_or_else(unreadable)
    }

    /// Forks: the new workspace has everything this one has. O(1). Durable after its [`Workspace::sync`], which
    /// syncs this one too; the flusher does so within its interval. Dirty pages of the kernel must have been written first.
    pub fn fork(&self, id: WorkspaceId, note: &[u8]) -> std::result::Result<Arc<Self>, OpenError> {
        let (uid, _) = self.base.owner();
        let (state, seq) = {
            let mut state = self.write_state();
            let weald = Author { pid: 0, uid, name: None, request: 0 };
            let seq = self
                .append(&mut state, &weald, self.now(), Change::Forked { child: id }, &[])
                .map_err(|errno| OpenError::Record(self.log.seq(), self.id, errno.to_string()))?;
            (state.clone(), seq)
        };
        self.fork_from(id, state, (Point { log: self.id, seq }, Root::Mark), note)
    }

    /// Forks from a point in the past of this workspace, which becomes durable first. ENOENT in [`OpenError::Past`] when
    /// it is not in its past. Cost: that of [`Workspace::past`] and, unless the point was durable, a sync.
    pub fn fork_at(
        &self,
        point: Point,
        id: WorkspaceId,
        note: &[u8],
    ) -> std::result::Result<Arc<Self>, OpenError> {
        let _revival = self.shared.given_back.revive();
        let past = self.past(point).map_err(OpenError::Past)?;
        self.sync().map_err(OpenError::Past)?;
        let fork = self.fork_from(id, past.into_state(), (point, Root::Durable), note)?;
        self.hand_on_rules(&fork).map_err(OpenError::Past)?;
        Ok(fork)
    }

    fn fork_from(
        &self,
        id: WorkspaceId,
        state: State,
        (point, root): (Point, Root),
        note: &[u8],
    ) -> std::result::Result<Arc<Self>, OpenError> {
        let (uid, gid) = self.base.owner();
        let (tree, parent, note) = (self.base.tree_id(), Some((point.log, point.seq)), note.to_vec());
        let log = new_log(&self.shared, id, uid, Change::Origin { tree, uid, gid, parent, root, note })?;
        let mut lineage: Vec<Point> =
            self.lineage.iter().take_while(|past| past.log != point.log).copied().collect();
        lineage.push(point);
        let parents = self.me.upgrade().map(Parent::Loaded).into_iter().collect();
        let (state, programs) = (state.begin(), ProgramNumbers::default());
        let begun = Begun { state, programs, lineage, parents, requests: Requests::default(), from: None };
        Ok(Self::assemble(self.shared.clone(), id, self.base.clone(), log, begun))
    }

    fn assemble(shared: Arc<Shared>, id: WorkspaceId, base: Base, log: Log, begun: Begun) -> Arc<Self> {
        let Begun { state, programs, lineage, parents, requests, from: opened_from } = begun;
        if log.seq() == 1 {
            shared.keep(Point { log: id, seq: 1 }, state.clone());
        }
        let fresh = Arc::new_cyclic(|me| Self {
            shared,
            base,
            log,
            id,
            lineage,
            opened_from,
            state: RwLock::new(state),
            broken: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            stream: Stream::default(),
            programs: Mutex::new(programs),
            news: News::default(),
            requests: Mutex::new(requests),
            unsynced_parents: Mutex::new(parents),
            putting: RwLock::default(),
            me: me.clone(),
        });
        fresh.mark_dirty();
        fresh
    }

    /// The logs it starts from and how far, the nearest last.
    pub(crate) fn lineage(&self) -> &[Point] {
        &self.lineage
    }

    /// What it shares with all workspaces of its home.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The id, for ever the same.
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    /// The record of the sealed snapshot that it was opened from; None when all records were applied.
    pub fn opened_from(&self) -> Option<u64> {
        self.opened_from
    }

    /// What the last requests that are in the log did, as it was opened; empty the second time. For a front end that goes
    /// on where one before it ended.
    pub fn take_requests(&self) -> Requests {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Figures for `list`. O(1).
    pub fn summary(&self) -> Summary {
        let state = self.read_state();
        Summary {
            files: state.files,
            size_bytes: state.size_bytes,
            private_bytes: state.private_bytes,
            records: self.log.seq(),
            logs_reads: state.history.logs_reads,
        }
    }

    /// Makes every change so far durable: fsync(2) of any file or directory. Concurrent callers share one commit.
    /// After a failure nothing more is accepted: the host may have dropped what it could not write.
    pub fn sync(&self) -> Result<()> {
        self.dirty.store(false, Ordering::SeqCst);
        self.stream.begin();
        if self.broken.load(Ordering::Relaxed) {
            return Err(Errno::Io);
        }
        let mut parents = self.unsynced_parents.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(parent) = parents.last() {
            match parent {
                Parent::Loaded(workspace) => workspace.sync()?,
                // A second try would succeed for nothing: the failed one is not told again.
                Parent::Stored(id) => self.shared.logs.make_durable(*id).map_err(|error| {
                    self.broken.store(true, Ordering::Relaxed);
                    error.errno()
                })?,
            }
            parents.pop();
        }
        drop(parents);
        self.log.sync().map_err(|error| error.errno())
    }

    /// The host's space, since private data goes there.
    pub fn stat_fs(&self) -> Result<StatFs> {
        self.shared.stat_fs()
    }

    /// The kernel dropped its last reference: purges the inode if it has no name.
    pub fn forget(&self, ino: Ino) {
        if self.read_state().is_orphan(ino) {
            // A full disk or closed log keeps the orphan; the next fresh mount purges it.
            let _ = self.purge(ino);
        }
    }

    /// Purges all inodes without a name: at a fresh mount nobody can have one open.
    pub fn purge_orphans(&self) -> Result<()> {
        let orphans = self.read_state().orphans();
        orphans.into_iter().try_for_each(|ino| self.purge(ino))
    }

    fn purge(&self, ino: Ino) -> Result<()> {
        let (uid, gid) = self.base.owner();
        self.change(&Caller::owner(uid, gid), |state, _| match state.is_orphan(ino) {
            true => Ok(Some(Change::Purge { ino })),
            false => Ok(None),
        })
    }

    /// Runs one change: `plan` checks it against the state and says what to log (None: nothing to do).
    pub(crate) fn change(
        &self,
        who: &Caller,
        plan: impl FnOnce(&State, Timestamp) -> Result<Option<Change>>,
    ) -> Result<()> {
        self.change_with(who, &[], |state, time| Ok((plan(state, time)?, ())))
    }

    /// Runs one change and returns the attributes of the inode it is about.
    pub(crate) fn change_inode(
        &self,
        who: &Caller,
        plan: impl FnOnce(&State, Timestamp) -> Result<(Option<Change>, Ino)>,
    ) -> Result<Attr> {
        let who = self.shared.author(who);
        let mut state = self.write_state();
        let time = self.now();
        let (change, ino) = plan(&state, time)?;
        if let Some(change) = change {
            self.append(&mut state, &who, time, change, &[])?;
        }
        state.attr(&self.base, ino)
    }

    /// Runs one change with inline data and returns what the plan found out.
    pub(crate) fn change_with<T>(
        &self,
        who: &Caller,
        inline: &[u8],
        plan: impl FnOnce(&State, Timestamp) -> Result<(Option<Change>, T)>,
    ) -> Result<T> {
        let who = self.shared.author(who);
        let mut state = self.write_state();
        let time = self.now();
        let (change, found) = plan(&state, time)?;
        if let Some(change) = change {
            self.append(&mut state, &who, time, change, inline)?;
        }
        Ok(found)
    }

    /// Logs a checked change and applies it. In the host's page cache when it returns.
    pub(crate) fn append(
        &self,
        state: &mut State,
        who: &Author,
        time: Timestamp,
        change: Change,
        inline: &[u8],
    ) -> Result<u64> {
        self.append_with(who, time, change, inline, |record, at| {
            // Where undo may go to.
            if state.begins_step(record) {
                self.shared.keep(at.point.before(), state.clone());
            }
            state.apply(&self.base, record, at, None)?;
            // So that no point of the past is far from one that is kept.
            if at.point.seq.is_multiple_of(RECORDS_BETWEEN) {
                self.shared.keep(at.point, state.clone());
            }
            Ok(at.point.seq)
        })
    }

    /// Logs a checked change, and applies it by `apply`.
    pub(crate) fn append_with<T>(
        &self,
        who: &Author,
        time: Timestamp,
        change: Change,
        inline: &[u8],
        apply: impl FnOnce(&Record, At) -> Result<T>,
    ) -> Result<T> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Errno::Io);
        }
        let program = self.program_number(who, time)?;
        let record = Record { time, pid: who.pid, uid: who.uid, program, request: who.request, change };
        let appended = self.append_record(&record, inline)?;
        let at = At { point: Point { log: self.id, seq: appended.seq }, inline: appended.inline_place };
        let applied = apply(&record, at).inspect_err(|_| self.broken.store(true, Ordering::Relaxed))?;
        self.mark_dirty();
        self.news.tell();
        Ok(applied)
    }

    /// The number of a program in this log; a name that has none gets one first.
    fn program_number(&self, who: &Author, time: Timestamp) -> Result<u32> {
        let Some(name) = who.name else { return Ok(0) };
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = programs.get(name) {
            return Ok(number);
        }
        let number = programs.next();
        let change = Change::Program { number, name };
        let record = Record { time, pid: who.pid, uid: who.uid, program: number, request: 0, change };
        self.append_record(&record, &[])?;
        programs.define(number, name);
        Ok(number)
    }

    /// The numbers that programs have in this log.
    pub(crate) fn program_numbers(&self) -> Vec<(u32, ProgramName)> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    fn append_record(&self, record: &Record, inline: &[u8]) -> Result<Appended> {
        thread_local!(static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        BODY.with_borrow_mut(|body| {
            body.clear();
            record.encode(body);
            if room::adds(&record.change) {
                self.shared.must_have_room()?;
            }
            let append = || self.log.append(body, inline).map_err(|error| error.errno());
            match append() {
                Err(error) if self.shared.made_room_for(&record.change, error) => append(),
                done => done,
            }
        })
    }

    fn mark_dirty(&self) {
        if !self.dirty.swap(true, Ordering::SeqCst) {
            self.shared.flusher.add(self.me.clone());
        }
    }

    /// So much large data was put.
    pub(crate) fn grew(&self, bytes: usize) {
        if self.stream.grew(bytes as u64) {
            self.shared.flusher.hurry(self.me.clone());
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.env.now()
    }

    pub(crate) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.shared.forget_kept(self.id);
    }
}

/// Starts a log with its first record.
fn new_log(
    shared: &Shared,
    id: WorkspaceId,
    uid: u32,
    change: Change,
) -> std::result::Result<Log, OpenError> {
    let mut first = Vec::new();
    Record { time: shared.env.now(), pid: 0, uid, program: 0, request: 0, change }.encode(&mut first);
    Ok(shared.logs.create(id, &first, Durability::Later)?)
}

/// What the first record of a log says, and what a fork's starting point is.
pub(crate) fn read_origin(body: &[u8]) -> Option<(Origin, Root)> {
    match Record::decode(body) {
        Ok(Record { time, change: Change::Origin { tree, uid, gid, parent, root, note }, .. }) => {
            Some((Origin { tree, uid, gid, parent, note, time }, root))
        }
        _ => None,
    }
}
