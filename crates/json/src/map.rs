//! Objects: members in the order of their names.

use crate::{Text, Value};
use std::fmt;
use std::sync::Arc;

type Member = (Text, Value);

/// The members of an object, shared until they are changed. A change that changes nothing copies nothing.
#[derive(Clone, Default)]
pub struct Map(Option<Arc<Vec<Member>>>);

impl Map {
    /// Without members.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Without members, with room for some.
    pub fn with_capacity(room: usize) -> Self {
        Self((room > 0).then(|| Arc::new(Vec::with_capacity(room))))
    }

    /// Members in any order; of those with one name the last counts.
    pub fn of(mut members: Vec<Member>) -> Self {
        if !members.is_sorted_by(|a, b| a.0 < b.0) {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            members.dedup_by(|later, first| {
                let twice = later.0 == first.0;
                if twice {
                    std::mem::swap(later, first);
                }
                twice
            });
        }
        Self((!members.is_empty()).then(|| Arc::new(members)))
    }

    fn members(&self) -> &[Member] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    fn members_mut(&mut self) -> &mut Vec<Member> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        let members = self.members();
        match members.last() {
            // Who builds an object often comes in order.
            Some((last, _)) if last.as_str() < name => Err(members.len()),
            _ => members.binary_search_by(|(n, _)| n.as_str().cmp(name)),
        }
    }

    /// Whether both are one.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn len(&self) -> usize {
        self.members().len()
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.place(name).ok().map(|at| &self.members()[at].1)
    }

    /// A member.
    pub fn get_key_value(&self, name: &str) -> Option<(&Text, &Value)> {
        self.place(name).ok().map(|at| &self.members()[at]).map(|(n, v)| (n, v))
    }

    /// The value of a member, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.place(name).ok()?;
        Some(&mut self.members_mut()[at].1)
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets a member; returns what it was.
    pub fn insert(&mut self, name: impl Into<Text>, value: Value) -> Option<Value> {
        let name = name.into();
        match self.place(&name) {
            Ok(at) if self.members()[at].1 == value => Some(value),
            Ok(at) => Some(std::mem::replace(&mut self.members_mut()[at].1, value)),
            Err(at) => {
                self.members_mut().insert(at, (name, value));
                None
            }
        }
    }

    /// Takes a member out; returns what it was.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.place(name).ok()?;
        Some(self.members_mut().remove(at).1)
    }

    /// Takes all members out.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Keeps only those members of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&Text, &Value) -> bool) {
        let mut gone = self.members().iter().map(|(n, v)| !keep(n, v)).collect::<Vec<_>>();
        if gone.contains(&true) {
            let mut gone = gone.drain(..);
            self.members_mut().retain(|_| gone.next() == Some(false));
        }
    }

    /// [`Self::retain`], where values may be changed on the way.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&Text, &mut Value) -> bool) {
        if !self.is_empty() {
            self.members_mut().retain_mut(|(n, v)| keep(n, v));
        }
    }

    /// Says of each member what becomes of it; copies nothing where all are kept. Returns whether any was not.
    pub fn rewrite<E>(&mut self, mut judge: impl FnMut(&Text, &Value) -> Result<Fate, E>) -> Result<bool, E> {
        let mut changes: Vec<(usize, Option<Value>)> = Vec::new();
        for (at, (name, value)) in self.members().iter().enumerate() {
            match judge(name, value)? {
                Fate::Keep => {}
                Fate::Set(value) => changes.push((at, Some(value))),
                Fate::Remove => changes.push((at, None)),
            }
        }
        if changes.is_empty() {
            return Ok(false);
        }
        let members = self.members_mut();
        let mut gone = Vec::new();
        for (at, change) in changes {
            match change {
                Some(value) => members[at].1 = value,
                None => gone.push(at),
            }
        }
        let (mut at, mut gone) = (0..members.len(), gone.into_iter().peekable());
        members.retain(|_| gone.next_if_eq(&at.next().unwrap_or_default()).is_none());
        Ok(true)
    }

    /// Sets and takes out (`None`) many members at once, at the cost of their number and of what is there.
    pub fn set_all(&mut self, changes: Vec<(Text, Option<Value>)>) {
        if changes.len() <= 8 {
            for (name, value) in changes {
                match value {
                    Some(value) => drop(self.insert(name, value)),
                    None => drop(self.remove(&name)),
                }
            }
            return;
        }
        // The names in which a change is the last word, in order.
        let changes: std::collections::BTreeMap<Text, Option<Value>> = changes.into_iter().collect();
        let mut out = Vec::with_capacity(self.len() + changes.len());
        let mut old = std::mem::take(self).into_iter().peekable();
        for (name, value) in changes {
            while let Some(member) = old.next_if(|(n, _)| *n < name) {
                out.push(member);
            }
            old.next_if(|(n, _)| *n == name);
            out.extend(value.map(|v| (name, v)));
        }
        out.extend(old);
        *self = Self::of(out);
    }

    /// The place of a member, which may be empty.
    pub fn entry(&mut self, name: impl Into<Text>) -> Entry<'_> {
        Entry { map: self, name: name.into() }
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.members().iter())
    }

    /// The values with their names, to change them.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&Text, &mut Value)> {
        let members = if self.is_empty() { &mut [][..] } else { self.members_mut().as_mut_slice() };
        members.iter_mut().map(|(n, v)| (&*n, v))
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Text> + ExactSizeIterator + Clone {
        self.members().iter().map(|(n, _)| n)
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator + Clone {
        self.members().iter().map(|(_, v)| v)
    }

    /// The values, to change them.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Value> {
        self.iter_mut().map(|(_, v)| v)
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn into_values(self) -> impl Iterator<Item = Value> {
        self.into_iter().map(|(_, v)| v)
    }
}

/// What becomes of a member.
#[derive(Debug)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It gets this value.
    Set(Value),
    /// It goes.
    Remove,
}

impl From<Option<Value>> for Fate {
    /// Another value, or the one that is there.
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Keep, Self::Set)
    }
}

/// The place of a member.
pub struct Entry<'a> {
    map: &'a mut Map,
    name: Text,
}

impl<'a> Entry<'a> {
    /// What is there, or `value`, put there.
    pub fn or_insert(self, value: Value) -> &'a mut Value {
        self.or_insert_with(|| value)
    }

    /// What is there, or what `make` makes, put there.
    pub fn or_insert_with(self, make: impl FnOnce() -> Value) -> &'a mut Value {
        let at = match self.map.place(&self.name) {
            Ok(at) => at,
            Err(at) => {
                self.map.members_mut().insert(at, (self.name, make()));
                at
            }
        };
        &mut self.map.members_mut()[at].1
    }

    /// Changes what is there.
    #[must_use]
    pub fn and_modify(self, change: impl FnOnce(&mut Value)) -> Self {
        if let Some(value) = self.map.get_mut(&self.name) {
            change(value);
        }
        self
    }
}

/// Members with their names.
#[derive(Clone)]
pub struct Iter<'a>(std::slice::Iter<'a, Member>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Text, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(n, v)| (n, v))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(n, v)| (n, v))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a Text, &'a mut Value);
    type IntoIter = std::iter::Map<std::slice::IterMut<'a, Member>, fn(&'a mut Member) -> (&'a Text, &'a mut Value)>;

    fn into_iter(self) -> Self::IntoIter {
        let members = if self.is_empty() { &mut [][..] } else { self.members_mut().as_mut_slice() };
        members.iter_mut().map(|(n, v)| (&*n, v))
    }
}

impl IntoIterator for Map {
    type Item = Member;
    type IntoIter = std::vec::IntoIter<Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl<K: Into<Text>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        Self::of(members.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl<K: Into<Text>, V: Into<Value>> Extend<(K, V)> for Map {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, members: I) {
        self.set_all(members.into_iter().map(|(n, v)| (n.into(), Some(v.into()))).collect());
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.members() == other.members()
    }
}

impl Eq for Map {}

impl std::ops::Index<&str> for Map {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Object ")?;
        f.debug_map().entries(self).finish()
    }
}
