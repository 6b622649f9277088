//! Content that clones left out, on its way here.
//!
//! One [`Fetcher`] for each clone. Whoever needs objects leaves a ticket; what all tickets want goes out together, one
//! run of git a batch, a few at a time; an object on its way is not asked for again. Invariants: no lock is held while git
//! runs; a run whose objects nobody waits for any more is ended; a remote that cannot be reached is asked again after a
//! pause that grows, and until then whoever needs it is told at once.
//! Read next: [`ahead`] (fetching before anybody asks), `for_git` (what git in a workspace asks for).

pub(crate) mod ahead;
mod for_git;

use crate::{locked, note};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weald_git::clone::packs;
use weald_git::{Unfetched, fetch_objects};
use weald_model::{Code, Env, Fault, Oid, SourceError, Wait};

/// Objects in one run. Of many asked for at once few are left to another: a server that is asked for a part has to make
/// new deltas, since it cannot send those against objects of the other part.
const BATCH_MAX: usize = 1 << 17;
/// Objects fetched with one that git asks for alone, while it asks for one after the other.
const BESIDE_MIN: usize = 32;
const BESIDE_MAX: usize = 4_096;
/// Requests no further apart follow each other.
const SOON: Duration = Duration::from_secs(2);
/// Runs at once that somebody waits for.
const LANES_MAX: usize = 3;
/// Pauses before a run that failed is tried again, while somebody waits.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1_200)];
/// The first pause before a remote that could not be reached is asked again, and the longest.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Objects a remote does not have that are left out of a batch before it is given up.
const UNKNOWN_MAX: usize = 4;
/// For so long a remote that did not have an object is not asked for it again.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
/// Packs that are too many.
const PACKS_MAX: usize = 64;
/// How long the end of runs is waited for when the daemon ends.
const END_MAX: Duration = Duration::from_millis(500);
/// Objects remembered that somebody had to wait for.
const EARLY_MAX: usize = 1_000;
/// How long one who waits looks away at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Brings objects into one clone.
pub(crate) struct Fetcher {
    path: PathBuf,
    env: Arc<dyn Env>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tickets: HashMap<u64, Ticket>,
    next_ticket: u64,
    /// Wanted, and not on their way.
    queue: Vec<Oid>,
    on_their_way: HashSet<Oid>,
    lanes: usize,
    is_joining: bool,
    /// The daemon ends.
    is_ended: bool,
    away: Option<Away>,
    unknown: HashMap<Oid, Instant>,
    /// What somebody had to wait for.
    early: Vec<Oid>,
    /// When git last asked for an object alone, and how many were fetched with it.
    alone: Option<(Instant, usize)>,
}

/// Somebody who waits.
struct Ticket {
    wait: Wait,
    pending: HashSet<Oid>,
    trouble: Option<SourceError>,
}

/// A remote that cannot be reached.
#[derive(Clone, Debug)]
pub(crate) struct Away {
    /// Since when, in seconds since 1970.
    pub(crate) since: i64,
    /// Why.
    pub(crate) fault: Fault,
    tries: u32,
    asked: Instant,
}

impl Away {
    /// When it may be asked again.
    fn next_try(&self) -> Instant {
        let pause = AWAY_PAUSE.saturating_mul(1 << self.tries.min(10)).min(AWAY_PAUSE_MAX);
        self.asked + pause
    }
}

impl Fetcher {
    /// Fetches nothing yet.
    pub(crate) fn new(path: &Path, env: Arc<dyn Env>) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), env, state: Mutex::default() })
    }

    /// Brings objects that are missing here. Returns when all are here, or why the first is not.
    pub(crate) fn get(self: &Arc<Self>, ids: &[Oid], wait: &Wait) -> Result<(), SourceError> {
        let Some(first) = ids.first() else { return Ok(()) };
        let ticket = self.ask(ids, first, wait)?;
        self.start_lanes();
        loop {
            if wait.is_cancelled() {
                locked(&self.state).tickets.remove(&ticket);
                return Err(SourceError::Interrupted);
            }
            if let Some(outcome) = locked(&self.state).outcome(ticket) {
                return outcome;
            }
            wait.park(LOOK_INTERVAL);
        }
    }

    fn ask(&self, ids: &[Oid], first: &Oid, wait: &Wait) -> Result<u64, SourceError> {
        let mut state = locked(&self.state);
        if state.is_ended {
            return Err(SourceError::Unavailable("the daemon ends".to_owned()));
        }
        if let Some(away) = &state.away
            && Instant::now() < away.next_try()
        {
            return Err(SourceError::Unavailable(away.fault.message.clone()));
        }
        state.unknown.retain(|_, since| since.elapsed() < UNKNOWN_PAUSE);
        if state.unknown.contains_key(first) {
            return Err(SourceError::Missing(*first));
        }
        let pending: HashSet<Oid> =
            ids.iter().filter(|id| !state.unknown.contains_key(id)).copied().collect();
        // In the order asked: what somebody waits for comes first, and neighbours stay together.
        let queued: HashSet<Oid> = state.queue.iter().copied().collect();
        let fresh =
            |id: &&Oid| pending.contains(id) && !state.on_their_way.contains(id) && !queued.contains(id);
        let fresh: Vec<Oid> = ids.iter().filter(fresh).copied().collect();
        state.queue.extend(fresh);
        if state.early.len() < EARLY_MAX && !state.early.contains(first) {
            state.early.push(*first);
        }
        state.next_ticket += 1;
        let number = state.next_ticket;
        state.tickets.insert(number, Ticket { wait: wait.clone(), pending, trouble: None });
        Ok(number)
    }

    fn start_lanes(self: &Arc<Self>) {
        let mut state = locked(&self.state);
        if state.queue.is_empty() || state.lanes >= LANES_MAX {
            return;
        }
        let lane = self.clone();
        let spawned = std::thread::Builder::new().name("fetch".to_owned()).spawn(move || lane.run());
        match spawned {
            Ok(_) => state.lanes += 1,
            Err(_) if state.lanes > 0 => {}
            Err(error) => {
                let queue = std::mem::take(&mut state.queue);
                state.settle(&queue, Some(&SourceError::Unavailable(format!("starting a thread: {error}"))));
            }
        }
    }

    /// One lane: batch after batch until nothing is wanted.
    fn run(&self) {
        loop {
            let mut state = locked(&self.state);
            let wanted = state.queue.len().min(BATCH_MAX);
            let batch: Vec<Oid> = state.queue.drain(..wanted).collect();
            let batch: Vec<Oid> = batch.into_iter().filter(|id| state.is_wanted(id)).collect();
            if batch.is_empty() {
                if !state.queue.is_empty() {
                    continue;
                }
                state.lanes -= 1;
                let is_last = state.lanes == 0 && !state.is_ended && !state.is_joining;
                drop(state);
                if is_last {
                    self.tidy();
                }
                return;
            }
            state.on_their_way.extend(&batch);
            drop(state);
            let trouble = self.bring(&batch);
            let mut state = locked(&self.state);
            match trouble {
                // Somebody may have come while the run was being ended.
                Some(SourceError::Interrupted) => state.put_back(&batch),
                trouble => state.settle(&batch, trouble.as_ref()),
            }
        }
    }

    /// Joins packs when they are many, and removes what runs left that were ended. Whoever needs content meanwhile is
    /// served by another lane.
    fn tidy(&self) {
        if packs::count(&self.path) <= PACKS_MAX {
            return;
        }
        locked(&self.state).is_joining = true;
        packs::sweep(&self.path);
        if let Err(fault) = packs::join(&self.path, &|| locked(&self.state).is_ended) {
            note(format_args!("joining packs: {fault}"));
        }
        locked(&self.state).is_joining = false;
    }

    /// Ends what is under way: whoever waits is told.
    pub(crate) fn end(&self) {
        let mut state = locked(&self.state);
        state.is_ended = true;
        state.queue.clear();
        let told = SourceError::Unavailable("the daemon ends".to_owned());
        for ticket in state.tickets.values_mut() {
            ticket.trouble.get_or_insert_with(|| told.clone());
            ticket.wait.wake();
        }
        drop(state);
        let since = Instant::now();
        while locked(&self.state).lanes > 0 && since.elapsed() < END_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fetches a batch, again and again as far as that makes sense.
    fn bring(&self, batch: &[Oid]) -> Option<SourceError> {
        let mut wanted = batch.to_vec();
        // Who is known to be away is asked once.
        let is_away = locked(&self.state).away.is_some();
        let mut pauses = RETRY_PAUSES.iter().skip(if is_away { RETRY_PAUSES.len() } else { 0 });
        let mut unknown = 0;
        let given_up = || {
            let state = locked(&self.state);
            state.is_ended || !state.waits_for(batch)
        };
        loop {
            match fetch_objects(&self.path, &wanted, &given_up) {
                Ok(()) => {
                    self.is_there();
                    return None;
                }
                Err(Unfetched::GivenUp) => return Some(SourceError::Interrupted),
                Err(Unfetched::Unknown(id)) => {
                    self.is_there();
                    locked(&self.state).unknown.insert(id, Instant::now());
                    unknown += 1;
                    let before = wanted.len();
                    wanted.retain(|other| *other != id);
                    if wanted.is_empty() {
                        return None;
                    }
                    if unknown > UNKNOWN_MAX || wanted.len() == before {
                        return Some(SourceError::Missing(id));
                    }
                }
                Err(Unfetched::Failed(fault)) => {
                    let pause = pauses.next().filter(|_| may_pass(&fault));
                    let Some(pause) = pause else { return Some(self.is_away(fault)) };
                    std::thread::sleep(*pause);
                    if given_up() {
                        return Some(self.is_away(fault));
                    }
                }
            }
        }
    }

    fn is_there(&self) {
        if let Some(away) = locked(&self.state).away.take() {
            note(format_args!(
                "{} can be fetched from again; it could not: {}",
                self.path.display(),
                away.fault
            ));
        }
    }

    fn is_away(&self, fault: Fault) -> SourceError {
        let mut state = locked(&self.state);
        let now = Instant::now();
        match &mut state.away {
            Some(away) => {
                away.tries += 1;
                away.asked = now;
                away.fault = fault.clone();
            }
            None => {
                note(format_args!("{}: {fault}", self.path.display()));
                let since = self.env.now().secs;
                state.away = Some(Away { since, fault: fault.clone(), tries: 0, asked: now });
            }
        }
        SourceError::Unavailable(fault.message)
    }

    /// Since when and why the remote cannot be reached.
    pub(crate) fn away(&self) -> Option<Away> {
        locked(&self.state).away.clone()
    }

    /// True while somebody waits.
    pub(crate) fn is_busy(&self) -> bool {
        !locked(&self.state).tickets.is_empty()
    }

    /// How many objects to fetch with one that git asks for alone: more each time, while it goes on so.
    fn beside(&self) -> usize {
        let mut state = locked(&self.state);
        let count = match state.alone {
            Some((last, count)) if last.elapsed() < SOON => (count * 2).min(BESIDE_MAX),
            _ => BESIDE_MIN,
        };
        state.alone = Some((Instant::now(), count));
        count
    }

    /// What somebody had to wait for since the last time.
    fn take_early(&self) -> Vec<Oid> {
        std::mem::take(&mut locked(&self.state).early)
    }

    /// Objects somebody waits for.
    pub(crate) fn wanted(&self) -> u64 {
        let state = locked(&self.state);
        (state.queue.len() + state.on_their_way.len()) as u64
    }
}

impl State {
    fn outcome(&mut self, ticket: u64) -> Option<Result<(), SourceError>> {
        let one = self.tickets.get(&ticket)?;
        let outcome = match &one.trouble {
            Some(trouble) => Err(trouble.clone()),
            None if one.pending.is_empty() => Ok(()),
            None => return None,
        };
        self.tickets.remove(&ticket);
        Some(outcome)
    }

    fn is_wanted(&self, id: &Oid) -> bool {
        self.tickets.values().any(|ticket| ticket.pending.contains(id))
    }

    fn waits_for(&self, batch: &[Oid]) -> bool {
        self.tickets.values().any(|ticket| batch.iter().any(|id| ticket.pending.contains(id)))
    }

    /// Has them wait for another run, if anybody still wants them.
    fn put_back(&mut self, batch: &[Oid]) {
        for id in batch {
            self.on_their_way.remove(id);
        }
        let wanted: Vec<Oid> = batch.iter().filter(|id| self.is_wanted(id)).copied().collect();
        self.queue.extend(wanted);
    }

    /// Tells everybody who waits for some of these that they are here, or why they are not.
    fn settle(&mut self, batch: &[Oid], trouble: Option<&SourceError>) {
        for id in batch {
            self.on_their_way.remove(id);
        }
        for ticket in self.tickets.values_mut() {
            let before = ticket.pending.len();
            for id in batch {
                ticket.pending.remove(id);
            }
            if ticket.pending.len() == before {
                continue;
            }
            if let Some(trouble) = trouble {
                ticket.trouble.get_or_insert_with(|| trouble.clone());
            }
            if ticket.pending.is_empty() || ticket.trouble.is_some() {
                ticket.wait.wake();
            }
        }
    }
}

/// True for what may go by itself within a second: a connection that broke, not a refusal.
fn may_pass(fault: &Fault) -> bool {
    let is_refusal = ["Authentication failed", "could not read Username", "not found", "Permission denied"]
        .iter()
        .any(|words| fault.message.contains(words));
    fault.code == Code::UnreachableSource && !is_refusal
}

#[cfg(test)]
#[path = "fetching/tests.rs"]
mod tests;
