//! `metadata.managedFields`: each manager's fields, read and written.

use super::set::Set;
use ironclad_api::object::metadata_mut;
use ironclad_json::{Value, json};
use std::collections::HashMap;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
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
    /// When, as RFC 3339; empty where that is not known.
    pub time: String,
}

impl Manager {
    /// Whether they are one: who applies is the same in every version.
    pub(super) fn same(&self, other: &Self) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        self.name == other.name && self.operation == other.operation && self.subresource == other.subresource && version
    }

    /// As conflicts name it: `"kubectl" using apps/v1`.
    pub(super) fn describe(&self) -> String {
        let mut out = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// Managers with the fields that they own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Managed {
    pub(super) entries: Vec<(Manager, Set)>,
}

impl Managed {
    /// From `metadata.managedFields`; the error says what cannot be understood.
    pub(super) fn read(object: &Value) -> Result<Self, String> {
        let list = object["metadata"]["managedFields"].as_array();
        let entries = list.into_iter().flatten().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// What is written in `object`, or nobody where it cannot be understood.
    pub(super) fn read_or_none(object: &Value) -> Self {
        Self::read(object).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, manager: &Manager) -> Option<&(Manager, Set)> {
        self.entries.iter().find(|(m, _)| m.same(manager))
    }

    /// `manager` owns exactly `fields`.
    pub(super) fn set(&mut self, manager: Manager, fields: Set) {
        match self.entries.iter_mut().find(|(m, _)| m.same(&manager)) {
            Some(entry) => *entry = (manager, fields),
            None => self.entries.push((manager, fields)),
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

    /// Forgets who owns nothing.
    pub(super) fn prune(&mut self) {
        self.entries.retain(|(_, s)| !s.is_empty());
    }

    /// Keeps at most `max` updaters: the oldest ones of a version become one entry called `name`.
    pub(super) fn cap(&mut self, max: usize, name: &str) {
        let updates = self.entries.iter().filter(|(m, _)| m.operation == Operation::Update);
        let mut updaters: Vec<Manager> = updates.map(|(m, _)| m.clone()).collect();
        let mut count = updaters.len();
        updaters.sort_by(|a, b| (&a.time, &a.name, &a.api_version).cmp(&(&b.time, &b.name, &b.api_version)));
        let mut first: HashMap<String, Manager> = HashMap::new();
        for manager in updaters {
            if count <= max {
                return;
            }
            let bucket = Manager { name: name.to_owned(), subresource: String::new(), ..manager.clone() };
            let Some(oldest) = first.get(&manager.api_version) else {
                first.insert(manager.api_version.clone(), manager);
                continue;
            };
            if self.get(&bucket).is_none() {
                let fields = self.take(oldest);
                self.entries.push((bucket.clone(), fields));
            }
            let fields = self.take(&manager);
            self.add(&bucket, fields);
            count -= 1;
        }
    }

    fn take(&mut self, manager: &Manager) -> Set {
        let place = self.entries.iter().position(|(m, _)| m.same(manager));
        place.map(|p| self.entries.swap_remove(p).1).unwrap_or_default()
    }

    /// Writes `metadata.managedFields`, in the order of stock: who applied first, then by time and name.
    pub(super) fn write(mut self, object: &mut Value) {
        self.prune();
        self.entries.sort_by(|(a, _), (b, _)| {
            let key = |m: &Manager| {
                (m.operation, m.time.clone(), m.name.clone(), m.api_version.clone(), m.subresource.clone())
            };
            key(a).cmp(&key(b))
        });
        let list: Vec<Value> = self.entries.iter().map(encode).collect();
        let metadata = metadata_mut(object);
        if list.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields", Value::Array(list.into()));
        }
    }
}

fn entry(entry: &Value) -> Result<(Manager, Set), String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let operation = match entry["operation"].as_str() {
        Some("Apply") => Operation::Apply,
        Some("Update") => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    if !matches!(entry["fieldsType"].as_str(), Some("FieldsV1" | "")) {
        return Err("fieldsType must be `FieldsV1`".to_owned());
    }
    let manager = Manager {
        name: text(&entry["manager"]),
        operation,
        api_version: text(&entry["apiVersion"]),
        subresource: text(&entry["subresource"]),
        time: text(&entry["time"]),
    };
    let fields = entry.get("fieldsV1").map_or_else(|| Ok(Set::default()), Set::from_value)?;
    Ok((manager, fields))
}

fn encode((manager, set): &(Manager, Set)) -> Value {
    let mut entry = json!({
        "manager": manager.name, "operation": manager.operation.name(), "apiVersion": manager.api_version,
        "fieldsType": "FieldsV1", "fieldsV1": set.to_value(),
    });
    for (field, text) in [("time", &manager.time), ("subresource", &manager.subresource)] {
        if !text.is_empty() {
            entry[field] = json!(text);
        }
    }
    entry
}
