//! The nodes of a set at one level, in order. Most levels hold a few: those lie in one piece, many in a tree.

use super::set::{Node, PathElement};
use std::collections::{BTreeMap, btree_map};
use std::slice;

/// From here on a tree is cheaper.
const MANY: usize = 32;

#[derive(Clone, Debug)]
pub(super) enum Nodes {
    Few(Vec<(PathElement, Node)>),
    Many(BTreeMap<PathElement, Node>),
}

impl Default for Nodes {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(tree) => tree.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, element: &PathElement) -> Option<&Node> {
        match self {
            Self::Few(list) => place(list, element).ok().map(|at| &list[at].1),
            Self::Many(tree) => tree.get(element),
        }
    }

    pub(super) fn get_mut(&mut self, element: &PathElement) -> Option<&mut Node> {
        match self {
            Self::Few(list) => place(list, element).ok().map(|at| &mut list[at].1),
            Self::Many(tree) => tree.get_mut(element),
        }
    }

    /// The node of an element, made if it is missing.
    pub(super) fn at(&mut self, element: &PathElement) -> &mut Node {
        self.grow();
        match self {
            Self::Few(list) => {
                let at = place(list, element).unwrap_or_else(|at| {
                    // Most levels of a path hold one.
                    list.reserve_exact(usize::from(list.is_empty()));
                    list.insert(at, (element.clone(), Node::default()));
                    at
                });
                &mut list[at].1
            }
            Self::Many(tree) => tree.entry(element.clone()).or_default(),
        }
    }

    pub(super) fn insert(&mut self, element: PathElement, node: Node) {
        self.grow();
        match self {
            Self::Few(list) => match place(list, &element) {
                Ok(at) => list[at].1 = node,
                Err(at) => list.insert(at, (element, node)),
            },
            Self::Many(tree) => drop(tree.insert(element, node)),
        }
    }

    pub(super) fn remove(&mut self, element: &PathElement) {
        match self {
            Self::Few(list) => {
                if let Ok(at) = place(list, element) {
                    list.remove(at);
                }
            }
            Self::Many(tree) => drop(tree.remove(element)),
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        match self {
            Self::Few(list) => Iter::Few(list.iter()),
            Self::Many(tree) => Iter::Many(tree.iter()),
        }
    }

    /// Turns a long list into a tree.
    fn grow(&mut self) {
        if let Self::Few(list) = self
            && list.len() >= MANY
        {
            *self = Self::Many(std::mem::take(list).into_iter().collect());
        }
    }
}

fn place(list: &[(PathElement, Node)], element: &PathElement) -> Result<usize, usize> {
    list.binary_search_by(|(e, _)| e.cmp(element))
}

impl PartialEq for Nodes {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Nodes {}

/// Nodes with their elements, in order.
pub(super) enum Iter<'a> {
    Few(slice::Iter<'a, (PathElement, Node)>),
    Many(btree_map::Iter<'a, PathElement, Node>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a PathElement, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(list) => list.next().map(|(e, n)| (e, n)),
            Self::Many(tree) => tree.next(),
        }
    }
}

impl<'a> IntoIterator for &'a Nodes {
    type Item = (&'a PathElement, &'a Node);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
