//! Files whose content is elsewhere: bringing it here, and recording its size before the content is changed.
//!
//! Operations never wait for the network: they fail with [`Errno::Unfetched`] and have done nothing. Whoever may wait
//! calls [`Workspace::fetch`] and tries again. Read next: `fetching`, `state/far`.

use crate::Shared;
use crate::base::Base;
use crate::past::Past;
use crate::record::Change;
use crate::state::State;
use crate::workspace::Workspace;
use weald_model::{Caller, Errno, Ino, Result, Wait};

/// Content may go again between bringing and using it, but not time after time.
const TRIES_MAX: usize = 4;

impl Workspace {
    /// Brings the base content here that a file shows, and with it its size: after that, what failed with
    /// [`Errno::Unfetched`] can be done. Blocks on the network, without a lock. EINTR once `wait` is cancelled, EIO when
    /// it cannot be had now; the next try may have it.
    pub fn fetch(&self, ino: Ino, wait: &Wait) -> Result<()> {
        let parts = base_parts(&self.read_state(), &self.base, ino)?;
        fetch_parts(&self.shared, &self.base, &parts, wait)
    }

    /// Runs a change of content. A size that is known, but not in the log yet, is recorded first.
    pub(crate) fn editing<T>(&self, inos: &[Ino], mut edit: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..TRIES_MAX {
            match edit() {
                Err(Errno::Unfetched) => inos.iter().try_for_each(|ino| self.record_size(*ino))?,
                other => return other,
            }
        }
        Err(Errno::Io)
    }

    fn record_size(&self, ino: Ino) -> Result<()> {
        let (uid, gid) = self.base.owner();
        self.change(&Caller::owner(uid, gid), |state, _| {
            state.with(&self.base, ino, |inode| match inode.is_sized() {
                true => Ok(None),
                false => Ok(Some(Change::Sized { ino, size: inode.size_here(&self.base)? })),
            })
        })
    }
}

impl Past {
    /// Runs what needs content of a file, and brings that here first where it must. Blocks on the network.
    pub(crate) fn with_content<T>(&self, ino: Ino, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..TRIES_MAX {
            match f() {
                Err(Errno::Unfetched) => {
                    let parts = base_parts(self.state(), &self.base, ino)?;
                    fetch_parts(&self.shared, &self.base, &parts, &Wait::default())?;
                }
                other => return other,
            }
        }
        Err(Errno::Io)
    }

    /// The size of a file or symbolic link. Blocks on the network when it is not known.
    pub fn size(&self, ino: Ino) -> Result<u64> {
        self.with_content(ino, || self.state().with(&self.base, ino, |inode| inode.size_here(&self.base)))
    }
}

fn base_parts(state: &State, base: &Base, ino: Ino) -> Result<Vec<Ino>> {
    state.with(base, ino, |inode| Ok(inode.base_parts()))
}

fn fetch_parts(shared: &Shared, base: &Base, parts: &[Ino], wait: &Wait) -> Result<()> {
    parts.iter().try_for_each(|part| base.fetch(*part, &|| shared.env.now(), wait))
}
