//! The operations of paths, worded as stock words them.

use super::parameters::{self, DELETE, FORCE, PRETTY, Query, SELECT, VERSION, WATCH, WRITE};
use super::schemas::Schemas;
use super::{Form, capital};
use ironclad_api::GroupVersionKind;
use ironclad_json::{Value, json};

pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const OBJECT_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAM_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const CUSTOM_TYPES: &[&str] = &["application/json", "application/yaml"];

/// Kinds whose deletion answers with the object.
const ANSWERING: &[&str] = &[
    "CSIDriver",
    "CSINode",
    "DeviceClass",
    "DeviceTaintRule",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourcePoolStatusRequest",
    "ResourceQuota",
    "ResourceSlice",
    "Service",
    "ServiceAccount",
    "StorageClass",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// What all operations of one path have in common.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) path: String,
    /// Group, version and kind that the operation works on.
    pub(super) gvk: &'a GroupVersionKind,
    /// The kind of the resource itself.
    pub(super) kind: &'a str,
    /// Group and version in operation ids.
    pub(super) prefix: String,
    /// How the place is called in operation ids.
    pub(super) name: String,
    pub(super) tag: String,
    pub(super) custom: bool,
    /// The subresource, or empty.
    pub(super) sub: &'a str,
    /// What is sent and answered.
    pub(super) answer: &'a GroupVersionKind,
    pub(super) list_kind: &'a str,
    pub(super) watched: bool,
}

impl At<'_> {
    fn objects(&self) -> &'static [&'static str] {
        if self.custom { CUSTOM_TYPES } else { OBJECT_TYPES }
    }
}

/// `a` or `an` with spaces around; nothing but a space before plurals.
fn article(kind: &str) -> &'static str {
    match kind.chars().next() {
        _ if kind.ends_with('s') && !kind.ends_with("ss") => " ",
        Some('A' | 'E' | 'I' | 'O' | 'U') => " an ",
        _ => " a ",
    }
}

/// What an operation does.
fn description(at: &At<'_>, verb: &str) -> String {
    let kind = at.kind;
    let of = |word: &str, noun: String| match at.sub {
        "" => format!("{word}{noun}"),
        sub => format!("{word} {sub} of{noun}"),
    };
    match verb {
        "create" => of("create", format!("{}{kind}", article(kind))),
        "update" => of("replace", format!(" the specified {kind}")),
        "patch" => of("partially update", format!(" the specified {kind}")),
        "delete" => of("delete", format!("{}{kind}", article(kind))),
        "deletecollection" => format!("delete collection of {kind}"),
        "list" if at.watched && !at.custom => format!("list or watch objects of kind {kind}"),
        "list" => format!("list objects of kind {kind}"),
        _ => of("read", format!(" the specified {kind}")),
    }
}

/// The operation of a verb.
pub(super) fn operation(schemas: &mut Schemas<'_>, at: &At<'_>, verb: &str) -> Value {
    let (word, action, queries): (_, _, &[&[Query]]) = match verb {
        "create" => ("create", "post", &[WRITE]),
        "update" => ("replace", "put", &[WRITE]),
        "patch" => ("patch", "patch", &[WRITE, FORCE]),
        "delete" => ("delete", "delete", &[DELETE]),
        "deletecollection" if at.custom => ("deleteCollection", "deletecollection", &[SELECT, WATCH]),
        "deletecollection" => ("deleteCollection", "deletecollection", &[DELETE, SELECT]),
        "list" => ("list", "list", &[SELECT, WATCH]),
        _ if at.custom => ("read", "get", &[VERSION]),
        _ => ("read", "get", &[]),
    };
    let object = schemas.kind(at.answer);
    let collection = verb == "deletecollection";
    let (sent, answered) = match verb {
        "create" | "update" => (object.clone(), object),
        "patch" => (Some(schemas.reference(PATCH)), object),
        "delete" if ANSWERING.contains(&at.kind) && at.sub.is_empty() && !at.custom => {
            (Some(schemas.reference(DELETE_OPTIONS)), object)
        }
        "delete" | "deletecollection" => {
            let sent = (!(collection && at.custom)).then(|| schemas.reference(DELETE_OPTIONS));
            (sent, Some(schemas.reference(STATUS)))
        }
        "list" => (None, schemas.list(at.gvk, at.list_kind)),
        _ => (None, object),
    };
    let codes: &[u16] = match verb {
        "create" => &[200, 201, 202],
        "update" => &[200, 201],
        "patch" if !at.custom => &[200, 201],
        "delete" => &[200, 202],
        _ => &[200],
    };
    let types = match verb {
        "list" if !at.custom => STREAM_TYPES,
        _ => at.objects(),
    };
    let (before, after) = match word {
        "deleteCollection" => ("delete", "Collection"),
        other => (other, ""),
    };
    let mut op = head(at, &format!("{before}{}{after}{}", at.prefix, at.name), action);
    op["description"] = json!(description(at, verb));
    let mut queries: Vec<Query> = queries.concat();
    queries.push(PRETTY);
    finish(schemas.form, at, &mut op, &queries, types, codes, answered);
    if let Some(schema) = sent {
        send(schemas.form, at, &mut op, verb, &schema);
    }
    op
}

/// Puts in what is sent.
fn send(form: Form, at: &At<'_>, op: &mut Value, verb: &str, schema: &Value) {
    let patches: Vec<&str> = PATCH_TYPES.iter().copied().filter(|t| !at.custom || !t.contains("strategic")).collect();
    let types: &[&str] = match verb {
        "patch" => &patches,
        _ if at.custom => CUSTOM_TYPES,
        _ => &["*/*"],
    };
    match form {
        Form::V3 => {
            let mut body = json!({"content": content(types, schema)});
            if !verb.starts_with("delete") {
                body["required"] = json!(true);
            }
            op["requestBody"] = body;
        }
        Form::V2 => {
            let mut body = json!({"name": "body", "in": "body", "schema": schema});
            if !verb.starts_with("delete") {
                body["required"] = json!(true);
            }
            if let Some(list) = op["parameters"].as_array_mut() {
                list.push(body);
            }
            op["consumes"] = json!(types);
        }
    }
}

/// One of the old doors for watches.
pub(super) fn watch(schemas: &mut Schemas<'_>, at: &At<'_>, list: bool) -> Value {
    let mut op = head(at, &format!("watch{}{}", at.prefix, at.name), if list { "watchlist" } else { "watch" });
    let kind = at.kind;
    op["description"] = json!(match list {
        true => format!(
            "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
        ),
        false => format!(
            "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
        ),
    });
    let event = schemas.reference(WATCH_EVENT);
    let queries = [SELECT, WATCH, &[PRETTY]].concat();
    finish(schemas.form, at, &mut op, &queries, STREAM_TYPES, &[200], Some(event));
    op
}

/// An operation that streams.
pub(super) fn connect(schemas: &Schemas<'_>, at: &At<'_>, method: &str) -> Value {
    let mut op = head(at, &format!("connect{}{}{}", at.prefix, capital(method), at.name), "connect");
    op["description"] = json!(format!("connect {} requests to {} of {}", method.to_uppercase(), at.sub, at.kind));
    let queries = parameters::of_subresource(at.sub);
    finish(schemas.form, at, &mut op, queries, &["*/*"], &[200], Some(json!({"type": "string"})));
    if schemas.form == Form::V2 {
        op["consumes"] = json!(["*/*"]);
    }
    op
}

/// An operation that answers with text.
pub(super) fn text(schemas: &Schemas<'_>, at: &At<'_>) -> Value {
    let mut op = head(at, &format!("read{}{}", at.prefix, at.name), "get");
    op["description"] = json!(description(at, "get"));
    let queries = [parameters::of_subresource(at.sub), &[PRETTY]].concat();
    let types = [&["text/plain"], OBJECT_TYPES].concat();
    finish(schemas.form, at, &mut op, &queries, &types, &[200], Some(json!({"type": "string"})));
    op
}

/// An operation that tells what there is.
pub(super) fn document(schemas: &mut Schemas<'_>, at: &At<'_>, id: &str, what: &str, definition: &str) -> Value {
    let id = id.replacen("get", &format!("get{}", at.prefix), 1);
    let mut op = json!({"operationId": id, "tags": [at.tag], "description": what});
    let answer = schemas.reference(definition);
    // The release is only JSON.
    let types = if id == "getCodeVersion" { &OBJECT_TYPES[..1] } else { OBJECT_TYPES };
    finish(schemas.form, at, &mut op, &[], types, &[200], Some(answer));
    if schemas.form == Form::V2 {
        op["consumes"] = json!(OBJECT_TYPES);
    }
    op
}

fn head(at: &At<'_>, id: &str, action: &str) -> Value {
    let GroupVersionKind { group, version, kind } = at.gvk;
    json!({
        "operationId": id, "tags": [at.tag], "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    })
}

/// Puts in the parameters and the answers.
fn finish(
    form: Form,
    at: &At<'_>,
    op: &mut Value,
    queries: &[Query],
    types: &[&str],
    codes: &[u16],
    answer: Option<Value>,
) {
    let in_path = ["namespace", "name", "path"].into_iter().filter(|n| at.path.contains(&format!("{{{n}}}")));
    let mut list: Vec<Value> = in_path.map(|n| parameters::in_path(form, n, at.gvk.kind.as_str())).collect();
    list.extend(queries.iter().map(|q| parameters::query(form, *q)));
    op["parameters"] = Value::from(list);
    let mut responses = json!({"401": {"description": "Unauthorized"}});
    for code in codes {
        let text = match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        let mut response = json!({"description": text});
        match (form, &answer) {
            (Form::V2, Some(schema)) => response["schema"] = schema.clone(),
            (Form::V3, Some(schema)) => response["content"] = content(types, schema),
            (_, None) => {}
        }
        responses[code.to_string()] = response;
    }
    op["responses"] = responses;
    if form == Form::V2 {
        op["produces"] = json!(types);
        op["schemes"] = json!(["https"]);
        if op.get("consumes").is_none() {
            op["consumes"] = json!(if at.custom { CUSTOM_TYPES } else { &["*/*"] });
        }
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    Value::Object(types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect())
}
