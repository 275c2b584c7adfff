//! `value["name"]` and `value[0]`.

use crate::{Map, Text, Value};
use std::ops;

/// What values are indexed by.
pub trait Index {
    /// What is there.
    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value>;
    /// What is there, to change it.
    fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value>;
    /// What is there, made as null if it is missing in an object. Panics where there can be no such thing.
    fn make<'v>(&self, value: &'v mut Value) -> &'v mut Value;
}

impl Index for str {
    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.as_object()?.get(self)
    }

    fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        value.as_object_mut()?.get_mut(self)
    }

    fn make<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        match value {
            Value::Object(map) => map.entry(self).or_insert(Value::Null),
            other => panic!("cannot access key {self:?} in JSON {other}"),
        }
    }
}

impl Index for usize {
    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.as_array()?.get(*self)
    }

    fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        value.as_array_mut()?.get_mut(*self)
    }

    fn make<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        match value {
            Value::Array(list) => {
                let length = list.len();
                list.get_mut(*self).unwrap_or_else(|| panic!("cannot access item {self} of a list of {length}"))
            }
            other => panic!("cannot access item {self} of JSON {other}"),
        }
    }
}

macro_rules! as_str {
    ($($kind:ty),*) => {$(
        impl Index for $kind {
            fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
                Index::find(self.as_str(), value)
            }

            fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
                Index::find_mut(self.as_str(), value)
            }

            fn make<'v>(&self, value: &'v mut Value) -> &'v mut Value {
                Index::make(self.as_str(), value)
            }
        }
    )*};
}

as_str!(String, Text);

impl<T: Index + ?Sized> Index for &T {
    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        (**self).find(value)
    }

    fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        (**self).find_mut(value)
    }

    fn make<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        (**self).make(value)
    }
}

impl<I: Index> ops::Index<I> for Value {
    type Output = Value;

    fn index(&self, index: I) -> &Value {
        static NULL: Value = Value::Null;
        index.find(self).unwrap_or(&NULL)
    }
}

impl<I: Index> ops::IndexMut<I> for Value {
    fn index_mut(&mut self, index: I) -> &mut Value {
        index.make(self)
    }
}
