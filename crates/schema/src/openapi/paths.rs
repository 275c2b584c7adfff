//! The paths of a document: for each resource its collection, its objects, what is below them, and the old doors for
//! watches.

use super::operations::{self, At};
use super::parameters::hoist;
use super::schemas::Schemas;
use super::{Resource, Subresource, capital, place, word};
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};

/// Subresources through which bytes go to and fro.
const STREAMS: [&str; 4] = ["exec", "attach", "portforward", "proxy"];
/// Methods that a proxy takes.
const PROXIED: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

type Paths = Map;

/// The paths of the resources of one group and version.
pub(super) fn all(schemas: &mut Schemas<'_>, resources: &[Resource]) -> Paths {
    let mut paths = Paths::new();
    if let Some(first) = resources.iter().find(|r| r.schema.is_none()) {
        let at = of(&first.gvk, format!("/{}/", place(&first.gvk)));
        let list = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
        let op = operations::document(schemas, &at, "getAPIResources", "get available resources", list);
        put(&mut paths, &at, "get", op);
    }
    for resource in resources {
        one(schemas, resource, &mut paths);
    }
    for item in paths.values_mut() {
        if let Value::Object(item) = item {
            hoist(item);
        }
    }
    paths
}

/// The place of a group's version.
fn of(gvk: &GroupVersionKind, path: String) -> At<'_> {
    let group = gvk.group.strip_suffix(".k8s.io").unwrap_or(&gvk.group);
    let group = if group.is_empty() { "core" } else { group };
    At {
        path,
        gvk,
        kind: &gvk.kind,
        prefix: format!("{}{}", word(group, true), word(&gvk.version, true)),
        name: String::new(),
        tag: format!("{}_{}", word(group, false), word(&gvk.version, false)),
        custom: false,
        sub: "",
        answer: gvk,
        list_kind: "",
        watched: false,
    }
}

fn one(schemas: &mut Schemas<'_>, resource: &Resource, paths: &mut Paths) {
    let base = format!("/{}", place(&resource.gvk));
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let namespaced = if resource.namespaced { "Namespaced" } else { "" };
    let (kind, plural) = (&resource.gvk.kind, &resource.plural);
    let watched = resource.verbs.contains(&"watch");
    let at = |path: String, name: String| At {
        path,
        name,
        custom: resource.schema.is_some(),
        list_kind: &resource.list_kind,
        watched,
        ..of(&resource.gvk, String::new())
    };
    let collection = at(format!("{base}{scope}/{plural}"), format!("{namespaced}{kind}"));
    let item = at(format!("{}/{{name}}", collection.path), collection.name.clone());
    let all = at(format!("{base}/{plural}"), format!("{kind}ForAllNamespaces"));
    for verb in &resource.verbs {
        let (at, method) = match *verb {
            "create" => (&collection, "post"),
            "deletecollection" => (&collection, "delete"),
            "list" => (&collection, "get"),
            "update" => (&item, "put"),
            "get" | "delete" | "patch" => (&item, *verb),
            _ => continue,
        };
        put(paths, at, method, operations::operation(schemas, at, verb));
        if *verb == "list" && resource.namespaced {
            put(paths, &all, "get", operations::operation(schemas, &all, "list"));
        }
    }
    if watched && resource.schema.is_none() {
        let old = |path: &str| path.replacen(&base, &format!("{base}/watch"), 1);
        let list = at(old(&collection.path), format!("{}List", collection.name));
        put(paths, &list, "get", operations::watch(schemas, &list, true));
        let single = at(old(&item.path), item.name.clone());
        put(paths, &single, "get", operations::watch(schemas, &single, false));
        if resource.namespaced {
            let everywhere = at(old(&all.path), format!("{kind}ListForAllNamespaces"));
            put(paths, &everywhere, "get", operations::watch(schemas, &everywhere, true));
        }
    }
    for sub in &resource.subresources {
        below(schemas, &item, sub, paths);
    }
}

fn below(schemas: &mut Schemas<'_>, item: &At<'_>, sub: &Subresource, paths: &mut Paths) {
    let answer = sub.kind.as_ref().unwrap_or(item.gvk);
    let at = At {
        path: format!("{}/{}", item.path, sub.name),
        name: format!("{}{}", item.name, capital(&sub.name)),
        sub: &sub.name,
        answer,
        // The operations of a custom resource are all of its own kind.
        gvk: if item.custom { item.gvk } else { answer },
        ..item.clone()
    };
    if STREAMS.contains(&sub.name.as_str()) {
        let options = connect_options(item.kind, &sub.name);
        let gvk = GroupVersionKind::new(&item.gvk.group, &item.gvk.version, &options);
        let at = At { gvk: &gvk, ..at };
        let mine: &[&str] = if sub.name == "proxy" { &PROXIED } else { &["get", "post"] };
        for method in mine {
            put(paths, &at, method, operations::connect(schemas, &at, method));
        }
        if sub.name == "proxy" {
            let deep = At { path: format!("{}/{{path}}", at.path), name: format!("{}WithPath", at.name), ..at };
            for method in mine {
                put(paths, &deep, method, operations::connect(schemas, &deep, method));
            }
        }
        return;
    }
    for verb in &sub.verbs {
        let method = match *verb {
            "create" => "post",
            "update" => "put",
            "get" | "delete" | "patch" => *verb,
            _ => continue,
        };
        let done = match sub.name == "log" {
            true => operations::text(schemas, &at),
            false => operations::operation(schemas, &at, verb),
        };
        put(paths, &at, method, done);
    }
}

/// The kind of the options of a subresource that streams: `PodExecOptions`.
fn connect_options(kind: &str, sub: &str) -> String {
    let what = if sub == "portforward" { "PortForward".to_owned() } else { capital(sub) };
    format!("{kind}{what}Options")
}

fn put(paths: &mut Paths, at: &At<'_>, method: &str, operation: Value) {
    paths.entry(at.path.clone()).or_insert_with(|| json!({}))[method] = operation;
}
