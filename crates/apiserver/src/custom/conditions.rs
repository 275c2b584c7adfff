//! What the status of a definition should be, from what it asks for and what others of its group have.

use ironclad_api::object::{self, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use ironclad_kinds::custom::{condition, has_usable_bundle, is_true, set_condition};
use ironclad_structural::check;
use std::collections::HashSet;
use std::sync::Arc;

const APPROVED: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// The definition with the status that it should have; the same if nothing is to be done. `others` are the other
/// definitions of its group.
pub(super) fn settled(definition: &Value, others: &[Arc<Value>]) -> Value {
    let mut new = definition.clone();
    names(&mut new, others);
    approval(&mut new);
    structure(&mut new);
    establish(&mut new);
    new
}

fn texts<'a>(names: &'a Value, key: &str) -> Vec<&'a str> {
    names[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Accepts the names that nobody else has.
fn names(definition: &mut Value, others: &[Arc<Value>]) {
    let wanted = definition["spec"]["names"].clone();
    let accepted = definition["status"]["acceptedNames"].clone();
    if wanted == accepted {
        return;
    }
    let taken = |keys: &[&str]| -> HashSet<String> {
        let of = |o: &Arc<Value>| {
            let names = &o["status"]["acceptedNames"];
            let single = keys.iter().map(|k| text(names, &[k]).to_owned());
            let short = if keys[0] == "plural" { texts(names, "shortNames") } else { Vec::new() };
            single.chain(short.into_iter().map(str::to_owned)).collect::<Vec<_>>()
        };
        others.iter().flat_map(of).filter(|n| !n.is_empty()).collect()
    };
    let (resources, kinds) = (taken(&["plural", "singular"]), taken(&["kind", "listKind"]));
    let mut new = if accepted.is_object() { accepted.clone() } else { json!({}) };
    let mut conflict: Option<(&str, String)> = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (key, reason) in [("plural", "PluralConflict"), ("singular", "SingularConflict")] {
        let name = text(&wanted, &[key]);
        match name != text(&accepted, &[key]) && resources.contains(name) {
            true => conflict = Some((reason, in_use(name))),
            false => new[key] = json!(name),
        }
    }
    if texts(&wanted, "shortNames") != texts(&accepted, "shortNames") {
        let mine = texts(&accepted, "shortNames");
        let clashes: Vec<String> = texts(&wanted, "shortNames")
            .into_iter()
            .filter(|n| !mine.contains(n) && resources.contains(*n))
            .map(in_use)
            .collect();
        match clashes.as_slice() {
            [] => put(&mut new, "shortNames", &wanted["shortNames"]),
            [one] => conflict = Some(("ShortNamesConflict", one.clone())),
            many => conflict = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
        }
    }
    for (key, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        let name = text(&wanted, &[key]);
        match name != text(&accepted, &[key]) && kinds.contains(name) {
            true => conflict = Some((reason, in_use(name))),
            false => new[key] = json!(name),
        }
    }
    put(&mut new, "categories", &wanted["categories"]);
    let (status, reason, message) = match &conflict {
        None => ("True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => ("False", *reason, message.as_str()),
    };
    let same = condition(definition, "NamesAccepted").is_some_and(|c| {
        text(c, &["status"]) == status && text(c, &["reason"]) == reason && text(c, &["message"]) == message
    });
    if same && new == accepted {
        return;
    }
    object::entry(definition, "status").insert("acceptedNames".to_owned(), new);
    set_condition(definition, "NamesAccepted", status, reason, message);
    if condition(definition, "Established").is_none() && status == "False" {
        set_condition(definition, "Established", "False", "NotAccepted", "not all names are accepted");
    }
}

fn put(names: &mut Value, key: &str, value: &Value) {
    let Some(map) = names.as_object_mut() else { return };
    match value.is_null() {
        true => drop(map.remove(key)),
        false => drop(map.insert(key.to_owned(), value.clone())),
    }
}

/// Whether the names of a group are Kubernetes' own.
fn protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")))
}

fn approval(definition: &mut Value) {
    if !protected(text(definition, &["spec", "group"])) {
        return;
    }
    let annotation = text(definition, &["metadata", "annotations", APPROVED]).to_owned();
    let is_url = annotation.parse::<http::Uri>().is_ok_and(|u| u.scheme().is_some() && u.host().is_some());
    let (status, reason, message) = if annotation.is_empty() {
        ("False", "MissingAnnotation", format!("protected groups must have approval annotation {APPROVED:?}, {SEE}"))
    } else if annotation.starts_with("unapproved") {
        ("False", "UnapprovedAnnotation", format!("not approved: {annotation:?}"))
    } else if is_url {
        ("True", "ApprovedAnnotation", format!("approved in {annotation}"))
    } else {
        let message = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
        );
        ("False", "InvalidAnnotation", message)
    };
    let kind = "KubernetesAPIApprovalPolicyConformant";
    let same = condition(definition, kind).is_some_and(|c| {
        text(c, &["status"]) == status && text(c, &["reason"]) == reason && text(c, &["message"]) == message
    });
    if !same {
        set_condition(definition, kind, status, reason, &message);
    }
}

/// Says what keeps schemas that older servers let in from being structural.
fn structure(definition: &mut Value) {
    let kind = "NonStructuralSchema";
    let spec = Path::new("spec");
    let mut wrong = ErrorList::new();
    if definition["spec"]["preserveUnknownFields"] == true {
        wrong.push(FieldError::invalid(&spec.child("preserveUnknownFields"), &json!(true), "must be false"));
    }
    for (at, version) in definition["spec"]["versions"].as_array().into_iter().flatten().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() {
            let path = spec.child("versions").index(at).child("schema").child("openAPIV3Schema");
            wrong.extend(check::structural(&path, schema));
        }
    }
    let mut messages: Vec<String> = Vec::new();
    for message in wrong.iter().map(ToString::to_string) {
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    let message = match messages.as_slice() {
        [] => {
            if let Some(list) = definition["status"].get_mut("conditions").and_then(Value::as_array_mut) {
                list.retain(|c| text(c, &["type"]) != kind);
            }
            return;
        }
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let same =
        condition(definition, kind).is_some_and(|c| text(c, &["status"]) == "True" && text(c, &["message"]) == message);
    if !same {
        set_condition(definition, kind, "True", "Violations", &message);
    }
}

fn establish(definition: &mut Value) {
    if !is_true(definition, "NamesAccepted") || is_true(definition, "Established") {
        return;
    }
    if has_usable_bundle(definition) {
        let message = "the initial names have been accepted";
        set_condition(definition, "Established", "True", "InitialNamesAccepted", message);
    } else if condition(definition, "Established").is_none_or(|c| text(c, &["reason"]) != "InvalidCABundle") {
        let message = "The conversion webhook CABundle is invalid";
        set_condition(definition, "Established", "False", "InvalidCABundle", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(names: &Value) -> Value {
        json!({"spec": {"group": "example.com", "names": names}, "status": {"acceptedNames": {"plural": "", "kind": ""}}})
    }

    fn shown(definition: &Value) -> Vec<String> {
        let one = |c: &Value| format!("{}={} {}", text(c, &["type"]), text(c, &["status"]), text(c, &["reason"]));
        definition["status"]["conditions"].as_array().into_iter().flatten().map(one).collect()
    }

    #[test]
    fn fresh_names_are_accepted_and_a_second_look_changes_nothing() {
        let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x"], "categories": ["all"]});
        let done = settled(&definition(&names), &[]);
        assert_eq!(done["status"]["acceptedNames"], names);
        assert_eq!(shown(&done), ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]);
        assert_eq!(settled(&done, &[]), done);
    }

    #[test]
    fn names_that_another_has_are_refused_until_they_are_free() {
        let first = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x"]});
        let other = Arc::new(settled(&definition(&first), &[]));
        let second =
            json!({"plural": "bs", "singular": "b", "kind": "A", "listKind": "BList", "shortNames": ["x", "y"]});
        let refused = settled(&definition(&second), std::slice::from_ref(&other));
        assert_eq!(shown(&refused), ["NamesAccepted=False KindConflict", "Established=False NotAccepted"]);
        assert_eq!(text(condition(&refused, "NamesAccepted").unwrap(), &["message"]), r#""A" is already in use"#);
        assert_eq!(refused["status"]["acceptedNames"]["plural"], "bs");
        assert_eq!(settled(&refused, &[other]), refused);
        let free = settled(&refused, &[]);
        assert_eq!(shown(&free), ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]);
    }

    #[test]
    fn a_schema_that_is_not_structural_is_told() {
        let mut d = definition(&json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}));
        d["spec"]["preserveUnknownFields"] = json!(true);
        d["spec"]["versions"] = json!([{"name": "v1", "schema": {"openAPIV3Schema": {"properties": {"a": {}}}}}]);
        let done = settled(&d, &[]);
        assert!(shown(&done).contains(&"NonStructuralSchema=True Violations".to_owned()));
        let message = text(condition(&done, "NonStructuralSchema").unwrap(), &["message"]).to_owned();
        assert!(message.starts_with("[spec.preserveUnknownFields: Invalid value: true: must be false, spec.versions[0].schema.openAPIV3Schema."), "{message}");
        let mut mended = done;
        mended["spec"]["preserveUnknownFields"] = json!(false);
        mended["spec"]["versions"] = json!([{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]);
        assert_eq!(condition(&settled(&mended, &[]), "NonStructuralSchema"), None);
    }

    #[test]
    fn a_definition_whose_webhook_cannot_be_checked_is_not_established() {
        let mut d = definition(&json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}));
        d["spec"]["conversion"] =
            json!({"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "bm9uc2Vuc2U="}}});
        let done = settled(&d, &[]);
        assert_eq!(shown(&done), ["NamesAccepted=True NoConflicts", "Established=False InvalidCABundle"]);
        assert_eq!(settled(&done, &[]), done);
    }

    #[test]
    fn kubernetes_own_groups_need_approval() {
        let mut d = definition(&json!({"plural": "as"}));
        d["spec"]["group"] = json!("x.k8s.io");
        let with = |annotation: &str| {
            let mut d = d.clone();
            d["metadata"] = json!({"annotations": {APPROVED: annotation}});
            shown(&settled(&d, &[])).into_iter().find(|c| c.starts_with("Kubernetes")).unwrap()
        };
        let kind = "KubernetesAPIApprovalPolicyConformant";
        assert_eq!(
            with("https://github.com/kubernetes/kubernetes/pull/78458"),
            format!("{kind}=True ApprovedAnnotation")
        );
        assert_eq!(with("unapproved, request not yet submitted"), format!("{kind}=False UnapprovedAnnotation"));
        assert_eq!(with("yes"), format!("{kind}=False InvalidAnnotation"));
    }
}
