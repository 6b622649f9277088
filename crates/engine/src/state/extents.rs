//! All bytes a state reaches.

use super::State;
use crate::content::Extent;
use crate::persistent_map::Map;
use std::sync::Arc;

impl State {
    /// Shows every extent of the overlay, those of files without a name included. With `before`, those of files that are
    /// the same there may be left out. Cost: the overlay, or what differs.
    pub(crate) fn extents(&self, before: Option<&State>, each: &mut dyn FnMut(&Extent)) {
        let none = Map::default();
        let before = before.map_or(&none, |before| &before.inodes);
        before.unshared(&self.inodes, &mut |_, old, new| {
            let Some(Some(new)) = new else { return true };
            let old = old.and_then(Option::as_ref);
            if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
                return true;
            }
            if let Some(own) = new.own_content() {
                own.extents_since(old.and_then(|old| old.own_content()), each);
            }
            true
        });
    }
}
