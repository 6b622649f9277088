//! All bytes a state reaches.

use super::{Body, Inode, State};
use crate::content::{Content, Extent};
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
            if let Some(own) = content(new) {
                own.extents_since(old.and_then(|old| content(old)), each);
            }
            true
        });
    }
}

fn content(inode: &Inode) -> Option<&Content> {
    match &inode.body {
        Body::File(content) => Some(content),
        _ => None,
    }
}
