//! The set of workspaces of a home.
//!
//! Invariants: a name belongs to one active workspace, or to one request that is making it ([`Claim`]); the
//! registry is written before the table here, so a crash leaves nothing that the registry does not know. The
//! table's lock is held for a moment only, and no entry's lock is taken while it is held, but for reading a row.
//! Read next: `create`, `fork`, `removal`, `trash` (the verbs), `mounting`, `reconcile` (what start-up puts right).

use crate::entry::Entry;
use crate::fetching::ahead::Ahead;
use crate::hold::{HeldMount, Hold};
use crate::ipc::Sockets;
use crate::keeper::Keeper;
use crate::locked;
use crate::packer::Packer;
use crate::protocol::Target;
use crate::reclaimer::Reclaimer;
use crate::report::{Refusal, Stopped};
use crate::sealer::Sealer;
use crate::stores::Stores;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use weald_engine::flush;
use weald_fuse::{Limits, Pool};
use weald_model::{Code, Fault, WorkspaceId, WorkspaceName};
use weald_store::registry::{State, WorkspaceRow};

/// All workspaces.
pub(crate) struct Forest {
    pub(crate) stores: Arc<Stores>,
    pub(crate) started_at: i64,
    table: Mutex<Table>,
    /// The threads that serve mounts. They end with the process.
    pub(crate) pool: Pool,
    /// Who keeps the mounts when this process ends.
    pub(crate) hold: Arc<Hold>,
    flusher: Mutex<Option<flush::Running>>,
    /// Takes snapshots by itself.
    pub(crate) keeper: Arc<Keeper>,
    /// Seals snapshots in the background.
    pub(crate) sealer: Arc<Sealer>,
    /// Fetches content before anybody asks.
    pub(crate) ahead: Arc<Ahead>,
    pub(crate) packer: Arc<Packer>,
    /// Where git asks what changed.
    pub(crate) sockets: Sockets,
    /// Gives back what nobody needs.
    pub(crate) reclaimer: Arc<Reclaimer>,
    /// Shared while forks are made, exclusive while logs are deleted: a parent's log must not go before its fork has
    /// a row. Taken before any other lock.
    pub(crate) lineage: RwLock<()>,
    /// Shared while a workspace is made, exclusive while manifests, stored content and clones are taken away: what one
    /// in the making holds on to is in no row yet. Taken before `lineage`.
    pub(crate) making: RwLock<()>,
    /// Set when the daemon is about to end: nothing new is begun.
    closing: AtomicBool,
    /// What start-up could not put right.
    pub(crate) troubles: Mutex<Vec<Refusal>>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<WorkspaceId, Arc<Entry>>,
    /// Names of active workspaces; None while one is being made.
    names: HashMap<String, Option<WorkspaceId>>,
}

impl Forest {
    /// Takes the home, puts right what a crash left, goes on with the mounts that are there, and mounts every other active
    /// workspace.
    pub(crate) fn open(
        root: &Path,
        hold: Hold,
        mounts: Vec<(HeldMount, OwnedFd)>,
    ) -> Result<Arc<Self>, Fault> {
        let stores = Arc::new(Stores::open(root)?);
        // Settings that cannot be read are told by whoever goes by them next; here they ask for nothing.
        let wanted = stores.config.read().is_ok_and(|config| config.rings);
        let rings = crate::rings::open(wanted, &hold, &mounts);
        let pool = Pool::with_rings(Limits::default(), rings)
            .map_err(|error| Fault::host("starting threads", &error))?;
        let flusher =
            stores.shared.start_flusher().map_err(|error| Fault::host("starting a thread", &error))?;
        let forest = Arc::new(Self {
            started_at: stores.now(),
            stores,
            table: Mutex::default(),
            pool,
            hold: Arc::new(hold),
            flusher: Mutex::new(Some(flusher)),
            keeper: Arc::default(),
            sealer: Arc::default(),
            ahead: Arc::default(),
            packer: Arc::default(),
            reclaimer: Arc::default(),
            sockets: Sockets::new()?,
            lineage: RwLock::default(),
            making: RwLock::default(),
            closing: AtomicBool::new(false),
            troubles: Mutex::default(),
        });
        let held = mounts.iter().filter_map(|(mount, _)| mount.workspace()).collect();
        forest.reconcile(&held)?;
        forest.stores.keep_reserve();
        // The program may be another one than last time.
        crate::fsmonitor::install(root);
        crate::upload_pack::install(root);
        Keeper::start(&forest)?;
        Sealer::start(&forest)?;
        Reclaimer::start(&forest)?;
        Ahead::start(&forest)?;
        Packer::start(&forest)?;
        forest.go_on(mounts);
        for entry in forest.active() {
            // The entry remembers why; the others go on.
            let _ = forest.mount(&entry);
        }
        forest.start_listening()?;
        Ok(forest)
    }

    /// Refuses when the daemon is about to end.
    pub(crate) fn open_for_work(&self) -> Result<(), Fault> {
        if self.closing.load(Ordering::Acquire) { Err(ending()) } else { Ok(()) }
    }

    /// All entries, oldest id first.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        locked(&self.table).entries.values().cloned().collect()
    }

    /// Those in a state.
    pub(crate) fn in_state(&self, state: State) -> Vec<Arc<Entry>> {
        self.all().into_iter().filter(|entry| entry.state() == state).collect()
    }

    /// Those that are not in the trash, by name.
    pub(crate) fn active(&self) -> Vec<Arc<Entry>> {
        let mut active = self.in_state(State::Active);
        active.sort_by_cached_key(|entry| natural_key(&entry.name()));
        active
    }

    /// One by id, whatever its state.
    pub(crate) fn by_id(&self, id: WorkspaceId) -> Option<Arc<Entry>> {
        locked(&self.table).entries.get(&id).cloned()
    }

    /// Puts an entry into the table; an active one takes its name.
    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        let row = entry.row();
        let mut table = locked(&self.table);
        if row.state == State::Active {
            table.names.insert(row.name, Some(row.id));
        }
        table.entries.insert(row.id, entry);
        drop(table);
        self.ahead.look();
    }

    /// Takes an entry out of the table for good.
    pub(crate) fn forget(&self, id: WorkspaceId) {
        locked(&self.table).entries.remove(&id);
    }

    /// Gives a name free that its workspace has no more.
    pub(crate) fn free_name(&self, name: &str) {
        locked(&self.table).names.remove(name);
    }

    /// Writes a row to the registry and then into its entry.
    pub(crate) fn save(&self, entry: &Entry, row: WorkspaceRow) -> Result<(), Fault> {
        self.stores.home.registry().update_workspace(&row).map_err(crate::faults::registry)?;
        entry.set_row(row);
        Ok(())
    }

    /// Reserves a name for a workspace that is being made.
    pub(crate) fn claim(self: &Arc<Self>, name: &str) -> Result<Claim, Fault> {
        let checked = WorkspaceName::new(name).map_err(|why| {
            Fault::new(Code::BadName, format!("`{}` is no name for a workspace: {why}", name.escape_debug()))
                .hint("use letters, digits, `-`, `_` and `.`, at most 100 bytes")
        })?;
        let mut table = locked(&self.table);
        if table.names.contains_key(checked.as_str()) {
            return Err(Fault::new(Code::NameTaken, format!("a workspace named `{checked}` exists"))
                .hint("choose another name; `weald list` shows those taken"));
        }
        table.names.insert(checked.as_str().to_owned(), None);
        Ok(Claim { forest: self.clone(), name: checked.as_str().to_owned(), kept: false })
    }

    /// Finds the active workspace that is meant.
    pub(crate) fn find(&self, target: &Target) -> Result<Arc<Entry>, Fault> {
        match &target.name {
            Some(name) => self.named(name).ok_or_else(|| self.unknown(name)),
            None => self.standing_in(target).ok_or_else(|| {
                Fault::new(Code::NotInWorkspace, "no workspace was named, and you are not in one")
                    .hint("name it, or `cd \"$(weald path NAME)\"` first; `weald list` shows them")
            }),
        }
    }

    fn named(&self, name: &str) -> Option<Arc<Entry>> {
        let table = locked(&self.table);
        let id = table.names.get(name).copied().flatten();
        let entry = table.entries.get(&id.or_else(|| WorkspaceId::from_hex(name))?)?.clone();
        drop(table);
        (entry.state() == State::Active).then_some(entry)
    }

    fn unknown(&self, name: &str) -> Fault {
        let fault =
            Fault::new(Code::UnknownWorkspace, format!("there is no workspace `{}`", name.escape_debug()));
        let trashed = self.in_state(State::Trashed).iter().any(|entry| entry.name() == name);
        if trashed {
            fault.hint(format!("it is in the trash: weald trash restore {name}"))
        } else {
            fault.hint("weald list")
        }
    }

    /// The mounted workspace whose path is the longest prefix of the directory, or whose device it is on.
    fn standing_in(&self, target: &Target) -> Option<Arc<Entry>> {
        let directory = target.directory.as_deref().map(Path::new);
        let active = self.active();
        let above = active
            .iter()
            .filter(|entry| directory.is_some_and(|dir| dir.starts_with(entry.row().mount_path)));
        let by_path = above.max_by_key(|entry| entry.row().mount_path.components().count());
        let by_device =
            || active.iter().find(|entry| target.device.is_some() && entry.device() == target.device);
        by_path.or_else(by_device).cloned()
    }

    /// Makes everything durable and stops serving, for another daemon to go on with. Nothing new begins afterwards.
    pub(crate) fn hand_on(&self) -> Result<Stopped, Fault> {
        if !self.hold.is_supervised() {
            let why = "this daemon has no supervisor that could keep the mounts";
            return Err(Fault::new(Code::BadRequest, why).hint("weald daemon restart"));
        }
        self.closing.store(true, Ordering::Release);
        self.keeper.stop();
        self.sealer.stop();
        self.reclaimer.stop();
        self.packer.stop();
        self.pool.stop();
        self.settle();
        Ok(Stopped { pid: std::process::id(), unmounted: 0 })
    }

    /// Unmounts everything and makes it durable. Nothing new begins afterwards.
    pub(crate) fn close(&self) -> Stopped {
        self.closing.store(true, Ordering::Release);
        self.keeper.stop();
        self.sealer.stop();
        self.ahead.stop();
        self.packer.stop();
        for source in self.stores.sources.all() {
            // Programs that wait for content would keep their mount.
            source.fetcher().iter().for_each(|fetcher| fetcher.end());
        }
        self.reclaimer.stop();
        let mut unmounted = 0;
        for entry in self.active() {
            unmounted += u64::from(self.detach(&entry));
        }
        self.settle();
        Stopped { pid: std::process::id(), unmounted }
    }

    fn settle(&self) {
        drop(locked(&self.flusher).take());
        for entry in self.all() {
            entry.settle(&self.stores);
        }
        // Fails on a full disk, and then the rows stay in the WAL: nothing to tell.
        let _ = self.stores.home.registry().settle();
    }
}

fn ending() -> Fault {
    Fault::new(Code::DaemonUnreachable, "the daemon is about to end").hint("run the command again")
}

/// `a-2` before `a-10`: digits compare as numbers.
fn natural_key(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = rest[..digits].parse().unwrap_or(u64::MAX);
        let words = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        key.push((if digits == 0 { 0 } else { number }, rest[digits..digits + words].to_owned()));
        rest = &rest[digits + words..];
    }
    key
}

/// A name reserved for a workspace in the making. Dropped, it gives the name back; [`Claim::keep`] leaves it to the
/// workspace that was inserted under it.
pub(crate) struct Claim {
    forest: Arc<Forest>,
    name: String,
    kept: bool,
}

impl Claim {
    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The workspace exists now.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.forest.free_name(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_sort_as_people_count() {
        let mut names = vec!["a-10", "b", "a-2", "a", "10", "9", "a-2x"];
        names.sort_by_cached_key(|name| natural_key(name));
        assert_eq!(names, ["a", "a-2", "a-2x", "a-10", "b", "9", "10"]);
    }
}
