//! Rules of what is reported of a pod.

use super::checks::{immutable, rule};
use super::ip;
use crate::read::{count, each, has, int, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashSet;

/// The reports of containers, and the lists of the containers that they are about.
const REPORTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
const CLAIM: &str = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";

/// Readies a status: what it leaves out and what stays, and the one address beside the list of them.
pub(crate) fn prepare(new: &mut Value, old: &Value) {
    let status = crate::read::child(new, "status");
    if text(status, &["qosClass"]).is_empty() && has(old, &["status", "qosClass"]) {
        put(status, "qosClass", old["status"]["qosClass"].clone());
    }
    if count(status, &["observedGeneration"]) == 0 && count(old, &["status", "observedGeneration"]) > 0 {
        put(status, "observedGeneration", old["status"]["observedGeneration"].clone());
    }
    keep_generations(status, &old["status"]);
    without_what_is_off(status);
    let one = text(status, &["podIP"]).to_owned();
    let first = items(status, &["podIPs"]).first().map(|ip| text(ip, &["ip"]).to_owned());
    match first {
        Some(first) if one.is_empty() && !first.is_empty() => put(status, "podIP", json!(first)),
        // Older clients know only the one.
        first if !one.is_empty() && first.as_deref() != Some(&one) => put(status, "podIPs", json!([{"ip": one}])),
        _ => {}
    }
}

/// A condition that says nothing of the generation it was seen at keeps that of the old one of its type.
fn keep_generations(status: &mut Value, old: &Value) {
    let mut known: Vec<&Value> = items(old, &["conditions"]).iter().collect();
    each(status, &["conditions"], |condition| {
        let Some(i) = known.iter().position(|k| k["type"] == condition["type"]) else { return };
        let generation = &known.remove(i)["observedGeneration"];
        if count(condition, &["observedGeneration"]) == 0 && generation.as_i64().is_some_and(|n| n > 0) {
            put(condition, "observedGeneration", generation.clone());
        }
    });
}

/// ImageVolumeWithDigest and DRANodeAllocatableResources.
fn without_what_is_off(status: &mut Value) {
    for key in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        each(status, &[key], |container| {
            each(container, &["volumeMounts"], |mount| {
                mount.as_object_mut().map(|m| m.remove("volumeStatus"));
            });
        });
    }
    status.as_object_mut().map(|s| s.remove("nodeAllocatableResourceClaimStatuses"));
}

/// Warnings about the addresses of a pod and of its node.
pub(crate) fn warnings(pod: &Value) -> Vec<String> {
    let list = |key: &'static str| {
        let at = Path::new("status").child(key);
        let each = items(pod, &["status", key]).iter().enumerate();
        each.filter_map(move |(i, ip)| ip::warning(text(ip, &["ip"]), &at.index(i).child("ip"))).collect::<Vec<_>>()
    };
    [list("podIPs"), list("hostIPs")].concat()
}

/// What is wrong with a change of a pod's status.
pub(crate) fn validate(new: &Value, old: &Value) -> ErrorList {
    let (status, was, at) = (&new["status"], &old["status"], Path::new("status"));
    let mut errors = ErrorList::new();
    for (i, condition) in items(status, &["conditions"]).iter().enumerate() {
        let (at, kind) = (at.child("conditions").index(i), text(condition, &["type"]));
        observed(condition, &at, &mut errors);
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            rule(names::qualified_name(kind), kind, &at.child("Type"), &mut errors);
        }
    }
    let nominated = text(status, &["nominatedNodeName"]);
    if nominated != text(was, &["nominatedNodeName"]) && !nominated.is_empty() {
        let at = at.child("nominatedNodeName");
        rule(names::dns1123_subdomain(nominated), nominated, &at, &mut errors);
        if !text(old, &["spec", "nodeName"]).is_empty() {
            errors.push(FieldError::forbidden(&at, "may not be set on pods that are already bound to a node"));
        }
    }
    observed(status, &at, &mut errors);
    immutable(status, was, &at, &["qosClass"], &mut errors);
    for (key, kind) in [("containerStatuses", 0), ("initContainerStatuses", 1), ("ephemeralContainerStatuses", 2)] {
        transitions(status, was, &old["spec"], key, kind, &mut errors);
    }
    claims(status, &new["spec"], &at.child("resourceClaimStatuses"), &mut errors);
    extended(&status["extendedResourceClaimStatus"], &new["spec"], &at, &mut errors);
    addresses(status, &at, &mut errors);
    for (key, _) in REPORTS {
        for (i, report) in items(status, &[key]).iter().enumerate() {
            user(
                &report["user"],
                text(&new["spec"], &["os", "name"]),
                &at.child(key).index(i).child("user"),
                &mut errors,
            );
        }
    }
    for (key, list) in REPORTS {
        for (i, report) in items(status, &[key]).iter().enumerate() {
            let at = at.child(key).index(i).child("allocatedResourcesStatus");
            match list {
                "ephemeralContainers" if !items(report, &["allocatedResourcesStatus"]).is_empty() => {
                    errors.push(FieldError::forbidden(&at, "must not be specified in container status"));
                }
                "ephemeralContainers" => {}
                list => health(report, items(&new["spec"], &[list]), &at, &mut errors),
            }
        }
    }
    errors
}

fn observed(o: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(n) = int(o, &["observedGeneration"])
        && n < 0
    {
        errors.push(FieldError::invalid(&at.child("observedGeneration"), &json!(n), "must be a non-negative integer"));
    }
}

fn addresses(status: &Value, at: &Path, errors: &mut ErrorList) {
    for (key, primary) in [("podIPs", None), ("hostIPs", Some("hostIP"))] {
        let (ips, at) = (items(status, &[key]), at.child(key));
        if let (Some(primary), Some(first)) = (primary, ips.first())
            && text(status, &[primary]) != text(first, &["ip"])
        {
            let why = format!("must be equal to `{primary}`");
            errors.push(FieldError::invalid_str(&at.index(0).child("ip"), text(first, &["ip"]), why));
        }
        for (i, given) in ips.iter().enumerate() {
            ip::address(text(given, &["ip"]), &at.index(i), errors);
        }
        if ips.len() > 1 && (ips.len() > 2 || !ip::dual(text(&ips[0], &["ip"]), text(&ips[1], &["ip"]))) {
            let why = "may specify no more than one IP for each IP family";
            errors.push(FieldError::invalid(&at, &json!(ips), why));
        }
    }
}

/// Claims that were made from templates belong to entries of the specification, and each stands once.
fn claims(status: &Value, spec: &Value, at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, claim) in items(status, &["resourceClaimStatuses"]).iter().enumerate() {
        let (at, name) = (at.index(i), text(claim, &["name"]));
        if !items(spec, &["resourceClaims"]).iter().any(|c| text(c, &["name"]) == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid_str(&at.child("name"), name, why));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        if let Some(made) = claim.get("resourceClaimName").and_then(Value::as_str) {
            rule(names::dns1123_subdomain(made), made, &at.child("resourceClaimName"), errors);
        }
    }
}

/// The claim that stands for extended resources, and which request of it is for which container.
fn extended(claim: &Value, spec: &Value, at: &Path, errors: &mut ErrorList) {
    if !claim.is_object() {
        return;
    }
    let at = at.child("extendedResourceClaimStatus");
    let mappings = items(claim, &["requestMappings"]);
    let mappings_at = at.child("requestMappings");
    if mappings.is_empty() {
        errors.push(FieldError::required(&mappings_at, "at least one request mapping is required"));
    }
    let mut seen = HashSet::new();
    for (i, mapping) in mappings.iter().enumerate() {
        let own = mappings_at.index(i);
        let [container, resource, request] =
            ["containerName", "resourceName", "requestName"].map(|k| text(mapping, &[k]));
        let mut known = ["initContainers", "containers"].iter().flat_map(|list| items(spec, &[list]));
        match known.rfind(|c| text(c, &["name"]) == container) {
            Some(c) if has(c, &["resources", "requests", resource]) => {}
            Some(_) => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(FieldError::invalid_str(&own.child("resourceName"), resource, why));
            }
            None => {
                let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid_str(&own.child("containerName"), container, why));
            }
        }
        rule(names::dns1123_label(request), request, &at.child("requestName"), errors);
        if !seen.insert((container, resource, request)) {
            for (key, given) in [("containerName", container), ("resourceName", resource), ("requestName", request)] {
                errors.push(FieldError::duplicate(&own.child(key), &json!(given)));
            }
        }
    }
    super::checks::required_rule(claim, &at, "resourceClaimName", names::dns1123_subdomain, errors);
}

/// Who a container runs as. Numbers may be larger than those that can be asked for.
fn user(user: &Value, os: &str, at: &Path, errors: &mut ErrorList) {
    if !has(user, &["linux"]) {
        return;
    }
    let (linux, at) = (&user["linux"], at.child("linux"));
    if os == "windows" {
        errors.push(FieldError::forbidden(&at, "cannot be set for a windows pod"));
        return;
    }
    let mut check = |given: &Value, most: i64, at: &Path| {
        if given.as_i64().is_some_and(|n| !(0..=most).contains(&n)) {
            errors.push(FieldError::invalid(at, given, format!("must be between 0 and {most}, inclusive")));
        }
    };
    let (users, groups) = (i64::from(u32::MAX), i64::from(i32::MAX));
    check(&linux["uid"], users, &at.child("uid"));
    check(&linux["gid"], groups, &at.child("gid"));
    for (i, group) in items(linux, &["supplementalGroups"]).iter().enumerate() {
        check(group, groups, &at.child("supplementalGroups").index(i));
    }
}

/// Reports of the health of devices are about what the container asked for.
fn health(report: &Value, containers: &[Value], at: &Path, errors: &mut ErrorList) {
    const MESSAGE_MAX: usize = 1024;
    let container = containers.iter().find(|c| text(c, &["name"]) == text(report, &["name"]));
    for (i, allocated) in items(report, &["allocatedResourcesStatus"]).iter().enumerate() {
        let (at, name) = (at.index(i), text(allocated, &["name"]));
        if let Some(c) = container {
            let claimed = |claim: &Value| match text(claim, &["request"]) {
                "" => format!("claim:{}", text(claim, &["name"])) == name,
                request => format!("claim:{}/{request}", text(claim, &["name"])) == name,
            };
            let (found, why) = match name.starts_with("claim:") {
                true => (items(c, &["resources", "claims"]).iter().any(claimed), CLAIM),
                false => {
                    let why = "must match one of the container's resource requests";
                    (has(c, &["resources", "requests", name]), why)
                }
            };
            if !found {
                errors.push(FieldError::invalid_str(&at.child("name"), name, why));
            }
        }
        let mut seen = HashSet::new();
        for (j, resource) in items(allocated, &["resources"]).iter().enumerate() {
            let at = at.child("resources").index(j);
            let (state, id) = (text(resource, &["health"]), text(resource, &["resourceID"]));
            let states = ["Healthy", "Unhealthy", "Unknown"];
            if !states.contains(&state) {
                errors.push(FieldError::not_supported(&at.child("health"), &json!(state), &states));
            }
            match resource.get("message").and_then(Value::as_str) {
                Some("") => {
                    errors.push(FieldError::required(&at.child("message"), "must be non-empty if specified"));
                }
                Some(text) if text.len() > MESSAGE_MAX => {
                    errors.push(FieldError::too_long(&at.child("message"), MESSAGE_MAX));
                }
                _ => {}
            }
            if !seen.insert(id) {
                errors.push(FieldError::duplicate(&at.child("resourceID"), &json!(id)));
            }
        }
    }
}

/// A container that ended and is not started again does not run again.
fn transitions(status: &Value, was: &Value, spec: &Value, key: &str, kind: u8, errors: &mut ErrorList) {
    let list = ["containers", "initContainers", "ephemeralContainers"][usize::from(kind)];
    for (i, before) in items(was, &[key]).iter().enumerate() {
        let name = text(before, &["name"]);
        if !has(before, &["state", "terminated"]) {
            continue;
        }
        let container = items(spec, &[list]).iter().find(|c| text(c, &["name"]) == name);
        let own = container.map_or("", |c| text(c, &["restartPolicy"]));
        let policy = if own.is_empty() { text(spec, &["restartPolicy"]) } else { own };
        let failed = count(before, &["state", "terminated", "exitCode"]) != 0;
        let rules = container.is_some_and(|c| !items(c, &["restartPolicyRules"]).is_empty());
        let again = kind != 2 && (policy == "Always" || (policy == "OnFailure" && failed) || rules);
        let runs =
            items(status, &[key]).iter().any(|s| text(s, &["name"]) == name && !has(s, &["state", "terminated"]));
        if !again && runs {
            let at = Path::new("status").child(key).index(i).child("state");
            errors.push(FieldError::forbidden(&at, "may not be transitioned to non-terminated state"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_about_what_the_pod_asked_for() {
        let spec = json!({
            "containers": [{"name": "c", "resources": {"requests": {"e/x": "1"}, "claims": [{"name": "r"}]}}],
            "resourceClaims": [{"name": "r"}],
        });
        let table: [(Value, &[&str]); 6] = [
            (
                json!({"resourceClaimStatuses": [{"name": "z"}]}),
                &[
                    "status.resourceClaimStatuses[0].name: Invalid value: \"z\": must match the name of an entry in `spec.resourceClaims`",
                ],
            ),
            (
                json!({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [
                    {"name": "claim:r", "resources": [{"resourceID": "a", "health": "Healthy"}]}]}]}),
                &[],
            ),
            (
                json!({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": "e/y"}]}]}),
                &[
                    "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"e/y\": must match one of the container's resource requests",
                ],
            ),
            (
                json!({"containerStatuses": [{"name": "c", "user": {"linux": {"uid": 4294967296i64, "gid": 2147483648i64}}}]}),
                &[
                    "status.containerStatuses[0].user.linux.uid: Invalid value: 4294967296: must be between 0 and 4294967295, inclusive",
                    "status.containerStatuses[0].user.linux.gid: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"extendedResourceClaimStatus": {"resourceClaimName": "n", "requestMappings": [
                    {"containerName": "z", "resourceName": "e/x", "requestName": "r"}]}}),
                &[
                    "status.extendedResourceClaimStatus.requestMappings[0].containerName: Invalid value: \"z\": must match the name of an entry in spec.initContainers.name or spec.containers.name",
                ],
            ),
            (
                json!({"podIPs": [{"ip": "x"}]}),
                &[
                    "status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
        ];
        for (status, want) in table {
            let new = json!({"spec": spec, "status": status});
            let found: Vec<String> =
                validate(&new, &json!({"spec": spec, "status": {}})).iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{new}");
        }
    }

    #[test]
    fn the_first_address_follows_the_one() {
        let mut new = json!({"status": {"podIP": "1.1.1.1", "podIPs": [{"ip": "2.2.2.2"}]}});
        prepare(&mut new, &json!({"status": {"qosClass": "Burstable", "observedGeneration": 3}}));
        let want = json!({"podIP": "1.1.1.1", "podIPs": [{"ip": "1.1.1.1"}], "qosClass": "Burstable", "observedGeneration": 3});
        assert_eq!(new["status"], want);
    }
}
