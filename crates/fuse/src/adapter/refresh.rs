//! Having the kernel forget what a restore made untrue: names, attributes, pages, listings.
//!
//! The kernel caches for ever, so what is forgotten here must be exact, also for answers under way. Names come first: the
//! kernel takes the directory's lock for them, behind which no lookup or listing of before is left. Attributes of nodes
//! it knows carry a version, so an older answer loses. A node it does not know yet may be in an answer under way:
//! [`Adapter::refresh`] waits until all such answers are counted (`entering`), and tells the kernel again until it knows
//! the node or has let it go. Danger: as in [`crate::notify`], never by a thread that answers requests of this mount.

use super::Adapter;
use crate::notify::{Forgotten, Heard, Notifier};
use std::sync::PoisonError;
use std::time::Duration;
use weald_engine::Changed;
use weald_model::{Ino, Result};

/// Pauses between two looks for nodes in answers under way, together longer than the kernel takes over an answer.
const PAUSES: [Duration; 7] = [
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(100),
];

impl Adapter {
    /// Makes the kernel see what changed without it. ESTALE when the mount is gone, and its caches with it.
    pub fn refresh(&self, notifier: &Notifier, changed: &Changed) -> Result<()> {
        drop(self.entering.write().unwrap_or_else(PoisonError::into_inner));
        let names: Vec<Forgotten<'_>> = changed
            .entries
            .iter()
            .filter(|(parent, _)| self.is_known(*parent))
            .map(|(parent, name)| Forgotten::Name(*parent, name))
            .collect();
        notifier.forget(&names)?;
        let mut left: Vec<Ino> = changed.inodes.clone();
        left.extend(changed.entries.iter().map(|(parent, _)| *parent));
        left.sort_unstable();
        left.dedup();
        for pause in PAUSES {
            left.retain(|ino| self.is_known(*ino));
            let nodes: Vec<Forgotten<'_>> = left.iter().map(|ino| Forgotten::Node(*ino)).collect();
            let mut said = notifier.forget(&nodes)?.into_iter();
            left.retain(|_| said.next() != Some(Heard::Done));
            if left.is_empty() {
                break;
            }
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// True when the kernel has a node, or an answer with it is under way.
    fn is_known(&self, ino: Ino) -> bool {
        ino == Ino::ROOT || self.lookups.count(ino.0) > 0
    }
}
