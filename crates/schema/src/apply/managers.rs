//! `metadata.managedFields`: each manager's fields, read and written.

use super::set::Set;
use ironclad_api::ApiError;
use serde_json::{Value, json};

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// By applying.
    Apply,
    /// By any other write.
    Update,
}

/// Somebody who owns fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Name, for example `kubectl-client-side-apply`.
    pub name: String,
    /// How it came to own them.
    pub operation: Operation,
    /// The version of the object in which it wrote.
    pub api_version: String,
    /// The subresource through which it wrote, or empty.
    pub subresource: String,
    /// Now, as RFC 3339.
    pub time: String,
}

impl Manager {
    fn same(&self, other: &Self) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        self.name == other.name && self.operation == other.operation && self.subresource == other.subresource && version
    }

    /// As conflicts name it: `"kubectl" using apps/v1`.
    pub(super) fn describe(&self) -> String {
        let mut out = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update && !self.api_version.is_empty() {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

#[derive(Default)]
pub(super) struct Managed {
    entries: Vec<(Manager, Set)>,
}

impl Managed {
    pub(super) fn read(object: &Value) -> Result<Self, ApiError> {
        let list = object["metadata"]["managedFields"].as_array();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let mut entries = Vec::new();
        for entry in list.into_iter().flatten() {
            if entry == &json!({}) {
                continue;
            }
            let operation = if entry["operation"] == "Apply" { Operation::Apply } else { Operation::Update };
            let manager = Manager {
                name: text(&entry["manager"]),
                operation,
                api_version: text(&entry["apiVersion"]),
                subresource: text(&entry["subresource"]),
                time: text(&entry["time"]),
            };
            let fields = match entry.get("fieldsV1") {
                Some(fields) => Set::from_value(fields)
                    .map_err(|e| ApiError::bad_request(format!("metadata.managedFields: {e}")))?,
                None => Set::default(),
            };
            entries.push((manager, fields));
        }
        Ok(Self { entries })
    }

    pub(super) fn get(&self, manager: &Manager) -> Option<&Set> {
        self.entries.iter().find(|(m, _)| m.same(manager)).map(|(_, s)| s)
    }

    /// Everything that others own.
    pub(super) fn others(&self, manager: &Manager) -> Set {
        self.entries.iter().filter(|(m, _)| !m.same(manager)).fold(Set::default(), |all, (_, s)| all.union(s))
    }

    /// Who else owns any of `fields`.
    pub(super) fn conflicts(&self, manager: &Manager, fields: &Set) -> Vec<(Manager, Vec<String>)> {
        let others = self.entries.iter().filter(|(m, _)| !m.same(manager));
        let with = others.map(|(m, s)| (m.clone(), s.intersection(fields).describe()));
        with.filter(|(_, fields)| !fields.is_empty()).collect()
    }

    /// Takes `fields` from everybody else.
    pub(super) fn release(&mut self, manager: &Manager, fields: &Set) {
        for (m, set) in &mut self.entries {
            if !m.same(manager) {
                *set = set.minus(fields);
            }
        }
    }

    /// Takes fields that are gone from everybody.
    pub(super) fn forget(&mut self, removed: &Set) {
        for (_, set) in &mut self.entries {
            *set = set.without_trees(removed);
        }
    }

    /// `manager` owns exactly `fields`; its time stays when nothing changed.
    pub(super) fn set(&mut self, manager: &Manager, fields: Set, unchanged: bool) {
        match self.entries.iter_mut().find(|(m, _)| m.same(manager)) {
            Some((m, set)) => {
                if !unchanged || *set != fields || m.api_version != manager.api_version {
                    *m = manager.clone();
                }
                *set = fields;
            }
            None => self.entries.push((manager.clone(), fields)),
        }
    }

    /// `manager` owns `fields` besides what it has.
    pub(super) fn add(&mut self, manager: &Manager, fields: Set) {
        match self.entries.iter_mut().find(|(m, _)| m.same(manager)) {
            Some((m, set)) => {
                *m = manager.clone();
                *set = set.union(&fields);
            }
            None => self.entries.push((manager.clone(), fields)),
        }
    }

    /// Keeps at most `max` updaters: the oldest ones become one entry called `name`.
    pub(super) fn cap(&mut self, max: usize, name: &str) {
        let mut updaters: Vec<usize> =
            (0..self.entries.len()).filter(|i| self.entries[*i].0.operation == Operation::Update).collect();
        if updaters.len() <= max {
            return;
        }
        updaters.sort_by(|a, b| self.entries[*a].0.time.cmp(&self.entries[*b].0.time));
        let old: Vec<usize> = updaters[..=updaters.len() - max].to_vec();
        let mut manager = self.entries[old[0]].0.clone();
        name.clone_into(&mut manager.name);
        manager.subresource = String::new();
        let fields = old.iter().fold(Set::default(), |all, i| all.union(&self.entries[*i].1));
        let mut index = 0;
        self.entries.retain(|_| {
            index += 1;
            !old.contains(&(index - 1))
        });
        self.add(&manager, fields);
    }

    pub(super) fn write(mut self, object: &mut Value) {
        self.entries.retain(|(_, s)| !s.is_empty());
        // Appliers first, then by time, then by name: the order of stock.
        self.entries.sort_by(|(a, _), (b, _)| {
            let rank = |m: &Manager| m.operation == Operation::Update;
            (rank(a), &a.time, &a.name).cmp(&(rank(b), &b.time, &b.name))
        });
        let encode = |(m, s): &(Manager, Set)| {
            let operation = if m.operation == Operation::Apply { "Apply" } else { "Update" };
            let mut entry = json!({
                "manager": m.name, "operation": operation, "apiVersion": m.api_version, "time": m.time,
                "fieldsType": "FieldsV1", "fieldsV1": s.to_value(),
            });
            if !m.subresource.is_empty() {
                entry["subresource"] = json!(m.subresource);
            }
            entry
        };
        let list: Vec<Value> = self.entries.iter().map(encode).collect();
        let metadata = ironclad_api::object::metadata_mut(object);
        if list.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(list));
        }
    }
}
