//! What is particular to a kind, as pure functions of its objects.
//!
//! The generic registry looks after metadata, generation, the split between an object and its status, managed fields
//! and deletion; a strategy says only what its kind adds. Objects are JSON values in the version of the strategy's row.

use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, names, object};
use ironclad_json::{Value, json};
use std::borrow::Cow;
use std::sync::LazyLock;

static NAME_AND_AGE: LazyLock<[Column; 2]> = LazyLock::new(|| [Column::object_name(), Column::age()]);

/// What a kind adds to the generic registry.
pub trait Strategy: Send + Sync + 'static {
    /// Fills in the defaults of the version. Called on every object that enters, before mutating admission.
    fn default(&self, _object: &mut Value) {}

    /// [`Self::default`] for what became of an object that has its defaults; who knows on which parts they depend need
    /// not look at the rest.
    fn default_changed(&self, new: &mut Value, _old: &Value) {
        self.default(new);
    }

    /// Readies a new object: resets what clients may not set. The generic registry has removed `status` already for
    /// kinds with a status subresource; a strategy that begins with a status (pods: `Pending`) sets it here.
    fn prepare_create(&self, _new: &mut Value) {}

    /// Readies an update through the main resource. The generic registry has put the old `status` back already for
    /// kinds with a status subresource.
    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    /// Readies an update through `status`. The generic registry has put everything but `status` and metadata back.
    fn prepare_status_update(&self, _new: &mut Value, _old: &Value) {}

    /// Readies an update through another subresource that carries the whole object, such as `resize`: puts back what
    /// that door does not change.
    fn prepare_subresource(&self, _subresource: &str, _new: &mut Value, _old: &Value) {}

    /// Readies an object for its end: called once, when its deletion is asked for; what is added to its finalizers
    /// here must happen before it goes.
    fn prepare_delete(&self, _object: &mut Value) {}

    /// What is wrong with a new object, metadata apart.
    fn validate(&self, _object: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// What is wrong with a change, metadata apart; `validate` of the new object is not called besides.
    fn validate_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    /// What is wrong with a change through `status`.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// What is wrong with a change through another subresource.
    fn validate_subresource(&self, _subresource: &str, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    /// Whether each mistake of a change is told once, as kinds with declared rules have it.
    fn tells_once(&self, _subresource: &str) -> bool {
        false
    }

    /// Warnings for the client (`Warning: ...`) about an object that is accepted.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// What is wrong with a name; the messages of [`names`].
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_subdomain(name)
    }

    /// Columns of the kind's table.
    fn columns(&self) -> &[Column] {
        &*NAME_AND_AGE
    }

    /// The cells of one object, in the order of the columns.
    fn cells(&self, object: &Value) -> Cells {
        vec![json!(object::name(object)), table::age(object)]
    }

    /// What a row of the table says of its object besides, such as that it has come to its end.
    fn row_conditions(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// The value of a selectable field, such as `spec.nodeName`; empty where it is missing.
    fn field<'a>(&self, object: &'a Value, field: &str) -> Cow<'a, str> {
        let found = field.split('.').try_fold(object, |v, key| v.get(key));
        match found {
            Some(Value::String(s)) => Cow::Borrowed(s),
            Some(Value::Null) | None => Cow::Borrowed(""),
            Some(other) => Cow::Owned(other.to_string()),
        }
    }

    /// The object in another version of its group and resource; `apiVersion` is set by the caller.
    fn convert(&self, object: Value, _version: &str) -> Value {
        object
    }

    /// Seconds of grace before an object goes; `None` deletes at once. `requested` comes from the delete options.
    fn grace_period(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Parts of the object besides its `spec` whose change counts in `metadata.generation`. By default everything but
    /// metadata and status counts.
    fn same_generation(&self, new: &Value, old: &Value) -> bool {
        let part = |key: &str| !matches!(key, "metadata" | "status" | "apiVersion" | "kind");
        let parts = |v: &'_ Value| v.as_object().into_iter().flatten().filter(|(k, _)| part(k)).count();
        let equal = |(key, value): (&ironclad_json::Text, &Value)| old.get(key) == Some(value);
        parts(new) == parts(old) && new.as_object().into_iter().flatten().filter(|(k, _)| part(k)).all(equal)
    }
}

/// A kind with nothing particular.
pub struct Plain;

impl Strategy for Plain {}
