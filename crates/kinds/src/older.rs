//! A version of a kind that has another shape than the one in which its rules are written.
//!
//! Invariant: what holds of an object does not depend on the version in which it is sent: rules and the paths of
//! mistakes are those of the newer shape, as stock checks every version in one; declared rules alone know the older.

use crate::Strategy;
use crate::declared::{Step, settle};
use crate::rules::Rules;
use ironclad_api::ErrorList;
use ironclad_api::table::{Cells, Column};
use ironclad_json::Value;
use std::borrow::Cow;

/// The rules of a kind for objects of an older shape.
pub(crate) struct Older {
    pub(crate) rules: &'static Rules,
    /// To the shape of the rules.
    pub(crate) up: fn(Value) -> Value,
    /// From the shape of the rules.
    pub(crate) down: fn(Value) -> Value,
    /// What is declared with the type in its older shape, where the rules declare something.
    pub(crate) declared: &'static [Step],
}

impl Older {
    fn new_of(&self, object: &Value) -> Value {
        (self.up)(object.clone())
    }

    fn check(&self, subresource: &str, object: &Value, old: Option<&Value>) -> ErrorList {
        let was = old.map(|old| self.new_of(old));
        let by_hand = self.rules.by_hand(subresource, &self.new_of(object), was.as_ref());
        match self.rules.tells_once(subresource) {
            true => settle(by_hand, self.declared, object, old),
            false => by_hand,
        }
    }

    fn change(&self, object: &mut Value, change: impl FnOnce(&mut Value)) {
        let mut new = (self.up)(object.take());
        change(&mut new);
        *object = (self.down)(new);
    }
}

impl Strategy for Older {
    fn default(&self, object: &mut Value) {
        self.change(object, |o| self.rules.default(o));
    }

    fn prepare_create(&self, new: &mut Value) {
        self.change(new, |o| self.rules.prepare_create(o));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        let old = self.new_of(old);
        self.change(new, |o| self.rules.prepare_update(o, &old));
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let old = self.new_of(old);
        self.change(new, |o| self.rules.prepare_status_update(o, &old));
    }

    fn prepare_subresource(&self, subresource: &str, new: &mut Value, old: &Value) {
        let old = self.new_of(old);
        self.change(new, |o| self.rules.prepare_subresource(subresource, o, &old));
    }

    fn prepare_delete(&self, object: &mut Value) {
        self.change(object, |o| self.rules.prepare_delete(o));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        self.check("", object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        self.check("", new, Some(old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        self.check("status", new, Some(old))
    }

    fn validate_subresource(&self, subresource: &str, new: &Value, old: &Value) -> ErrorList {
        self.check(subresource, new, Some(old))
    }

    fn tells_once(&self, subresource: &str) -> bool {
        self.rules.tells_once(subresource)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let old = old.map(|o| self.new_of(o));
        self.rules.warnings(&self.new_of(new), old.as_ref())
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        self.rules.validate_name(name)
    }

    fn columns(&self) -> &[Column] {
        self.rules.columns()
    }

    fn cells(&self, object: &Value) -> Cells {
        self.rules.cells(&self.new_of(object))
    }

    fn field<'a>(&self, object: &'a Value, field: &str) -> Cow<'a, str> {
        Cow::Owned(self.rules.field(&self.new_of(object), field).into_owned())
    }

    fn convert(&self, object: Value, _version: &str) -> Value {
        (self.up)(object)
    }

    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        self.rules.grace_period(&self.new_of(object), requested)
    }

    fn same_generation(&self, new: &Value, old: &Value) -> bool {
        self.rules.same_generation(&self.new_of(new), &self.new_of(old))
    }
}
