//! Lists.

use crate::Value;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A list of values that is shared until it is changed.
#[derive(Clone, Default)]
pub struct List(Option<Arc<Vec<Value>>>);

static EMPTY: Vec<Value> = Vec::new();

impl List {
    /// Whether both are one.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    /// Says of each item whether it gets another value; copies nothing where none does. Returns whether any did.
    pub fn rewrite<E>(&mut self, mut judge: impl FnMut(usize, &Value) -> Result<Option<Value>, E>) -> Result<bool, E> {
        let mut changes = Vec::new();
        for (at, item) in self.iter().enumerate() {
            changes.extend(judge(at, item)?.map(|value| (at, value)));
        }
        if changes.is_empty() {
            return Ok(false);
        }
        let items: &mut Vec<Value> = self;
        changes.into_iter().for_each(|(at, value)| items[at] = value);
        Ok(true)
    }

    /// The items; copied only if somebody else has the list too.
    pub fn into_vec(self) -> Vec<Value> {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default()
    }
}

impl Deref for List {
    type Target = Vec<Value>;

    fn deref(&self) -> &Vec<Value> {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for List {
    fn deref_mut(&mut self) -> &mut Vec<Value> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl From<Vec<Value>> for List {
    fn from(items: Vec<Value>) -> Self {
        Self((!items.is_empty()).then(|| Arc::new(items)))
    }
}

impl<T: Into<Value>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().map(Into::into).collect::<Vec<_>>().into()
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl Eq for List {}

impl IntoIterator for List {
    type Item = Value;
    type IntoIter = std::vec::IntoIter<Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a Value;
    type IntoIter = std::slice::Iter<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut List {
    type Item = &'a mut Value;
    type IntoIter = std::slice::IterMut<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
