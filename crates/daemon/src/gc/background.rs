//! Giving back by itself what nobody needs: the part of a run that needs nobody's consent.
//!
//! Taken are automatic snapshots that are too many, content that no state which stays reaches, and chunks that nobody
//! names. Never what a user asked for, tagged or pinned, and nothing of what is in the trash but what is outside its window.
//! Forks and pins are kept out for an instant only, while the presents are taken: what comes to be later has what these
//! have, or is a revival, which the engine sees. Looking runs at the lowest priority; what it finds is recorded under the
//! shared lock, so that no log goes meanwhile. Read next: `reclaimer` (when), the engine's `reach` (why that is right).

use super::Found;
use super::chunks::{Going, Needs};
use super::history::{Family, Rules, not_given_back};
use crate::aside::aside;
use crate::entry::Entry;
use crate::faults;
use crate::forest::Forest;
use crate::keeper::owner;
use crate::report::GcOptions;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use weald_engine::reach::{Reach, Stop};
use weald_model::{Fault, WorkspaceId};
use weald_store::registry::State;

/// What was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    /// Snapshots that are no longer listed.
    pub(crate) snapshots: u64,
    /// Bytes of disk.
    pub(crate) bytes: u64,
}

/// How a look at a family ended.
pub(crate) enum Looked {
    Done(Reclaimed),
    /// Something else was more important.
    Later,
}

impl Forest {
    /// Gives back what a family does not need. A member that cannot be read leaves all of it alone. The first time also
    /// what a crash left recorded and not given back.
    pub(crate) fn reclaim(
        &self,
        entries: Vec<Arc<Entry>>,
        is_first: bool,
        stop: &Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<Looked, Fault> {
        let looked = self.with_family(entries, &mut Found::default(), |family, _| {
            if is_first {
                let finished = family.members.iter().try_for_each(|(_, one)| one.finish_giving_back());
                finished.map_err(not_given_back)?;
            }
            let snapshots = self.thin(family)?;
            match self.give_back(family, stop)? {
                Some(bytes) => Ok(Looked::Done(Reclaimed { snapshots, bytes })),
                None => Ok(Looked::Later),
            }
        });
        // What is wrong with a member is told where it was loaded.
        looked.unwrap_or(Ok(Looked::Done(Reclaimed::default())))
    }

    /// Drops automatic snapshots that are too many.
    fn thin(&self, family: &Family) -> Result<u64, Fault> {
        let rules = self.rules(&GcOptions::default())?;
        if !rules.config.automatic {
            return Ok(0);
        }
        let mut count = 0;
        for (entry, workspace) in family.members.iter().filter(|(entry, _)| entry.state() == State::Active) {
            let snapshots = workspace.snapshots();
            for surplus in rules.policy.dropped(&snapshots) {
                // What others were forked from lists it as well, and drops it by its own rules.
                if !rules.pins.iter().any(|pin| pin.point == surplus.point) {
                    let dropped = workspace.drop_snapshot(&owner(entry), surplus.id);
                    dropped.map_err(|error| faults::errno("dropping a snapshot", error))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Gives back content; None when something else is more important.
    fn give_back(
        &self,
        family: &Family,
        stop: &Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<Option<u64>, Fault> {
        let Some((reach, rules)) = self.begin_reach(family)? else { return Ok(None) };
        let Some(reach) = reach else { return Ok(Some(0)) };
        let mut looked = Ok(None);
        let reach = reach.until(until(family, stop.clone()));
        let (stopped, mut reach) = (until(family, stop.clone()), Some(reach));
        aside(&mut || {
            if let Some(reach) = reach.take() {
                looked = family.finish(reach, &rules, &HashSet::new()).map(Some);
            }
        });
        let (unreached, shortenings) = match looked {
            Ok(Some((unreached, long))) if !unreached.pieces().is_empty() || !long.is_empty() => {
                (unreached, long)
            }
            Ok(_) => return Ok(Some(0)),
            Err(_) if stopped() => return Ok(None),
            Err(fault) => return Err(fault),
        };
        if !self.stores.home.logs().can_give_back() {
            return Ok(Some(0));
        }
        let Ok(_logs_stay) = self.lineage.try_read() else { return Ok(None) };
        if stopped() || !family.members.iter().all(|(entry, _)| self.by_id(entry.id).is_some()) {
            return Ok(None);
        }
        let all = unreached.give_back().and_then(|bytes| {
            shortenings.iter().try_fold(Some(bytes), |sum, one| {
                let given_up = unreached.give_up(one, &aside)?;
                Ok(sum.and_then(|sum| Some(sum + given_up?)))
            })
        });
        match all {
            Ok(bytes) => Ok(bytes),
            Err(weald_model::Errno::Busy) => Ok(None),
            Err(error) => Err(not_given_back(error)),
        }
    }

    /// Begins looking while no fork and no pin is in the making. None when one is, or the family has grown.
    fn begin_reach(&self, family: &Family) -> Result<Option<(Option<Reach>, Rules)>, Fault> {
        let Ok(_alone) = self.lineage.try_write() else { return Ok(None) };
        let Some((first, _)) = family.members.first() else { return Ok(None) };
        let root = self.root_of(first);
        let now: BTreeSet<WorkspaceId> =
            self.all().iter().filter(|entry| self.root_of(entry) == root).map(|entry| entry.id).collect();
        if now != family.members.iter().map(|(entry, _)| entry.id).collect() {
            return Ok(None);
        }
        Ok(Some((family.begin(), self.rules(&GcOptions::default())?)))
    }

    /// Drops chunks that nobody needs. None when something else is more important.
    pub(crate) fn reclaim_chunks(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Option<u64>, Fault> {
        let Some(alone) = self.stores.home.chunks().alone() else { return Ok(None) };
        let families = {
            // One in the making has neither sealed nor moved anything, and cannot while nobody adds chunks.
            let Ok(_alone) = self.lineage.try_write() else { return Ok(None) };
            self.families()
        };
        let known: HashSet<WorkspaceId> = families.iter().flatten().map(|entry| entry.id).collect();
        let (mut needs, mut found) = (Needs::default(), Found::default());
        for entries in families {
            if stop() {
                return Ok(None);
            }
            let looked = self.with_family(entries, &mut found, |family, found| {
                let synced = family.members.iter().try_for_each(|(_, workspace)| workspace.sync());
                aside(&mut || needs.family(family, &known, &Going::default(), found));
                synced
            });
            match looked {
                Some(synced) => synced.map_err(|error| faults::errno("making a log durable", error))?,
                None => needs.is_known = false,
            }
        }
        // A fork made meanwhile may list what its parent dropped before it was asked.
        let grew = !self.all().iter().all(|entry| known.contains(&entry.id));
        if !needs.is_known || grew || stop() {
            return Ok(None);
        }
        let mut dropped = Ok(0);
        aside(&mut || dropped = alone.retain(&|hash| needs.has(hash)));
        dropped.map(Some).map_err(|error| super::chunks::fault(&error))
    }
}

/// Ends looking when the daemon does, or when a member is to be let go of.
fn until(family: &Family, stop: Arc<dyn Fn() -> bool + Send + Sync>) -> Box<Stop> {
    let members: Vec<Arc<Entry>> = family.members.iter().map(|(entry, _)| entry.clone()).collect();
    Box::new(move || stop() || !members.iter().all(|entry| entry.stays_loaded()))
}
