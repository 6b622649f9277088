//! What two maps do not share: a walk over both that skips the nodes they have in common.
//!
//! Invariant: every key whose values differ is told, in order; keys in nodes that both share are not. Cost follows
//! the nodes that are not shared, for maps that are clones of one another with changes.

use super::{Map, Node};
use std::cmp::Ordering;
use std::sync::Arc;

/// What is left to walk on one side, the next on top.
struct Side<'a, K, V>(Vec<Left<'a, K, V>>);

/// A part of a map that was not walked yet. No part is empty.
enum Left<'a, K, V> {
    /// A whole node, so many levels above the leaves.
    Node(&'a Arc<Node<K, V>>, usize),
    /// The rest of a leaf.
    Entries(&'a [(K, V)]),
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    /// Tells `each` the entries of both maps that do not lie in shared nodes, in the order of keys, until it says
    /// false. The values of a key may be equal.
    pub(crate) fn unshared<'a>(
        &'a self,
        other: &'a Self,
        each: &mut dyn FnMut(&'a K, Option<&'a V>, Option<&'a V>) -> bool,
    ) {
        let (mut left, mut right) = (Side::new(self), Side::new(other));
        loop {
            let go_on = match (left.0.last(), right.0.last()) {
                (None, None) => return,
                (Some(_), None) => {
                    left.expand_or_take().is_none_or(|(key, value)| each(key, Some(value), None))
                }
                (None, Some(_)) => {
                    right.expand_or_take().is_none_or(|(key, value)| each(key, None, Some(value)))
                }
                (Some(Left::Node(a, _)), Some(Left::Node(b, _))) if Arc::ptr_eq(a, b) => {
                    left.0.pop();
                    right.0.pop();
                    true
                }
                (Some(a), Some(b)) => match a.first_key().cmp(b.first_key()) {
                    // What begins first has keys the other side does not.
                    Ordering::Less => {
                        left.expand_or_take().is_none_or(|(key, value)| each(key, Some(value), None))
                    }
                    Ordering::Greater => {
                        right.expand_or_take().is_none_or(|(key, value)| each(key, None, Some(value)))
                    }
                    // The higher node is opened first, so that nodes both have meet at one height.
                    Ordering::Equal => match a.height().cmp(&b.height()) {
                        Ordering::Greater => left.expand_or_take().is_none(),
                        Ordering::Less => right.expand_or_take().is_none(),
                        Ordering::Equal => match (left.expand_or_take(), right.expand_or_take()) {
                            (Some((key, value)), Some((_, other))) => each(key, Some(value), Some(other)),
                            _ => true,
                        },
                    },
                },
            };
            if !go_on {
                return;
            }
        }
    }
}

impl<'a, K: Ord + Clone, V: Clone> Side<'a, K, V> {
    fn new(map: &'a Map<K, V>) -> Self {
        let mut height = 0;
        let mut node = &map.root;
        while let Node::Inner(children) = &**node {
            height += 1;
            node = &children[0].1;
        }
        if map.root.len() == 0 { Self(Vec::new()) } else { Self(vec![Left::Node(&map.root, height)]) }
    }

    /// Opens the next node, or takes the next entry.
    fn expand_or_take(&mut self) -> Option<(&'a K, &'a V)> {
        match self.0.pop()? {
            Left::Node(node, height) => {
                match &**node {
                    Node::Leaf(entries) => self.0.push(Left::Entries(entries)),
                    Node::Inner(children) => {
                        let below = height.saturating_sub(1);
                        self.0.extend(children.iter().rev().map(|(_, child)| Left::Node(child, below)));
                    }
                }
                None
            }
            Left::Entries(entries) => {
                let ((key, value), rest) = entries.split_first()?;
                if !rest.is_empty() {
                    self.0.push(Left::Entries(rest));
                }
                Some((key, value))
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone> Left<'_, K, V> {
    fn first_key(&self) -> &K {
        match self {
            Left::Node(node, _) => node.first_key(),
            Left::Entries(entries) => &entries[0].0,
        }
    }

    /// Levels above single entries.
    fn height(&self) -> usize {
        match self {
            Left::Node(_, height) => height + 1,
            Left::Entries(_) => 0,
        }
    }
}
