//! What is wrong with a policy, worded as stock words it.

use ironclad_api::field::{ErrorList, FieldError, Path};
use ironclad_api::names::dns1123_subdomain;
use ironclad_json::Value;

const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];
const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];
/// Every mistake.
pub(super) fn errors(policy: &Value) -> ErrorList {
    let mut out = stages(&policy["omitStages"], &Path::new("omitStages"));
    for (at, one) in list(&policy["rules"]).iter().enumerate() {
        out.extend(rule(one, &Path::new("rules").index(at)));
    }
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], |list| list)
}

fn rule(rule: &Value, path: &Path) -> ErrorList {
    let mut out = ErrorList::new();
    let level = path.child("level");
    match rule["level"].as_str().unwrap_or_default() {
        "" => out.push(FieldError::required(&level, "")),
        known if LEVELS.contains(&known) => {}
        _ => out.push(FieldError::not_supported(&level, &rule["level"], &LEVELS)),
    }
    let urls = path.child("nonResourceURLs");
    for (at, url) in list(&rule["nonResourceURLs"]).iter().enumerate() {
        let text = url.as_str().unwrap_or_default();
        let invalid = |why: &str| FieldError::invalid(&urls.index(at), url, why);
        if text != "*" && !text.starts_with('/') {
            out.push(invalid("non-resource URL rules must begin with a '/' character"));
        }
        if text.find('*').is_some_and(|star| star + 1 < text.len()) {
            out.push(invalid("non-resource URL wildcards '*' must be the final character of the rule"));
        }
    }
    out.extend(resources(&rule["resources"], &path.child("resources")));
    out.extend(stages(&rule["omitStages"], &path.child("omitStages")));
    let of_resources = !list(&rule["resources"]).is_empty() || !list(&rule["namespaces"]).is_empty();
    if of_resources && !list(&rule["nonResourceURLs"]).is_empty() {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        out.push(FieldError::invalid(&urls, &rule["nonResourceURLs"], why));
    }
    out
}

fn resources(groups: &Value, path: &Path) -> ErrorList {
    let mut out = ErrorList::new();
    for one in list(groups) {
        let group = one["group"].as_str().unwrap_or_default();
        let wrong = if matches!(group, "" | "*") { Vec::new() } else { dns1123_subdomain(group) };
        if !wrong.is_empty() {
            out.push(FieldError::invalid_str(&path.child("group"), group, wrong.join(",")));
        }
        if list(&one["resources"]).is_empty() && !list(&one["resourceNames"]).is_empty() {
            let why = "using resourceNames requires at least one resource";
            out.push(FieldError::invalid(&path.child("resourceNames"), &one["resourceNames"], why));
        }
    }
    out
}

fn stages(stages: &Value, path: &Path) -> ErrorList {
    let known = |stage: &Value| stage.as_str().is_some_and(|s| STAGES.contains(&s));
    let wrong = list(stages).iter().enumerate().filter(|(_, stage)| !known(stage));
    let why = || format!("allowed stages are {}", STAGES.join(","));
    wrong.map(|(at, stage)| FieldError::invalid(&path.index(at), stage, why())).collect()
}
