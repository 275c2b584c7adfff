//! The paths of a document: for each resource its collection, its objects and what is below them.

use super::schemas::Schemas;
use super::{Form, Resource, Subresource, place};
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const OBJECT_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What custom resources are not sent and answered in.
const BUILT_IN_TYPES: &[&str] = &["application/strategic-merge-patch+json", "application/vnd.kubernetes.protobuf"];

type Parameter = (&'static str, &'static str);
const WRITE: &[Parameter] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const FORCE: &[Parameter] = &[("force", "boolean")];
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const SELECT: &[Parameter] = &[
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
];
const WATCH: &[Parameter] = &[("allowWatchBookmarks", "boolean"), ("watch", "boolean")];

/// The paths of `resources`.
pub(super) fn all<'r>(schemas: &mut Schemas<'_>, resources: impl Iterator<Item = &'r Resource>) -> Value {
    let mut paths = Map::new();
    for resource in resources {
        one(schemas, resource, &mut paths);
    }
    Value::Object(paths)
}

/// What all operations of one path have in common.
struct At<'a> {
    path: String,
    /// Group, version and kind that the operation works on.
    gvk: &'a GroupVersionKind,
    /// How the place is called in operation ids.
    name: String,
    tag: String,
    custom: bool,
}

fn one(schemas: &mut Schemas<'_>, resource: &Resource, paths: &mut Map) {
    let base = format!("/{}", place(&resource.gvk));
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let group = resource.gvk.group.trim_end_matches(".k8s.io");
    let group = if group.is_empty() { "core" } else { group };
    let tag = format!("{}_{}", group.replace(['.', '-'], ""), resource.gvk.version);
    let id: String = group.split(['.', '-']).chain([resource.gvk.version.as_str()]).map(capital).collect();
    let namespaced = if resource.namespaced { "Namespaced" } else { "" };
    let kind = &resource.gvk.kind;
    let custom = resource.schema.is_some();
    let at = |path: String, name: String| At { path, gvk: &resource.gvk, name, tag: tag.clone(), custom };
    let collection = at(format!("{base}{scope}/{}", resource.plural), format!("{id}{namespaced}{kind}"));
    let item = at(format!("{}/{{name}}", collection.path), collection.name.clone());
    let all = at(format!("{base}/{}", resource.plural), format!("{id}{kind}ForAllNamespaces"));
    for verb in &resource.verbs {
        match *verb {
            "create" => put(paths, &collection, operation(schemas, &collection, "post")),
            "deletecollection" => put(paths, &collection, operation(schemas, &collection, "deletecollection")),
            "list" => {
                put(paths, &collection, operation(schemas, &collection, "list"));
                if resource.namespaced {
                    put(paths, &all, operation(schemas, &all, "list"));
                }
            }
            "get" | "delete" | "patch" => put(paths, &item, operation(schemas, &item, verb)),
            "update" => put(paths, &item, operation(schemas, &item, "put")),
            _ => {}
        }
    }
    for sub in &resource.subresources {
        below(schemas, resource, &item, sub, paths);
    }
}

fn below(schemas: &mut Schemas<'_>, resource: &Resource, item: &At<'_>, sub: &Subresource, paths: &mut Map) {
    let at = At {
        path: format!("{}/{}", item.path, sub.name),
        gvk: sub.kind.as_ref().unwrap_or(&resource.gvk),
        name: format!("{}{}", item.name, capital(&sub.name)),
        tag: item.tag.clone(),
        custom: item.custom,
    };
    let streams = matches!(sub.name.as_str(), "exec" | "attach" | "portforward" | "proxy");
    for verb in &sub.verbs {
        let done = match *verb {
            "create" if streams => ("post", connect(schemas, &at, "post")),
            "get" if streams => ("get", connect(schemas, &at, "get")),
            "update" if streams => ("put", connect(schemas, &at, "put")),
            "get" if sub.name == "log" => ("get", text(schemas, &at, "get", "get")),
            "create" => operation(schemas, &at, "post"),
            "update" => operation(schemas, &at, "put"),
            "get" | "delete" | "patch" => operation(schemas, &at, verb),
            _ => continue,
        };
        put(paths, &at, done);
    }
}

fn put(paths: &mut Map, at: &At<'_>, (method, operation): (&'static str, Value)) {
    let entry = paths.entry(at.path.clone()).or_insert_with(|| json!({}));
    entry[method] = operation;
}

/// The operation of an action, with its HTTP method.
fn operation(schemas: &mut Schemas<'_>, at: &At<'_>, action: &str) -> (&'static str, Value) {
    let object = schemas.kind(at.gvk);
    let (method, word, queries): (_, _, &[&[Parameter]]) = match action {
        "post" => ("post", "create", &[WRITE]),
        "put" => ("put", "replace", &[WRITE]),
        "patch" => ("patch", "patch", &[WRITE, FORCE]),
        "delete" => ("delete", "delete", &[DELETE]),
        "deletecollection" => ("delete", "deleteCollection", &[DELETE, SELECT]),
        "list" => ("get", "list", &[SELECT, WATCH]),
        _ => ("get", "read", &[]),
    };
    let (sent, answered) = match action {
        "post" | "put" => (object.clone(), object),
        "patch" => (Some(schemas.reference(PATCH)), object),
        "delete" | "deletecollection" => (Some(schemas.reference(DELETE_OPTIONS)), Some(schemas.reference(STATUS))),
        "list" => (None, schemas.list(at.gvk)),
        _ => (None, object),
    };
    let form = schemas.form;
    let mut op = head(at, word, action);
    let mut parameters = parameters(form, &at.path, queries);
    let mine = |types: &[&'static str]| -> Vec<&'static str> {
        types.iter().copied().filter(|t| !at.custom || !BUILT_IN_TYPES.contains(t)).collect()
    };
    let (types, objects) = (mine(if action == "patch" { PATCH_TYPES } else { OBJECT_TYPES }), mine(OBJECT_TYPES));
    if let Some(schema) = sent {
        let required = !action.starts_with("delete");
        if form == Form::V2 {
            parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
            op["consumes"] = if action == "patch" { json!(types) } else { json!(["*/*"]) };
        } else {
            op["requestBody"] = json!({"content": content(&types, &schema), "required": required});
        }
    }
    op["parameters"] = Value::Array(parameters.into());
    if form == Form::V2 {
        op["produces"] = json!(objects);
    }
    op["responses"] = responses(form, &objects, answered);
    (method, op)
}

fn connect(schemas: &mut Schemas<'_>, at: &At<'_>, method: &str) -> Value {
    text(schemas, at, method, "connect")
}

/// An operation that answers with text or a stream.
fn text(schemas: &Schemas<'_>, at: &At<'_>, method: &str, action: &str) -> Value {
    let word = if action == "connect" { format!("connect{}", capital(method)) } else { "read".to_owned() };
    let mut op = head(at, &word, action);
    op["parameters"] = Value::Array(parameters(schemas.form, &at.path, &[]).into());
    if schemas.form == Form::V2 {
        op["produces"] = json!(["*/*"]);
    }
    op["responses"] = responses(schemas.form, &["*/*"], Some(json!({"type": "string"})));
    op
}

fn head(at: &At<'_>, word: &str, action: &str) -> Value {
    let GroupVersionKind { group, version, kind } = at.gvk;
    json!({
        "operationId": format!("{word}{}", at.name), "tags": [at.tag], "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    })
}

fn content(types: &[&str], schema: &Value) -> Value {
    Value::Object(types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect())
}

fn responses(form: Form, types: &[&str], schema: Option<Value>) -> Value {
    let mut ok = json!({"description": "OK"});
    match (form, schema) {
        (_, None) => {}
        (Form::V2, Some(schema)) => ok["schema"] = schema,
        (Form::V3, Some(schema)) => ok["content"] = content(types, &schema),
    }
    json!({"200": ok, "401": {"description": "Unauthorized"}})
}

fn parameters(form: Form, path: &str, queries: &[&[Parameter]]) -> Vec<Value> {
    let one = |name: &str, place: &str, ty: &str| {
        let mut out = json!({"name": name, "in": place});
        if place == "path" {
            out["required"] = json!(true);
        }
        let schema = json!({"type": ty, "uniqueItems": true});
        match (form, schema) {
            (Form::V3, schema) => out["schema"] = schema,
            (Form::V2, Value::Object(schema)) => out.as_object_mut().expect("made as an object").extend(schema),
            (Form::V2, _) => {}
        }
        out
    };
    let in_path = ["namespace", "name"].into_iter().filter(|n| path.contains(&format!("{{{n}}}")));
    let mut out: Vec<Value> = in_path.map(|n| one(n, "path", "string")).collect();
    out.push(one("pretty", "query", "string"));
    out.extend(queries.iter().copied().flatten().map(|(name, ty)| one(name, "query", ty)));
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
