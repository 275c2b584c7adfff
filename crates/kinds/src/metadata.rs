//! What is wrong with an object's metadata, worded as stock words it.

use crate::Kind;
use crate::common::inside::inside;
use crate::declared::once;
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Value, json};
use std::collections::HashSet;
use std::sync::LazyLock;

/// What the metadata of a template cannot have, in the order in which stock looks at it, and what stock calls it.
pub(crate) const OF_OBJECTS: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

/// Annotations of one object, keys and values, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// Checks the metadata of a new object.
pub fn validate_metadata(kind: &Kind, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata");
    let name = object::name(object);
    errors.extend(generate_name(kind, object, &path));
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        for why in kind.strategy.validate_name(name) {
            errors.push(FieldError::invalid_str(&path.child("name"), name, why));
        }
    }
    let namespace = object::namespace(object);
    if kind.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(&path.child("namespace"), ""));
        } else {
            for why in names::dns1123_label(namespace) {
                errors.push(FieldError::invalid_str(&path.child("namespace"), namespace, why));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
    }
    let meta = &object["metadata"];
    if let Some(generation) = meta["generation"].as_i64().filter(|n| *n < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), &json!(generation), why));
    }
    open_fields(meta, &path, &mut errors);
    errors.extend(finalizers(&meta["finalizers"], &path.child("finalizers")));
    errors.extend(own_finalizers(kind, meta, &path));
    errors
}

/// What a name was to begin with must be able to stand in a path.
fn path_prefix(meta: &Value, path: &Path) -> ErrorList {
    let given = meta["generateName"].as_str().unwrap_or_default();
    let wrong = ['/', '%'].into_iter().filter(|c| given.contains(*c));
    wrong
        .map(|c| FieldError::invalid_str(&path.child("generateName"), given, format!("may not contain '{c}'")))
        .collect()
}

/// What is wrong with what a name was to begin with. Replication controllers look at the name that came of it alone.
fn generate_name(kind: &Kind, object: &Value, path: &Path) -> ErrorList {
    let generate = object::text(object, &["metadata", "generateName"]);
    if generate.is_empty() {
        return ErrorList::new();
    }
    if &*kind.plural == "replicationcontrollers" {
        return path_prefix(&object["metadata"], path);
    }
    let base = match generate.strip_suffix('-') {
        Some(stem) => format!("{stem}a"),
        None => generate.to_owned(),
    };
    let wrong = kind.strategy.validate_name(&base).into_iter();
    wrong.map(|why| FieldError::invalid_str(&path.child("generateName"), generate, why)).collect()
}

/// Checks the metadata of an object that changes through the main resource or a subresource. Stock looks at them as
/// part of every object, and once more as part of most kinds, so that it names most mistakes more than once.
pub fn validate_metadata_update(kind: &Kind, subresource: &str, new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let meta = &new["metadata"];
    let mut errors = ErrorList::new();
    let again = Again::of(kind, subresource);
    errors.extend(path_prefix(meta, &path));
    open_fields(meta, &path, &mut errors);
    errors.extend(finalizers(&meta["finalizers"], &path.child("finalizers")));
    let changed = changes(new, old, &path);
    errors.extend(changed.clone());
    let looked_at = errors[path_prefix(meta, &path).len()..errors.len() - changed.len()].to_vec();
    let mut own = ErrorList::new();
    if again.update {
        own.extend(changed);
        own.extend(own_finalizers(kind, meta, &path));
    }
    for _ in 0..again.whole {
        own.extend(generate_name(kind, new, &path));
        own.extend(looked_at.clone());
        own.extend(own_finalizers(kind, meta, &path));
    }
    errors.extend(if kind.strategy.tells_once(subresource) { once(own) } else { own });
    errors
}

/// Which looks a kind takes at metadata besides those that every kind takes: at the update, and at the whole.
struct Again {
    update: bool,
    whole: usize,
}

/// Kinds that look at the update alone, at the whole alone, and not at all.
const UPDATE_ALONE: &[&str] = &[
    "cronjobs",
    "csidrivers",
    "customresourcedefinitions",
    "daemonsets",
    "deployments",
    "devicetaintrules",
    "horizontalpodautoscalers",
    "leasecandidates",
    "leases",
    "networkpolicies",
    "podtemplates",
    "priorityclasses",
    "replicasets",
    "replicationcontrollers",
    "resourcepoolstatusrequests",
    "resourcequotas",
    "resourceslices",
    "servicecidrs",
    "services",
    "statefulsets",
    "workloads",
];
const WHOLE_ALONE: &[&str] = &[
    "csinodes",
    "endpointslices",
    "flowschemas",
    "limitranges",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "prioritylevelconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "volumeattachments",
];
const NEITHER: &[&str] = &["poddisruptionbudgets", "storageversions"];

impl Again {
    fn of(kind: &Kind, subresource: &str) -> Self {
        let plural = &*kind.plural;
        let (update, whole) = match (plural, subresource) {
            // They look at the update themselves, between their own rules.
            ("jobs", "") => (false, 1),
            ("events", _) => (!kind.group.is_empty(), 0),
            ("cronjobs", "status") => (false, 0),
            ("certificatesigningrequests", _) => (true, 1),
            (other, _) if NEITHER.contains(&other) => (false, 0),
            (_, "status") => (true, 0),
            ("persistentvolumes", _) => (false, 2),
            _ if kind.custom.is_some() || UPDATE_ALONE.contains(&plural) => (true, 0),
            _ if WHOLE_ALONE.contains(&plural) => (false, 1),
            _ => (true, 1),
        };
        Self { update, whole }
    }
}

/// What is wrong with what clients write into metadata.
fn open_fields(meta: &Value, path: &Path, errors: &mut ErrorList) {
    errors.extend(labels(&meta["labels"], &path.child("labels")));
    errors.extend(annotations(&meta["annotations"], &path.child("annotations")));
    errors.extend(owners(&meta["ownerReferences"], &path.child("ownerReferences")));
}

/// What may not change, and once more what clients write.
fn changes(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !old["metadata"]["deletionTimestamp"].is_null() {
        let list = |v: &Value| v["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let before = list(old);
        let mut added: Vec<String> =
            list(new).iter().filter(|f| !before.contains(f)).filter_map(|f| f.as_str().map(str::to_owned)).collect();
        added.sort();
        added.dedup();
        if !added.is_empty() {
            let shown: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            errors.push(FieldError::forbidden(&path.child("finalizers"), why));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (is, was) = (&new["metadata"][field], &old["metadata"][field]);
        if is != was {
            errors.push(FieldError::invalid(&path.child(field), is, "field is immutable"));
        }
    }
    open_fields(&new["metadata"], path, &mut errors);
    errors
}

/// What is wrong with labels, wherever they stand.
pub(crate) fn labels(map: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in map.as_object().into_iter().flatten() {
        for why in names::qualified_name(key) {
            errors.push(FieldError::invalid_str(path, key, why));
        }
        let value = value.as_str().unwrap_or_default();
        for why in names::label_value(value) {
            errors.push(FieldError::invalid_str(path, value, why));
        }
    }
    errors
}

/// What is wrong with annotations, wherever they stand.
pub(crate) fn annotations(map: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        for why in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid_str(path, key, why));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

fn owners(list: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<String> = None;
    for owner in list.as_array().into_iter().flatten() {
        let [version, kind, name, uid] = ["apiVersion", "kind", "name", "uid"].map(|f| object::text(owner, &[f]));
        if version.is_empty() || version.ends_with('/') || version.matches('/').count() > 1 {
            errors.push(FieldError::invalid_str(&path.child("apiVersion"), version, "version must not be empty"));
        }
        let mut empty = |field: &str, why: &str| errors.push(FieldError::invalid_str(&path.child(field), "", why));
        for (field, _) in [("kind", kind), ("name", name), ("uid", uid)].iter().filter(|(_, v)| v.is_empty()) {
            empty(field, "must not be empty");
        }
        if (version, kind) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid_shown(path, inside(owner, "OwnerReference"), why));
        }
        if owner["controller"] == json!(true) {
            let this = format!("{kind}/{name}");
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    let all: Vec<String> =
                        list.as_array().into_iter().flatten().map(|o| inside(o, "OwnerReference")).collect();
                    errors.push(FieldError::invalid_shown(path, format!("[{}]", all.join(",")), why));
                }
            }
        }
    }
    errors
}

/// Groups of Kubernetes' own kinds that take any qualified name as a finalizer, as custom resources do.
const FREE: [&str; 6] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "policy",
];

/// Whether finalizers of a kind are standard ones or have a domain.
fn known_finalizers(kind: &Kind) -> bool {
    static GROUPS: LazyLock<HashSet<&'static str>> =
        LazyLock::new(|| crate::all().iter().map(|k| &*k.group).filter(|g| !FREE.contains(g)).collect());
    // Events keep what older clients write.
    let is_event = kind.group.is_empty() && &*kind.plural == "events";
    GROUPS.contains(&*kind.group) && !is_event
}

/// What is wrong with a finalizer; `known` asks for a standard one or one with a domain.
pub(crate) fn finalizer(text: &str, path: &Path, known: bool) -> ErrorList {
    let mut errors: ErrorList =
        names::qualified_name(text).into_iter().map(|why| FieldError::invalid_str(path, text, why)).collect();
    if known && !text.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&text) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid_str(path, text, why));
    }
    errors
}

fn finalizers(list: &Value, path: &Path) -> ErrorList {
    let all: Vec<&str> = list.as_array().into_iter().flatten().map(|f| f.as_str().unwrap_or_default()).collect();
    let mut errors = ErrorList::new();
    for text in &all {
        errors.extend(finalizer(text, path, false));
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, list, why));
    }
    errors
}

/// The look at an update that a kind takes besides that which every kind takes, for kinds of Kubernetes' own groups.
pub(crate) fn update_again(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = changes(new, old, &path);
    errors.extend(standard_finalizers(&new["metadata"], &path));
    errors
}

/// What is wrong with finalizers of kinds that take standard ones and those with a domain.
fn own_finalizers(kind: &Kind, meta: &Value, path: &Path) -> ErrorList {
    if known_finalizers(kind) { standard_finalizers(meta, path) } else { ErrorList::new() }
}

fn standard_finalizers(meta: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let all = meta["finalizers"].as_array();
    let path = path.child("finalizers");
    for (index, text) in all.into_iter().flatten().map(|f| f.as_str().unwrap_or_default()).enumerate() {
        let broken = names::qualified_name(text).len();
        errors.extend(finalizer(text, &path.index(index), true).into_iter().skip(broken));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(new: &Value, old: &Value) -> String {
        let meta = |v: &Value| json!({"metadata": v});
        changes(&meta(new), &meta(old), &Path::new("metadata")).first().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn metadata_that_may_not_change_is_named() {
        let deleted = "2026-01-01T00:00:00Z";
        let table = [
            (json!({"name": "a"}), json!({"name": "a"}), ""),
            (json!({"uid": "b"}), json!({"uid": "a"}), "metadata.uid: Invalid value: \"b\": field is immutable"),
            (
                json!({"deletionGracePeriodSeconds": 5}),
                json!({}),
                "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable",
            ),
            (
                json!({"deletionTimestamp": deleted, "finalizers": ["a/b"]}),
                json!({"deletionTimestamp": deleted, "finalizers": ["a/b", "a/c"]}),
                "",
            ),
            (
                json!({"deletionTimestamp": deleted, "finalizers": ["a/b"]}),
                json!({"deletionTimestamp": deleted}),
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a/b\"}",
            ),
        ];
        for (new, old, expected) in table {
            assert_eq!(first(&new, &old), expected);
        }
    }

    /// Group and plural, how often labels, a time of deletion and a finalizer are named, as stock was seen to do it.
    #[test]
    fn mistakes_in_metadata_are_named_as_often_as_stock_names_them() {
        let table = [
            ("", "configmaps", [4, 2, 2]),
            ("", "services", [3, 2, 1]),
            ("", "limitranges", [3, 1, 1]),
            ("", "persistentvolumes", [4, 1, 2]),
            ("", "events", [2, 1, 0]),
            ("apps", "deployments", [3, 2, 1]),
            ("apps", "controllerrevisions", [4, 2, 2]),
            ("rbac.authorization.k8s.io", "roles", [3, 2, 1]),
            ("rbac.authorization.k8s.io", "clusterrolebindings", [4, 2, 2]),
            ("policy", "poddisruptionbudgets", [2, 1, 0]),
            ("coordination.k8s.io", "leases", [3, 2, 0]),
            ("node.k8s.io", "runtimeclasses", [3, 2, 0]),
            ("events.k8s.io", "events", [3, 2, 1]),
            ("flowcontrol.apiserver.k8s.io", "flowschemas", [3, 1, 1]),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations", [3, 1, 0]),
        ];
        for (group, plural, counts) in table {
            let kind = crate::all().iter().find(|k| k.group == group && k.plural == plural).unwrap();
            let old = json!({"metadata": {"name": "a"}});
            let of = |meta: Value| validate_metadata_update(kind, "", &json!({"metadata": meta}), &old).len();
            let labels = of(json!({"name": "a", "labels": {"a b": "c"}}));
            let deletion = of(json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
            let finalizers = of(json!({"name": "a", "finalizers": ["a"]}));
            assert_eq!([labels, deletion, finalizers], counts, "{group}/{plural}");
        }
    }
}
