//! The parameters of operations: what may stand in a path or in a query.

use super::Form;
use ironclad_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A parameter of a query: name, type, what it does.
pub(super) type Query = (&'static str, &'static str, &'static str);

const DRY_RUN: Query =
    ("dryRun", "string", "`All` processes the request in every stage, but stores nothing; nothing else is valid.");
const MANAGER: Query =
    ("fieldManager", "string", "Who makes the changes, in at most 128 printable characters. Needed to apply.");
const VALIDATION: Query = (
    "fieldValidation",
    "string",
    "What becomes of unknown and duplicate fields: `Ignore`, `Warn` (the default) or `Strict`.",
);
pub(super) const PRETTY: Query = ("pretty", "string", "Whether the answer is laid out for people.");
pub(super) const WRITE: &[Query] = &[DRY_RUN, MANAGER, VALIDATION];
pub(super) const FORCE: &[Query] =
    &[("force", "boolean", "Whether an apply takes over fields that others own. Only for apply.")];
pub(super) const DELETE: &[Query] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds that the object has to end; 0 deletes at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Whether an object that cannot be read from the store is deleted without its finalizers.",
    ),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "What becomes of dependents: `Orphan`, `Background` or `Foreground`."),
];
pub(super) const SELECT: &[Query] = &[
    ("continue", "string", "Where to go on with a list that was cut off by its limit."),
    ("fieldSelector", "string", "Restricts the list by fields of the objects."),
    ("labelSelector", "string", "Restricts the list by labels of the objects."),
    ("limit", "integer", "The most objects that are answered at once."),
    ("resourceVersion", "string", "The version that is shown, or from which on changes are shown."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: `Exact` or `NotOlderThan`."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with what is there, closed by a bookmark."),
    ("shardSelector", "string", "Restricts the list to a part of the range of hashes."),
    ("timeoutSeconds", "integer", "After how many seconds the call ends."),
];
pub(super) const WATCH: &[Query] = &[
    ("allowWatchBookmarks", "boolean", "Whether bookmarks are sent."),
    ("watch", "boolean", "Whether changes are shown as they come."),
];

const STREAMS: [Query; 4] = [
    ("stderr", "boolean", "Whether standard error is streamed."),
    ("stdin", "boolean", "Whether standard input is streamed."),
    ("stdout", "boolean", "Whether standard output is streamed."),
    ("tty", "boolean", "Whether there is a terminal."),
];
const CONTAINER: Query = ("container", "string", "The container; may be left out where there is only one.");
const ATTACH: &[Query] = &[CONTAINER, STREAMS[0], STREAMS[1], STREAMS[2], STREAMS[3]];
const EXEC: &[Query] = &[
    ("command", "string", "The command, part by part; no shell is involved."),
    CONTAINER,
    STREAMS[0],
    STREAMS[1],
    STREAMS[2],
    STREAMS[3],
];
const LOG: &[Query] = &[
    CONTAINER,
    ("follow", "boolean", "Whether the log is followed."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Whether the node's certificate is left unchecked."),
    ("limitBytes", "integer", "The most bytes that are answered."),
    ("previous", "boolean", "Whether it is the log of the container that ended last."),
    ("sinceSeconds", "integer", "How far back the log goes, in seconds."),
    ("stream", "string", "Which stream: `All`, `Stdout` or `Stderr`."),
    ("tailLines", "integer", "How many of the last lines are answered."),
    ("timestamps", "boolean", "Whether every line begins with its time."),
];

/// What reading one custom resource takes.
pub(super) const VERSION: &[Query] =
    &[("resourceVersion", "string", "The version that is shown, or from which on changes are shown.")];

/// What a subresource that is no object takes.
pub(super) fn of_subresource(name: &str) -> &'static [Query] {
    match name {
        "attach" => ATTACH,
        "exec" => EXEC,
        "portforward" => &[("ports", "integer", "Ports that are forwarded.")],
        "proxy" => &[("path", "string", "The part of the URL that is asked of the backend.")],
        "log" => LOG,
        _ => &[],
    }
}

/// A parameter of a query.
pub(super) fn query(form: Form, (name, ty, doc): Query) -> Value {
    one(form, name, "query", ty, doc)
}

/// A parameter of a path.
pub(super) fn in_path(form: Form, name: &str, kind: &str) -> Value {
    let doc = match name {
        "namespace" => "The namespace of the object.".to_owned(),
        "path" => "The part of the URL that is asked of the backend.".to_owned(),
        _ => format!("name of the {kind}"),
    };
    one(form, name, "path", "string", &doc)
}

fn one(form: Form, name: &str, place: &str, ty: &str, doc: &str) -> Value {
    let mut out = json!({"name": name, "in": place, "description": doc});
    if place == "path" {
        out["required"] = json!(true);
    }
    match form {
        Form::V3 => out["schema"] = json!({"type": ty, "uniqueItems": true}),
        Form::V2 => {
            out["type"] = json!(ty);
            out["uniqueItems"] = json!(true);
        }
    }
    out
}

/// Puts the parameters that all operations of a path have in common to the path, and all in their order.
pub(super) fn hoist(item: &mut Map) {
    let is_body = |p: &Value| p["in"] == "body";
    let of = |op: &Value| op["parameters"].as_array().cloned().unwrap_or_default();
    let mut common: Vec<Value> = item.values().next().map(of).unwrap_or_default();
    common.retain(|p| !is_body(p) && item.values().all(|op| of(op).contains(p)));
    let sorted = |list: &mut Vec<Value>| {
        list.sort_by_key(|p| (p["name"].as_str().map(str::to_owned), p["in"].as_str().map(str::to_owned)));
    };
    for op in item.values_mut() {
        let mut left = of(op);
        left.retain(|p| !common.contains(p));
        sorted(&mut left);
        match left.is_empty() {
            true => drop(op.as_object_mut().map(|op| op.remove("parameters"))),
            false => op["parameters"] = Value::from(left),
        }
    }
    if !common.is_empty() {
        sorted(&mut common);
        item.insert("parameters".to_owned(), Value::from(common));
    }
}

/// Parameters of version 2 that stand once for the whole document, by their names there.
#[derive(Default)]
pub(super) struct Shared(pub(super) BTreeMap<String, Value>);

impl Shared {
    /// Puts references in the place of what can be shared.
    pub(super) fn take(&mut self, item: &mut Value) {
        let Some(map) = item.as_object_mut() else { return };
        for (key, value) in map {
            let list = if key == "parameters" { Some(value) } else { value.get_mut("parameters") };
            for parameter in list.and_then(Value::as_array_mut).into_iter().flatten() {
                self.one(parameter);
            }
        }
    }

    fn one(&mut self, parameter: &mut Value) {
        let name = parameter["name"].as_str().unwrap_or_default();
        let generic =
            parameter["schema"]["$ref"].as_str().is_some_and(|r| r.starts_with("#/definitions/io.k8s.apimachinery."));
        // What names the kind, and what clients look for in each operation, stays where it is.
        if matches!(name, "name" | "fieldValidation" | "dryRun") || parameter["in"] == "body" && !generic {
            return;
        }
        let shared = format!("{name}-{:08x}", fnv(&parameter.to_string()) as u32);
        let reference = json!({"$ref": format!("#/parameters/{shared}")});
        self.0.entry(shared).or_insert_with(|| std::mem::take(parameter));
        *parameter = reference;
    }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(b))
}
