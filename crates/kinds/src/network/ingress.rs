//! Ingresses and IngressClasses.

use crate::print;
use crate::read::{at_mut, each, fill, has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};

pub(crate) const INGRESS: Rules =
    Rules::new().defaults(default).on_create(|o| o["status"] = json!({"loadBalancer": {}})).checks(validate).prints(
        const {
            &[
                Column::object_name(),
                Column::text(
                    "Class",
                    "The name of the IngressClass resource that should be used for additional configuration",
                ),
                Column::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
                Column::text("Address", "Address is a list containing ingress points for the load-balancer"),
                Column::text("Ports", "Ports of TLS configurations that open"),
                Column::age(),
            ]
        },
        cells,
    );

pub(crate) const CLASS: Rules = Rules::new()
    .defaults(|o| {
        if let Some(parameters) = at_mut(o, &["spec", "parameters"]) {
            fill(parameters, "scope", "Cluster");
        }
    })
    .checks(|o| {
        if text(o, &["spec", "controller"]).is_empty() {
            return vec![FieldError::required(&Path::new("spec").child("controller"), "")];
        }
        ErrorList::new()
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Controller", "Controller that is responsible for handling this class"),
                Column::text("Parameters", "A reference to a resource with additional parameters"),
                Column::age(),
            ]
        },
        class_cells,
    );

fn default(o: &mut Value) {
    if let Some(spec) = at_mut(o, &["spec"]) {
        each(spec, &["rules"], |rule| {
            each(rule, &["http", "paths"], |p| fill(p, "pathType", "ImplementationSpecific"))
        });
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let rules = items(o, &["spec", "rules"]);
    if rules.is_empty() && !has(o, &["spec", "defaultBackend"]) {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&at, &json!(rules), detail));
    }
    if has(o, &["spec", "defaultBackend"]) {
        backend(&o["spec"]["defaultBackend"], &at.child("defaultBackend"), &mut errors);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.child("rules").index(i);
        let host = text(rule, &["host"]);
        if !host.is_empty() {
            let bare = host.strip_prefix("*.").unwrap_or(host);
            let found = names::dns1123_subdomain(bare);
            errors.extend(found.into_iter().map(|e| FieldError::invalid_str(&at.child("host"), host, e)));
        }
        if !has(rule, &["http"]) {
            continue;
        }
        let at = at.child("http").child("paths");
        let paths = items(rule, &["http", "paths"]);
        if paths.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        for (j, path) in paths.iter().enumerate() {
            check_path(path, &at.index(j), &mut errors);
        }
    }
    errors
}

fn check_path(path: &Value, at: &Path, errors: &mut ErrorList) {
    let (kind, given) = (text(path, &["pathType"]), text(path, &["path"]));
    match kind {
        "" => errors.push(FieldError::required(&at.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" if !given.starts_with('/') => {
            errors.push(FieldError::invalid_str(&at.child("path"), given, "must be an absolute path"));
        }
        "Exact" | "Prefix" | "ImplementationSpecific" => {}
        other => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&at.child("pathType"), &json!(other), &supported));
        }
    }
    backend(&path["backend"], &at.child("backend"), errors);
}

fn backend(backend: &Value, at: &Path, errors: &mut ErrorList) {
    match (has(backend, &["service"]), has(backend, &["resource"])) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            errors.push(FieldError::invalid_str(at, "", detail));
        }
        (false, false) => errors.push(FieldError::required(at, "port name or number is required")),
        (true, false) => {
            let at = at.child("service");
            let name = text(backend, &["service", "name"]);
            if name.is_empty() {
                errors.push(FieldError::required(&at.child("name"), ""));
            }
            let port = &backend["service"]["port"];
            let (number, named) = (port["number"].as_i64().unwrap_or(0), text(port, &["name"]));
            if number == 0 && named.is_empty() {
                errors.push(FieldError::required(&at.child("port"), "port name or number is required"));
            } else if number != 0 && !named.is_empty() {
                let detail = "cannot set both port name & port number";
                errors.push(FieldError::invalid_str(&at.child("port"), "", detail));
            }
        }
        _ => {}
    }
}

fn cells(o: &Value) -> Cells {
    let rules = items(o, &["spec", "rules"]);
    let hosts: Vec<&str> = rules.iter().take(3).map(|r| text(r, &["host"])).filter(|h| !h.is_empty()).collect();
    let mut shown = if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") };
    if rules.len() > 3 && !hosts.is_empty() {
        shown = format!("{shown} + {} more...", rules.len() - 3);
    }
    let class = match text(o, &["spec", "ingressClassName"]) {
        "" => text(o, &["metadata", "annotations", "kubernetes.io/ingress.class"]),
        class => class,
    };
    let ports = if items(o, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        print::name(o),
        json!(print::non_empty(class)),
        json!(shown),
        json!(print::load_balancer(o)),
        json!(ports),
        table::age(o),
    ]
}

fn class_cells(o: &Value) -> Cells {
    let parameters = &o["spec"]["parameters"];
    let shown = if parameters.is_object() {
        let group = text(parameters, &["apiGroup"]);
        let kind = text(parameters, &["kind"]);
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        format!("{kind}/{}", text(parameters, &["name"]))
    } else {
        print::NONE.to_owned()
    };
    vec![print::name(o), json!(text(o, &["spec", "controller"])), json!(shown), table::age(o)]
}
