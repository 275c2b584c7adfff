//! Namespaces.

use crate::Strategy;
use crate::read::{has, items};
use ironclad_api::object;
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::sync::LazyLock;

pub(crate) struct Namespace;

static COLUMNS: LazyLock<[Column; 3]> = LazyLock::new(|| {
    [Column::object_name(), Column::text("Status", "Whether the namespace is in use or going away."), Column::age()]
});

impl Strategy for Namespace {
    fn default(&self, namespace: &mut Value) {
        // The label by which selectors can name a namespace.
        let name = object::name(namespace).to_owned();
        if !name.is_empty() {
            let labels = object::entry_of(object::metadata_mut(namespace), "labels");
            labels.insert("kubernetes.io/metadata.name", json!(name));
        }
        // A status that says nothing is that of a namespace in use.
        let status = object::entry(namespace, "status");
        object::default_to(status, "phase", || json!("Active"));
    }

    fn prepare_create(&self, namespace: &mut Value) {
        namespace["status"] = json!({"phase": "Active"});
        let finalizers = &mut namespace["spec"]["finalizers"];
        let known = finalizers.as_array().is_some_and(|f| f.contains(&json!("kubernetes")));
        if !known {
            let mut list = finalizers.as_array().cloned().unwrap_or_default();
            list.push(json!("kubernetes"));
            *finalizers = Value::Array(list.into());
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
        if new["spec"]["finalizers"].is_null() {
            new["spec"] = json!({});
        }
    }

    fn validate(&self, namespace: &Value) -> ErrorList {
        let at = Path::new("spec").child("finalizers");
        let all = items(namespace, &["spec", "finalizers"]).iter().filter_map(Value::as_str);
        all.flat_map(|f| crate::metadata::finalizer(f, &at, true)).collect()
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn validate_subresource(&self, subresource: &str, new: &Value, _old: &Value) -> ErrorList {
        if subresource != "finalize" {
            return ErrorList::new();
        }
        let at = Path::new("spec").child("finalizers");
        let all = items(new, &["spec", "finalizers"]).iter().filter_map(Value::as_str).enumerate();
        all.flat_map(|(i, f)| crate::metadata::finalizer(f, &at.index(i), true)).collect()
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let (at, phase) = (Path::new("status").child("Phase"), object::text(new, &["status", "phase"]));
        let why = match (has(new, &["metadata", "deletionTimestamp"]), phase) {
            (false, "Active") | (true, "Terminating") => return ErrorList::new(),
            (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
            (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
        };
        vec![FieldError::invalid_str(&at, phase, why)]
    }

    fn prepare_status_update(&self, new: &mut Value, _old: &Value) {
        let status = object::entry(new, "status");
        object::default_to(status, "phase", || json!("Active"));
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn columns(&self) -> &[Column] {
        &*COLUMNS
    }

    fn cells(&self, namespace: &Value) -> Cells {
        vec![json!(object::name(namespace)), namespace["status"]["phase"].clone(), age(namespace)]
    }
}
