//! Names and amounts of resources, and the rules of resource requirements.

use super::checks::rule;
use super::numbers::{amount, quantity};
use crate::read::{items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::BTreeSet;

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const OBJECTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a resource is one of Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether more of a resource may be asked for than there is.
pub(crate) fn can_exceed(name: &str) -> bool {
    is_native(name) && !is_pages(name)
}

/// Whether a resource is one that a device plugin or a class of devices brings.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a resource is counted in whole units.
pub(crate) fn is_counted(name: &str) -> bool {
    OBJECTS.contains(&name) || is_extended(name)
}

/// Whether a pod as a whole can ask for a resource.
pub(crate) fn is_of_pods(name: &str) -> bool {
    name == "cpu" || name == "memory" || is_pages(name)
}

fn is_quota_name(name: &str) -> bool {
    let part = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    COMPUTE.contains(&part) || OBJECTS.contains(&name) || name == "requests.storage" || is_quota_pages(name)
}

fn is_quota_pages(name: &str) -> bool {
    is_pages(name.strip_prefix("requests.").unwrap_or(name))
}

fn is_standard(name: &str) -> bool {
    is_quota_name(name) || name == "storage"
}

/// Checks the name of a resource.
pub(crate) fn name(name: &str, at: &Path, errors: &mut ErrorList) -> bool {
    let found = names::qualified_name(name);
    let before = errors.len();
    rule(found, name, at, errors);
    if errors.len() == before && !name.contains('/') && !is_standard(name) {
        errors.push(FieldError::invalid_str(at, name, "must be a standard resource type or fully qualified"));
    }
    errors.len() == before
}

/// Checks the name of a resource that a container can ask for.
pub(crate) fn container_name(given: &str, at: &Path, errors: &mut ErrorList) {
    name(given, at, errors);
    if !given.contains('/') {
        if !COMPUTE.contains(&given) && !is_pages(given) {
            errors.push(FieldError::invalid_str(at, given, "must be a standard resource for containers"));
        }
    } else if !is_native(given) && !is_extended(given) {
        errors.push(FieldError::invalid_str(at, given, "doesn't follow extended resource name standard"));
    }
}

/// Checks the name of a resource that a pod as a whole can ask for.
fn pod_name(given: &str, at: &Path, errors: &mut ErrorList) {
    if name(given, at, errors) && !["cpu", "memory"].contains(&given) && !is_pages(given) {
        errors.push(FieldError::not_supported(at, &json!(given), &["cpu", "hugepages-", "memory"]));
    }
}

/// Checks a resource of a quota, its name and its amount.
pub(crate) fn quota(given: &str, value: &Value, at: &Path, errors: &mut ErrorList) {
    name(given, at, errors);
    if !given.contains('/') && !is_quota_name(given) {
        errors.push(FieldError::invalid_str(at, given, "must be a standard resource for quota"));
    }
    amount(value, is_counted(given), at, errors);
}

/// Checks what a container asks for.
pub(crate) fn container(resources: &Value, claims: &BTreeSet<&str>, at: &Path, errors: &mut ErrorList) {
    check(resources, container_name, claims, at, errors);
}

/// Checks what a pod as a whole asks for.
pub(crate) fn pod(resources: &Value, claims: &BTreeSet<&str>, at: &Path, errors: &mut ErrorList) {
    check(resources, pod_name, claims, at, errors);
}

fn check(
    resources: &Value,
    check_name: fn(&str, &Path, &mut ErrorList),
    claims: &BTreeSet<&str>,
    at: &Path,
    errors: &mut ErrorList,
) {
    let (mut pages, mut compute) = (false, false);
    for part in ["limits", "requests"] {
        for (name, value) in map(resources, &[part]).into_iter().flatten() {
            let part_at = at.child(part).key(name);
            check_name(name, &part_at, errors);
            amount(value, is_counted(name), &part_at, errors);
            compute |= name == "cpu" || name == "memory";
            if is_pages(name) {
                pages = true;
                page_size(name, value, &part_at, errors);
            }
            if part == "requests" {
                request(resources, name, value, at, errors);
            }
        }
    }
    if pages && !compute {
        errors.push(FieldError::forbidden(at, "HugePages require cpu or memory"));
    }
    claim_names(items(resources, &["claims"]), claims, &at.child("claims"), errors);
}

/// A request is not above its limit, and just its limit where nothing may be exceeded.
fn request(resources: &Value, name: &str, value: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(asked) = quantity(value) else { return };
    match resources["limits"].get(name).and_then(quantity) {
        Some(limit) if asked != limit && !can_exceed(name) => {
            let why = format!("must be equal to {name} limit of {limit}");
            errors.push(FieldError::invalid_str(&at.child("requests"), &asked.to_string(), why));
        }
        Some(limit) if asked > limit => {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid_str(&at.child("requests"), &asked.to_string(), why));
        }
        None if !can_exceed(name) => {
            errors
                .push(FieldError::required(&at.child("limits"), "Limit must be set for non overcommitable resources"));
        }
        _ => {}
    }
}

fn page_size(name: &str, value: &Value, at: &Path, errors: &mut ErrorList) {
    let size = quantity(&json!(&name["hugepages-".len()..])).map_or(0, ironclad_api::quantity::Quantity::value);
    let Some(asked) = quantity(value) else { return };
    if size <= 0 || asked.value() % size != 0 {
        let why = format!("{asked} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid_str(at, &asked.to_string(), why));
    }
}

fn claim_names(given: &[Value], claims: &BTreeSet<&str>, at: &Path, errors: &mut ErrorList) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, claim) in given.iter().enumerate() {
        let (at, name, request) = (at.index(i), text(claim, &["name"]), text(claim, &["request"]));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        if !request.is_empty() {
            rule(names::dns1123_label(request), request, &at.child("request"), errors);
        }
        let again = seen.iter().any(|(n, r)| *n == name && (r.is_empty() || request.is_empty() || *r == request));
        if again {
            let shown = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            errors.push(FieldError::duplicate(&at, &json!(shown)));
        }
        seen.push((name, request));
        if !claims.contains(name) {
            let mut e = FieldError::not_found(&at, &json!(name));
            let known = match claims.len() {
                0 => " which is empty".to_owned(),
                _ => format!(": {}", claims.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            e.detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(e);
        }
    }
}
