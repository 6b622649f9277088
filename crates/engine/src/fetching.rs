//! Bringing base content here that is elsewhere, in few round trips.
//!
//! Whoever misses a file fetches with it what is likely to be asked for next: the rest of its directory, then what
//! follows in the order of paths, then what comes before. While misses follow each other soon, each asks for twice as
//! much. Who misses what is on its way already waits for that.
//! A fetch runs on a thread of its own, so that one who waits can be called back at any time, and a program that is
//! interrupted again and again does not begin again and again. One that all gave up on is ended by the next who comes.
//! Invariant: nothing is asked for twice at once; no lock is held while a source is asked. A fetch that failed leaves
//! nothing behind: the next one who misses the content tries again.

use crate::base::Base;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use weald_model::{Errno, Ino, Oid, Result, Source, SourceError, Timestamp, TreeKind, Wait};
use weald_store::manifest::{Manifest, ManifestError};

/// Blobs asked for with the first miss.
const BATCH_MIN: usize = 32;
/// Blobs asked for at most.
const BATCH_MAX: usize = 512;
/// Bytes that a batch shall not be larger than, judged by the last one.
const BATCH_BYTES: u64 = 64 << 20;
/// Misses that are no further apart follow each other.
const SOON_SECS: i64 = 2;
/// Nodes looked at for a batch.
const LOOKED_AT_MAX: usize = 1 << 16;
/// A fetch that everybody gave up on so long ago does not keep the next one waiting.
const STUCK_SECS: u64 = 10;
/// While another's fetch is waited for, between two looks: a call is enough, this is for the worst case.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What is on its way to a base, and how misses came.
#[derive(Default)]
pub(crate) struct Fetching {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    on_its_way: HashMap<Oid, Arc<Flight>>,
    batch: usize,
    /// When the last fetch began or ended.
    last: Option<Timestamp>,
    /// Bytes of a blob in the last one, on average.
    average: u64,
}

/// One fetch and those who wait for it.
#[derive(Default)]
struct Flight {
    state: Mutex<FlightState>,
    /// By which the fetch itself is ended.
    stop: Wait,
}

#[derive(Default)]
struct FlightState {
    outcome: Option<std::result::Result<(), SourceError>>,
    /// Who is to be woken; some may have given up.
    bells: Vec<Wait>,
    waiting: usize,
    /// When the last one gave up.
    left: Option<Timestamp>,
}

/// What one miss leads to.
enum Plan {
    /// It is on its way.
    Join(Arc<Flight>),
    /// These are to be fetched, what was missed first.
    Lead(Arc<Flight>, Vec<(Ino, Oid)>),
}

impl Fetching {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn state(&self) -> MutexGuard<'_, FlightState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its end. None when called back before.
    fn wait(&self, now: &dyn Fn() -> Timestamp, wait: &Wait) -> Option<std::result::Result<(), SourceError>> {
        {
            let mut state = self.state();
            state.bells.push(wait.clone());
            (state.waiting, state.left) = (state.waiting + 1, None);
        }
        loop {
            if let Some(outcome) = &self.state().outcome {
                return Some(outcome.clone());
            }
            if wait.is_cancelled() {
                let mut state = self.state();
                state.waiting -= 1;
                state.left = (state.waiting == 0).then(now);
                return None;
            }
            wait.park(LOOK_INTERVAL);
        }
    }

    /// True for one that all gave up on so long ago that it may well be stuck.
    fn is_stuck(&self, now: Timestamp) -> bool {
        self.state().left.is_some_and(|left| now.secs.abs_diff(left.secs) >= STUCK_SECS)
    }

    fn end(&self, outcome: std::result::Result<(), SourceError>) {
        let mut state = self.state();
        state.outcome = Some(outcome);
        let bells = std::mem::take(&mut state.bells);
        drop(state);
        bells.iter().for_each(Wait::wake);
    }
}

/// One base.
#[derive(Clone)]
struct Round {
    manifest: Manifest,
    source: Arc<dyn Source>,
    fetching: Arc<Fetching>,
}

impl Base {
    /// Brings the content of a base node here, and with it its size. EINTR once `wait` is cancelled; what is on its way
    /// then comes nevertheless. EIO when it cannot be had now.
    pub(crate) fn fetch(&self, ino: Ino, now: &dyn Fn() -> Timestamp, wait: &Wait) -> Result<()> {
        let (manifest, source, fetching) = self.far_parts().ok_or(Errno::Io)?;
        let round = Round { manifest: manifest.clone(), source: source.clone(), fetching: fetching.clone() };
        let wanted = (ino, manifest.node(ino).map_err(|_| Errno::Io)?.oid);
        loop {
            if round.learn(&[wanted]) {
                return Ok(());
            }
            if wait.is_cancelled() {
                return Err(Errno::Interrupted);
            }
            let flight = match round.plan(wanted, now())? {
                Plan::Join(flight) => flight,
                Plan::Lead(flight, batch) => round.clone().start(flight, batch)?,
            };
            let outcome = flight.wait(now, wait);
            fetching.inner().last = Some(now());
            match outcome {
                _ if round.learn(&[wanted]) => return Ok(()),
                None => return Err(Errno::Interrupted),
                // It may have been another one of them that could not be had.
                Some(Err(SourceError::Missing(oid) | SourceError::Damaged(oid, _))) if oid != wanted.1 => {}
                Some(Ok(()) | Err(_)) => return Err(Errno::Io),
            }
        }
    }
}

impl Round {
    /// Learns the sizes of what is here. True when all of it is.
    fn learn(&self, nodes: &[(Ino, Oid)]) -> bool {
        let ids: Vec<Oid> = nodes.iter().map(|(_, oid)| *oid).collect();
        let sizes = self.source.blob_sizes(&ids);
        let here = nodes.iter().zip(&sizes).filter_map(|((ino, _), size)| Some((*ino, *size.as_ref().ok()?)));
        let here: Vec<(Ino, u64)> = here.collect();
        self.manifest.learn_sizes(&here);
        here.len() == nodes.len()
    }

    /// Says who fetches what was missed, and marks what goes with it.
    fn plan(&self, wanted: (Ino, Oid), now: Timestamp) -> Result<Plan> {
        let mut inner = self.fetching.inner();
        if let Some(flight) = inner.on_its_way.get(&wanted.1) {
            if !flight.is_stuck(now) {
                return Ok(Plan::Join(flight.clone()));
            }
            let flight = flight.clone();
            flight.stop.cancel();
            inner.on_its_way.retain(|_, other| !Arc::ptr_eq(other, &flight));
        }
        let count = inner.next_batch(now);
        let mut batch = Batch::new(&self.manifest, &inner.on_its_way, count);
        batch.fill(wanted).map_err(|_| Errno::Io)?;
        let batch = batch.nodes;
        let flight = Arc::new(Flight::default());
        for (_, oid) in &batch {
            inner.on_its_way.insert(*oid, flight.clone());
        }
        Ok(Plan::Lead(flight, batch))
    }

    /// Fetches on a thread of its own: who waits may be called back, and what was begun is of use to the next one.
    fn start(self, flight: Arc<Flight>, batch: Vec<(Ino, Oid)>) -> Result<Arc<Flight>> {
        let mut landing =
            Landing { fetching: self.fetching.clone(), flight: flight.clone(), batch, outcome: None };
        let fetch = move || {
            let outcome = self.fetch(&landing.batch, &landing.flight.stop);
            self.note(&landing.batch);
            landing.outcome = Some(outcome);
        };
        // Without a thread the landing is dropped, and with it what was marked.
        std::thread::Builder::new().name("fetch".to_owned()).spawn(fetch).map_err(|_| Errno::Io)?;
        Ok(flight)
    }

    fn fetch(&self, batch: &[(Ino, Oid)], stop: &Wait) -> std::result::Result<(), SourceError> {
        // Some may be here without being known to be.
        let absent: Vec<Oid> = {
            let ids: Vec<Oid> = batch.iter().map(|(_, oid)| *oid).collect();
            let sizes = self.source.blob_sizes(&ids);
            ids.into_iter().zip(sizes).filter(|(_, size)| size.is_err()).map(|(id, _)| id).collect()
        };
        let Some(wanted) = absent.first() else { return Ok(()) };
        let outcome = self.source.fetch(&absent, stop);
        let another = match &outcome {
            Err(SourceError::Missing(oid) | SourceError::Damaged(oid, _)) => oid != wanted,
            _ => false,
        };
        // One that cannot be had must not keep the others away.
        if another && absent.len() > 1 { self.source.fetch(&absent[..1], stop) } else { outcome }
    }

    /// Learns from a batch that came, or from what of it did.
    fn note(&self, batch: &[(Ino, Oid)]) {
        self.learn(batch);
        let sizes = batch.iter().filter_map(|(ino, _)| self.manifest.size(*ino).ok()?);
        let (count, bytes) =
            sizes.fold((0, 0u64), |(count, sum), size| (count + 1, sum.saturating_add(size)));
        self.fetching.inner().average = bytes.checked_div(count).unwrap_or(0);
    }
}

/// A batch on its way. Its end takes it off the list and wakes who waits, also when a source panics.
struct Landing {
    fetching: Arc<Fetching>,
    flight: Arc<Flight>,
    batch: Vec<(Ino, Oid)>,
    outcome: Option<std::result::Result<(), SourceError>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut inner = self.fetching.inner();
        // One that was taken for stuck is off already, and another one may be on its way in its place.
        inner.on_its_way.retain(|_, flight| !Arc::ptr_eq(flight, &self.flight));
        drop(inner);
        self.flight.end(self.outcome.take().unwrap_or(Err(SourceError::Interrupted)));
    }
}

impl Inner {
    /// How many the next fetch asks for.
    fn next_batch(&mut self, now: Timestamp) -> usize {
        let is_soon = self.last.is_some_and(|last| (0..=SOON_SECS).contains(&(now.secs - last.secs)));
        self.batch = if is_soon { (self.batch * 2).clamp(BATCH_MIN, BATCH_MAX) } else { BATCH_MIN };
        self.last = Some(now);
        let by_bytes = BATCH_BYTES / self.average.max(1);
        self.batch.min(usize::try_from(by_bytes).unwrap_or(usize::MAX)).max(1)
    }
}

/// A batch being put together.
struct Batch<'a> {
    manifest: &'a Manifest,
    on_its_way: &'a HashMap<Oid, Arc<Flight>>,
    count: usize,
    nodes: Vec<(Ino, Oid)>,
    ids: HashSet<Oid>,
    looked_at: usize,
}

impl<'a> Batch<'a> {
    fn new(manifest: &'a Manifest, on_its_way: &'a HashMap<Oid, Arc<Flight>>, count: usize) -> Self {
        Self { manifest, on_its_way, count, nodes: Vec::new(), ids: HashSet::new(), looked_at: 0 }
    }

    fn is_full(&self) -> bool {
        self.nodes.len() >= self.count || self.looked_at >= LOOKED_AT_MAX
    }

    /// The node that was missed, and its neighbours: its directory, what follows, what comes before.
    fn fill(&mut self, (ino, oid): (Ino, Oid)) -> std::result::Result<(), ManifestError> {
        self.nodes.push((ino, oid));
        self.ids.insert(oid);
        let dir = self.manifest.node(ino)?.parent;
        let siblings = self.manifest.children(dir)?;
        for at in (ino.0 + 1..siblings.end).chain((siblings.start..ino.0).rev()) {
            self.take(Ino(at))?;
        }
        let mut at = ino;
        while at != Ino::ROOT && !self.is_full() {
            let dir = self.manifest.node(at)?.parent;
            for next in at.0 + 1..self.manifest.children(dir)?.end {
                self.below(Ino(next), false)?;
            }
            at = dir;
        }
        let mut at = ino;
        while at != Ino::ROOT && !self.is_full() {
            let dir = self.manifest.node(at)?.parent;
            for next in (self.manifest.children(dir)?.start..at.0).rev() {
                self.below(Ino(next), true)?;
            }
            at = dir;
        }
        Ok(())
    }

    /// A node and everything below it, in the order of paths or against it.
    fn below(&mut self, root: Ino, backwards: bool) -> std::result::Result<(), ManifestError> {
        let mut stack = vec![root];
        while let Some(ino) = stack.pop() {
            if self.is_full() {
                break;
            }
            self.take(ino)?;
            let children = self.manifest.children(ino)?.map(Ino);
            match backwards {
                true => stack.extend(children),
                false => stack.extend(children.rev()),
            }
        }
        Ok(())
    }

    /// Adds a node, unless it is here or on its way.
    fn take(&mut self, ino: Ino) -> std::result::Result<(), ManifestError> {
        if self.is_full() {
            return Ok(());
        }
        self.looked_at += 1;
        let node = self.manifest.node(ino)?;
        let has_content = matches!(node.kind, TreeKind::File | TreeKind::Executable | TreeKind::Symlink);
        // Where sizes were known from the start, they say nothing of content.
        let may_be_absent = self.manifest.has_all_sizes() || self.manifest.size(ino)?.is_none();
        if has_content
            && may_be_absent
            && !self.on_its_way.contains_key(&node.oid)
            && self.ids.insert(node.oid)
        {
            self.nodes.push((ino, node.oid));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
