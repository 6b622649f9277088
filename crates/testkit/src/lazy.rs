//! A source whose content is far away: trees are here, a blob comes when it is fetched. Counts the ways there and
//! back; the far side can refuse, and keep everybody waiting.
//!
//! Invariant: what was fetched stays here, whatever the far side does later.

use crate::source::MemorySource;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use weald_model::{Oid, Source, SourceError, TreeEntry, Wait};

const NO_PANIC: &str = "no holder of this lock panics";

/// A lazy source. The far side is a [`MemorySource`].
#[derive(Debug, Default)]
pub struct LazySource {
    far: Arc<MemorySource>,
    near: Mutex<Near>,
}

#[derive(Debug, Default)]
struct Near {
    here: BTreeSet<Oid>,
    trips: Vec<usize>,
    trouble: Option<String>,
    hangs: bool,
    waiting: usize,
    /// To be woken by [`LazySource::go_on`]; some may have given up.
    bells: Vec<Wait>,
}

impl LazySource {
    /// Everything is on the far side.
    pub fn new(far: Arc<MemorySource>) -> Self {
        Self { far, near: Mutex::default() }
    }

    /// The far side.
    pub fn far(&self) -> &MemorySource {
        &self.far
    }

    /// How many blobs each round trip so far asked for. One that failed counts, too.
    pub fn trips(&self) -> Vec<usize> {
        self.near().trips.clone()
    }

    /// True when this blob is here.
    pub fn has(&self, id: &Oid) -> bool {
        self.near().here.contains(id)
    }

    /// How many blobs are here.
    pub fn here(&self) -> usize {
        self.near().here.len()
    }

    /// From now on every fetch fails with these words; with None no more.
    pub fn refuse(&self, why: Option<&str>) {
        self.near().trouble = why.map(str::to_owned);
    }

    /// From now on every fetch waits until [`LazySource::go_on`].
    pub fn hang(&self) {
        self.near().hangs = true;
    }

    /// Lets those go on that wait.
    pub fn go_on(&self) {
        let mut near = self.near();
        near.hangs = false;
        near.bells.drain(..).for_each(|wait| wait.wake());
    }

    /// How many fetches wait for [`LazySource::go_on`].
    pub fn waiting(&self) -> usize {
        self.near().waiting
    }

    fn near(&self) -> MutexGuard<'_, Near> {
        self.near.lock().expect(NO_PANIC)
    }

    fn wait(&self, wait: &Wait) -> Result<(), SourceError> {
        {
            let mut near = self.near();
            near.waiting += 1;
            near.bells.push(wait.clone());
        }
        while self.near().hangs && !wait.is_cancelled() {
            wait.park(Duration::from_secs(60));
        }
        self.near().waiting -= 1;
        if wait.is_cancelled() { Err(SourceError::Interrupted) } else { Ok(()) }
    }
}

impl Source for LazySource {
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError> {
        self.far.tree(id)
    }

    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>> {
        let sizes = self.far.blob_sizes(ids);
        let near = self.near();
        let told = |(size, id)| if near.here.contains(id) { size } else { Err(SourceError::Unfetched(*id)) };
        sizes.into_iter().zip(ids).map(told).collect()
    }

    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError> {
        if !self.has(id) {
            return Err(SourceError::Unfetched(*id));
        }
        self.far.blob(id)
    }

    fn is_lazy(&self) -> bool {
        true
    }

    fn fetch(&self, ids: &[Oid], wait: &Wait) -> Result<(), SourceError> {
        self.near().trips.push(ids.len());
        self.wait(wait)?;
        if let Some(why) = &self.near().trouble {
            return Err(SourceError::Unavailable(why.clone()));
        }
        for (id, size) in ids.iter().zip(self.far.blob_sizes(ids)) {
            size?;
            self.near().here.insert(*id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Tree;

    #[test]
    fn content_is_here_once_it_was_fetched() {
        let far = Arc::new(MemorySource::default());
        let blob = far.add(&Tree::file("hello"));
        let source = LazySource::new(far);
        assert_eq!(source.blob(&blob), Err(SourceError::Unfetched(blob)));
        source.refuse(Some("it is night"));
        let refused = source.fetch(&[blob], &Wait::default());
        assert_eq!(refused, Err(SourceError::Unavailable("it is night".into())));
        source.refuse(None);
        source.fetch(&[blob], &Wait::default()).expect("it can be fetched");
        assert_eq!(source.blob(&blob), Ok(b"hello".to_vec()));
        assert_eq!((source.trips(), source.here()), (vec![1, 1], 1));
    }

    #[test]
    fn one_who_waits_can_be_called_back() {
        let far = Arc::new(MemorySource::default());
        let blob = far.add(&Tree::file("hello"));
        let source = LazySource::new(far);
        source.hang();
        let wait = Wait::default();
        std::thread::scope(|scope| {
            let fetch = scope.spawn(|| source.fetch(&[blob], &wait));
            wait.cancel();
            assert_eq!(fetch.join().expect("the thread ends"), Err(SourceError::Interrupted));
        });
        assert!(!source.has(&blob));
    }
}
