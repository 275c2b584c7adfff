//! What differs between two values.

use crate::{Map, Value};

/// Both objects without the members that are equal in both, at every level; what is no object is taken whole. Members
/// of which `skip` says so are left out.
pub fn diverging(old: &Value, new: &Value, skip: &dyn Fn(&str) -> bool) -> (Value, Value) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return (old.clone(), new.clone()) };
    let (mut left, mut right) = (Map::new(), Map::new());
    for (name, value) in before.iter().filter(|(name, _)| !skip(name)) {
        match after.get(name) {
            None => drop(left.insert(name.clone(), value.clone())),
            Some(other) if other == value => {}
            Some(other) => {
                let (value, other) = diverging(value, other, skip);
                left.insert(name.clone(), value);
                right.insert(name.clone(), other);
            }
        }
    }
    for (name, value) in after.iter().filter(|(name, _)| !skip(name) && !before.contains_key(name)) {
        right.insert(name.clone(), value.clone());
    }
    (Value::Object(left), Value::Object(right))
}
