//! What is counted of the levels of pods, under stock's names. What happens to every pod where nothing is asked for is one
//! addition.

use super::labels::{Level, Standard};
use crate::metrics::{EXEMPTIONS, LEVEL_ERRORS, LEVELS};
use crate::{Operation, Request};
use ironclad_api::metrics::Series;
use std::sync::{Arc, LazyLock};

/// The minor version of Kubernetes that the checks know best.
const KNOWN: u32 = 37;

/// Pods that are created and updated where everything is allowed.
static PLAIN: LazyLock<[Arc<Series>; 2]> = LazyLock::new(|| {
    ["create", "update"]
        .map(|operation| LEVELS.of(&labels("allow", "enforce", ["privileged", "latest"], [operation, "pod", ""])))
});

fn labels<'a>(
    decision: &'a str,
    mode: &'a str,
    [level, version]: [&'a str; 2],
    [operation, resource, subresource]: [&'a str; 3],
) -> [(&'static str, &'a str); 7] {
    [
        ("decision", decision),
        ("mode", mode),
        ("policy_level", level),
        ("policy_version", version),
        ("request_operation", operation),
        ("resource", resource),
        ("subresource", subresource),
    ]
}

fn operation(request: &Request) -> &'static str {
    if request.operation == Operation::Create { "create" } else { "update" }
}

fn resource(request: &Request) -> &'static str {
    match (&*request.resource.group, &*request.resource.resource) {
        ("", "pods") => "pod",
        ("", "namespaces") => "namespace",
        _ => "controller",
    }
}

/// A request was held against a standard.
pub(super) fn evaluated(request: &Request, mode: &str, standard: &Standard, allowed: bool) {
    let (operation, resource) = (operation(request), resource(request));
    let plain = standard.level == Level::Privileged;
    if plain && allowed && mode == "enforce" && resource == "pod" && request.subresource.is_empty() {
        return PLAIN[usize::from(operation == "update")].add(1);
    }
    let level = standard.to_string();
    let level = level.split(':').next().unwrap_or_default();
    let version = match standard.minor() {
        // What is privileged is so in every version.
        _ if plain => "latest",
        u32::MAX => "latest",
        minor if minor > KNOWN => "future",
        _ => &standard.version,
    };
    let decision = if allowed { "allow" } else { "deny" };
    let about = [operation, resource, &*request.subresource];
    LEVELS.add(&labels(decision, mode, [level, version], about), 1);
}

/// A request was not judged.
pub(super) fn exempted(request: &Request) {
    let labels = [
        ("request_operation", operation(request)),
        ("resource", resource(request)),
        ("subresource", &*request.subresource),
    ];
    EXEMPTIONS.add(&labels, 1);
}

/// What is asked for could not be read.
pub(super) fn failed(request: &Request, fatal: bool) {
    let labels = [
        ("fatal", if fatal { "true" } else { "false" }),
        ("request_operation", operation(request)),
        ("resource", resource(request)),
        ("subresource", &*request.subresource),
    ];
    LEVEL_ERRORS.add(&labels, 1);
}
