//! An ordered map whose clone is O(1): a B+ tree of shared nodes.
//!
//! Invariants: keys ascend within and across nodes; every node but the root has at least one entry; all leaves are
//! equally deep. A change copies only the nodes on its path, and those only while another clone shares them.

use std::cmp::Ordering;
use std::sync::Arc;

mod unshared;

/// Entries of a node before it splits. 32 keeps a copied path within a few cache lines per level.
const NODE_ENTRIES_MAX: usize = 32;
/// Below this a node is merged with its neighbour where both fit.
const NODE_ENTRIES_LOW: usize = 8;

/// The map. Lookups take a comparison of a stored key with the wanted one, so that keys need not be built.
#[derive(Clone, Debug)]
pub(crate) struct Map<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Child<K, V>>),
}

/// First key of a child, and the child.
type Child<K, V> = (K, Arc<Node<K, V>>);

impl<K: Ord + Clone, V: Clone> Default for Map<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    /// With one entry.
    pub(crate) fn one(key: K, value: V) -> Self {
        Self { root: Arc::new(Node::Leaf(vec![(key, value)])), len: 1 }
    }

    /// True when there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Finds the entry for which `order` says Equal. `order` compares a stored key with the wanted one.
    pub(crate) fn find(&self, order: impl Fn(&K) -> Ordering) -> Option<(&K, &V)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(key, _)| order(key)).ok()?;
                    return Some((&entries[at].0, &entries[at].1));
                }
                Node::Inner(children) => node = &children[child_at(children, &order)].1,
            }
        }
    }

    /// Finds by key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(|stored| stored.cmp(key)).map(|(_, value)| value)
    }

    /// Gives access to a value, copying what other clones share; that also when it is not there.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(stored, _)| stored.cmp(key)).ok()?;
                    return Some(&mut entries[at].1);
                }
                Node::Inner(children) => {
                    let at = child_at(children, &|stored: &K| stored.cmp(key));
                    node = Arc::make_mut(&mut children[at].1);
                }
            }
        }
    }

    /// Puts a value, returning the one it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let root = Arc::make_mut(&mut self.root);
        let (old, split) = root.insert(key, value);
        if let Some(right) = split {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            let children = vec![(left.first_key().clone(), left), (right.first_key().clone(), right)];
            self.root = Arc::new(Node::Inner(children));
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes the entry for which `order` says Equal.
    pub(crate) fn remove_by(&mut self, order: impl Fn(&K) -> Ordering) -> Option<V> {
        let root = Arc::make_mut(&mut self.root);
        let old = root.remove(&order);
        while let Node::Inner(children) = root {
            match children.len() {
                0 => *root = Node::Leaf(Vec::new()),
                1 => {
                    let only = children[0].1.clone();
                    *root = Arc::unwrap_or_clone(only);
                }
                _ => break,
            }
        }
        self.len -= usize::from(old.is_some());
        old
    }

    /// Takes by key.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.remove_by(|stored| stored.cmp(key))
    }

    /// Walks from the first entry whose `order` is not Less, ascending.
    pub(crate) fn from(&self, order: impl Fn(&K) -> Ordering) -> Iter<'_, K, V> {
        let mut stack = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(key, _)| order(key) == Ordering::Less);
                    return Iter { stack, leaf: entries[at..].iter() };
                }
                Node::Inner(children) => {
                    // The first entry that is not Less may be in the child before the first such child.
                    let first = children.partition_point(|(key, _)| order(key) == Ordering::Less);
                    let at = first.saturating_sub(1);
                    stack.push(children[at + 1..].iter());
                    node = &children[at].1;
                }
            }
        }
    }

    /// The last entry whose `order` is Less or Equal.
    pub(crate) fn last_at_or_before(&self, order: impl Fn(&K) -> Ordering) -> Option<(&K, &V)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let end = entries.partition_point(|(key, _)| order(key) != Ordering::Greater);
                    return end.checked_sub(1).map(|at| (&entries[at].0, &entries[at].1));
                }
                Node::Inner(children) => node = &children[child_at(children, &order)].1,
            }
        }
    }

    /// Walks all entries.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        self.from(|_| Ordering::Equal)
    }
}

/// Index of the child that may hold the wanted key: the last whose first key is not greater.
fn child_at<K, C>(children: &[(K, C)], order: &impl Fn(&K) -> Ordering) -> usize {
    children.partition_point(|(key, _)| order(key) != Ordering::Greater).saturating_sub(1)
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn first_key(&self) -> &K {
        match self {
            Node::Leaf(entries) => &entries[0].0,
            Node::Inner(children) => &children[0].0,
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// Inserts below; returns the replaced value and the right half if this node split.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Arc<Self>>) {
        match self {
            Node::Leaf(entries) => match entries.binary_search_by(|(stored, _)| stored.cmp(&key)) {
                Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
                Err(at) => {
                    make_room(entries);
                    entries.insert(at, (key, value));
                    (None, split(entries, at).map(|right| Arc::new(Node::Leaf(right))))
                }
            },
            Node::Inner(children) => {
                let at = child_at(children, &|stored: &K| stored.cmp(&key));
                if key < children[at].0 {
                    children[at].0 = key.clone();
                }
                let (old, right) = Arc::make_mut(&mut children[at].1).insert(key, value);
                if let Some(right) = right {
                    make_room(children);
                    children.insert(at + 1, (right.first_key().clone(), right));
                }
                (old, split(children, at + 1).map(|right| Arc::new(Node::Inner(right))))
            }
        }
    }

    fn remove(&mut self, order: &impl Fn(&K) -> Ordering) -> Option<V> {
        match self {
            Node::Leaf(entries) => {
                let at = entries.binary_search_by(|(key, _)| order(key)).ok()?;
                Some(entries.remove(at).1)
            }
            Node::Inner(children) => {
                let at = child_at(children, order);
                let (first, child) = &mut children[at];
                let child = Arc::make_mut(child);
                let old = child.remove(order);
                match child.len() {
                    0 => drop(children.remove(at)),
                    len => {
                        // Only what was the first can have left another first.
                        if old.is_some() && order(first) == Ordering::Equal {
                            *first = child.first_key().clone();
                        }
                        if len < NODE_ENTRIES_LOW {
                            merge(children, at);
                        }
                    }
                }
                old
            }
        }
    }
}

/// Makes room for one more entry, and never for more than a node holds before it splits: most nodes stay about as full as
/// they are, and there are many.
fn make_room<T>(entries: &mut Vec<T>) {
    let len = entries.len();
    if len == entries.capacity() {
        let wanted = if len < NODE_ENTRIES_MAX / 2 { (2 * len).max(1) } else { NODE_ENTRIES_MAX + 1 };
        entries.reserve_exact(wanted.saturating_sub(len).max(1));
    }
}

/// Splits an overfull node. An append keeps the left half full, so that ascending keys fill nodes.
fn split<T>(entries: &mut Vec<T>, inserted_at: usize) -> Option<Vec<T>> {
    if entries.len() <= NODE_ENTRIES_MAX {
        return None;
    }
    let at = if inserted_at + 1 >= entries.len() { NODE_ENTRIES_MAX } else { entries.len() / 2 };
    Some(entries.split_off(at))
}

/// Merges the child at `at` with a neighbour if both fit into one node.
fn merge<K: Ord + Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let left = at.saturating_sub(1);
    if left + 1 >= children.len() || children[left].1.len() + children[left + 1].1.len() > NODE_ENTRIES_MAX {
        return;
    }
    let (_, right) = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(entries), Node::Leaf(more)) => append(entries, more),
        (Node::Inner(entries), Node::Inner(more)) => append(entries, more),
        _ => unreachable!("siblings are equally deep"),
    }
}

/// Appends all of `more`, with no room beside.
fn append<T>(entries: &mut Vec<T>, more: Vec<T>) {
    entries.reserve_exact(more.len());
    entries.extend(more);
}

/// An ascending walk.
pub(crate) struct Iter<'a, K, V> {
    /// What is left of each inner node above the leaf.
    stack: Vec<std::slice::Iter<'a, Child<K, V>>>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            let mut node = loop {
                match self.stack.last_mut()?.next() {
                    Some((_, child)) => break child,
                    None => drop(self.stack.pop()),
                }
            };
            while let Node::Inner(children) = &**node {
                let mut children = children.iter();
                let Some((_, first)) = children.next() else { break };
                self.stack.push(children);
                node = first;
            }
            if let Node::Leaf(entries) = &**node {
                self.leaf = entries.iter();
            }
        }
    }
}

#[cfg(test)]
mod tests;
