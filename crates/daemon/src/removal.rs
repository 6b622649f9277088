//! Removing: out of the file tree and into the trash. The log stays as it is.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::mount_point;
use crate::mounting::occupied;
use crate::occupants;
use crate::protocol::{FaultLine, Target};
use crate::report::{Refusal, Removed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weald_engine::Occasion;
use weald_fuse::Unmount;
use weald_model::{Caller, Fault};
use weald_store::registry::State;

/// How long somebody may be about to leave: `git commit` has its housekeeping end a moment later.
const PATIENCE: Duration = Duration::from_millis(400);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

impl Forest {
    /// Removes each of the targets that nothing speaks against.
    pub(crate) fn remove(&self, who: &Caller, targets: &[Target], force: bool) -> Result<Removed, Fault> {
        self.open_for_work()?;
        let _room = self.stores.spend_reserve();
        let mut removed = Removed { removed: Vec::new(), refused: Vec::new() };
        for target in targets {
            let found = self.find(target);
            let name =
                found.as_ref().map(|entry| entry.name()).ok().or(target.name.clone()).unwrap_or_default();
            match found.and_then(|entry| self.remove_one(who, &entry, force)) {
                Ok(()) => removed.removed.push(name),
                Err(fault) => removed.refused.push(Refusal { name, fault: FaultLine::from(&fault) }),
            }
        }
        Ok(removed)
    }

    fn remove_one(&self, who: &Caller, entry: &Arc<Entry>, force: bool) -> Result<(), Fault> {
        let damaged = entry.load(&self.stores).is_err();
        if !force && !damaged {
            self.check_empty(entry)?;
            // Its branches are looked at through its own mount.
            self.mount(entry)?;
            self.check_pushed(entry)?;
        }
        let mut life = entry.life();
        let mut row = entry.row();
        if row.state != State::Active {
            return Ok(());
        }
        let how = if force { Unmount::Lazy } else { Unmount::Normal };
        self.unmount_locked(entry, &mut life, how)?;
        drop(life);
        if !damaged {
            self.keep_last_state(entry, who);
        }
        if let Ok(figures) = entry.figures(&self.stores) {
            row.files = figures.summary.files;
            row.size_bytes = figures.summary.size_bytes;
            row.private_bytes = figures.summary.private_bytes;
        }
        let name = row.name.clone();
        row.state = State::Trashed;
        row.trashed_at = Some(self.removed_last(&name));
        if let Err(fault) = self.save(entry, row.clone()) {
            // It stays as it was; one that cannot be mounted is told as idle.
            let _ = self.mount(entry);
            return Err(fault);
        }
        self.free_name(&name);
        entry.unload(&self.stores);
        mount_point::discard(&row.mount_path);
        Ok(())
    }

    /// Now, or a second behind whatever of that name was removed before: the last one of a name is the one that `trash restore` takes.
    fn removed_last(&self, name: &str) -> i64 {
        let trashed = self.in_state(State::Trashed);
        let of_name = trashed.iter().filter(|entry| entry.name() == name);
        let last = of_name.filter_map(|entry| entry.row().trashed_at).max();
        last.map_or(self.stores.now(), |last| self.stores.now().max(last + 1))
    }

    /// Takes a snapshot of what is removed. On a full disk there is none, and nothing is lost either: the log stays.
    fn keep_last_state(&self, entry: &Entry, who: &Caller) {
        let taken = entry.load(&self.stores).and_then(|workspace| {
            self.take_snapshot(entry, &workspace, who, "before it was removed", &[], Occasion::BeforeRemove)
        });
        if let Err(fault) = taken {
            eprintln!("weald: {}: {fault} [{}]", entry.name(), fault.code);
        }
    }

    fn check_empty(&self, entry: &Entry) -> Result<(), Fault> {
        let Some(device) = entry.device() else { return Ok(()) };
        let since = Instant::now();
        loop {
            let found = occupants::find(device);
            if found.is_empty() {
                return Ok(());
            }
            if since.elapsed() > PATIENCE {
                return Err(occupied(&entry.name(), &occupants::sentence(&found)));
            }
            std::thread::sleep(PAUSE);
        }
    }
}
