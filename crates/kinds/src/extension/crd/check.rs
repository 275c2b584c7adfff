//! What is wrong with a definition, in the words and at the paths of stock.

use super::{conversion, names, versions};
use crate::custom::is_true;
use crate::read::{at, flag, items, text};
use ironclad_api::names::{dns1035_label, dns1123_subdomain};
use ironclad_api::{ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};

/// What a check of a change knows of before.
#[derive(Clone, Copy, Default)]
pub(super) struct Before<'a> {
    pub(super) old: Option<&'a Value>,
}

impl Before<'_> {
    /// Whether the definition is in use, so that what it is called stays.
    pub(super) fn established(self) -> bool {
        self.old.is_some_and(|o| is_true(o, "Established"))
    }

    /// The same version before.
    pub(super) fn version(&self, name: &str) -> Option<&Value> {
        items(self.old?, &["spec", "versions"]).iter().find(|v| text(v, &["name"]) == name)
    }
}

/// What is wrong with a new definition.
pub(super) fn new(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let wanted = format!("{}.{}", text(o, &["spec", "names", "plural"]), text(o, &["spec", "group"]));
    if object::name(o) != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid_str(&Path::new("metadata").child("name"), object::name(o), detail));
    }
    errors.extend(spec(&o["spec"], Before::default()));
    errors.extend(beyond_spec(o, Before::default()));
    errors
}

/// What is wrong with a change of one.
pub(super) fn changed(new: &Value, old: &Value) -> ErrorList {
    let before = Before { old: Some(old) };
    let mut errors = spec(&new["spec"], before);
    let at_spec = Path::new("spec");
    let fixed: &[&[&str]] = match before.established() {
        true => &[&["scope"], &["names", "kind"], &["group"], &["names", "plural"]],
        false => &[&["group"], &["names", "plural"]],
    };
    for path in fixed {
        let of = |o: &Value| at(&o["spec"], path).cloned().unwrap_or_default();
        if of(new) != of(old) {
            let at = path.iter().fold(at_spec.clone(), |p, key| p.child(key));
            errors.push(FieldError::invalid(&at, &of(new), "field is immutable"));
        }
    }
    errors.extend(beyond_spec(new, before));
    errors
}

/// What is wrong with a change of the status.
pub(super) fn status(new: &Value, _old: &Value) -> ErrorList {
    names::check(&new["status"]["acceptedNames"], &Path::new("status").child("acceptedNames"))
}

fn beyond_spec(o: &Value, before: Before<'_>) -> ErrorList {
    let at = Path::new("status");
    let mut errors = names::check(&o["status"]["acceptedNames"], &at.child("acceptedNames"));
    errors.extend(stored_versions(o, &at.child("storedVersions")));
    errors.extend(approval(o, before));
    let preserved = before.old.is_some_and(|old| flag(old, &["spec", "preserveUnknownFields"]));
    if flag(o, &["spec", "preserveUnknownFields"]) && !preserved {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&Path::new("spec").child("preserveUnknownFields"), &json!(true), why));
    }
    errors
}

fn spec(spec: &Value, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let group = text(spec, &["group"]);
    let wrong = dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required(&at.child("group"), ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid_str(&at.child("group"), group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid_str(&at.child("group"), group, "should be a domain with at least one dot"));
    }
    let (scope, scopes) = (text(spec, &["scope"]), ["Cluster", "Namespaced"]);
    if scope.is_empty() {
        errors.push(FieldError::required(&at.child("scope"), ""));
    } else if !scopes.contains(&scope) {
        errors.push(FieldError::not_supported(&at.child("scope"), &json!(scope), &scopes));
    }
    errors.extend(versions::schemas_given(spec, &at));
    let preserve = flag(spec, &["preserveUnknownFields"]);
    if preserve && versions::has_defaults(spec) {
        let why = "must be false in order to use defaults in the schema";
        errors.push(FieldError::invalid(&at.child("preserveUnknownFields"), &json!(true), why));
    }
    errors.extend(versions::check(spec, &at, before));
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(spec, &["names", key]).is_empty() {
            errors.push(FieldError::required(&at.child("names").child(key), ""));
        }
    }
    errors.extend(names::check(&spec["names"], &at.child("names")));
    errors.extend(versions::shared(spec, &at, before));
    let strategy = text(spec, &["conversion", "strategy"]);
    if preserve && strategy != "None" {
        let why = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid_str(&at.child("conversion").child("strategy"), strategy, why));
    }
    errors.extend(conversion::check(&spec["conversion"], &at.child("conversion"), before));
    errors
}

fn stored_versions(o: &Value, at: &Path) -> ErrorList {
    let stored = items(o, &["status", "storedVersions"]);
    let given = &o["status"]["storedVersions"];
    if stored.is_empty() {
        return vec![FieldError::invalid(at, given, "must have at least one stored version")];
    }
    let mut errors = ErrorList::new();
    let versions = items(o, &["spec", "versions"]);
    for (i, version) in versions.iter().enumerate().filter(|(_, v)| flag(v, &["storage"])) {
        // A version that is there twice is looked for twice.
        let again = versions[..i].iter().any(|v| v["name"] == version["name"]);
        if again || !stored.contains(&version["name"]) {
            let why = format!("must have the storage version {}", text(version, &["name"]));
            errors.push(FieldError::invalid(at, given, why));
        }
    }
    for (i, name) in stored.iter().enumerate() {
        if !versions.iter().any(|v| v["name"] == *name) {
            let name = name.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid_str(&at.index(i), name, why));
        }
    }
    errors
}

const APPROVED: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// Groups of Kubernetes' own need the approval of its community.
fn approval(o: &Value, before: Before<'_>) -> Option<FieldError> {
    let group = text(o, &["spec", "group"]);
    let own = |g: &str| group == g || group.ends_with(&format!(".{g}"));
    if !own("k8s.io") && !own("kubernetes.io") {
        return None;
    }
    let state = |o: &Value| {
        let given = text(o, &["metadata", "annotations", APPROVED]).to_owned();
        let url = given.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        (given.is_empty(), given.starts_with("unapproved") || url, given)
    };
    let (missing, good, given) = state(o);
    if before.old.is_some_and(|old| {
        let (was_missing, was_good, _) = state(old);
        (was_missing, was_good) == (missing, good)
    }) {
        return None;
    }
    let at = Path::new("metadata").child("annotations").key(APPROVED);
    match (missing, good) {
        (true, _) => Some(FieldError::required(
            &at,
            format!("protected groups must have approval annotation {APPROVED:?}, {SEE}"),
        )),
        (false, true) => None,
        (false, false) => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
            );
            Some(FieldError::invalid_str(&at, &given, why))
        }
    }
}

/// Whether a text is a label that begins with a letter; the messages in one.
pub(super) fn label(value: &str) -> Option<String> {
    let wrong = dns1035_label(value);
    (!wrong.is_empty()).then(|| wrong.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(change: impl Fn(&mut Value)) -> Value {
        let mut o = json!({"metadata": {"name": "as.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}, "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}]},
            "status": {"storedVersions": ["v1"]}});
        change(&mut o);
        o
    }

    fn shown(errors: &ErrorList) -> String {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn mistakes_have_the_stock_wording() {
        type Change = fn(&mut Value);
        let table: &[(Change, &str)] = &[
            (|_| {}, ""),
            (
                |o| o["metadata"]["name"] = json!("x"),
                "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
            ),
            (
                |o| o["spec"]["scope"] = json!("Galaxy"),
                "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
            ),
            (
                |o| o["spec"]["names"]["listKind"] = json!("A"),
                "spec.names.listKind: Invalid value: \"A\": kind and listKind may not be the same",
            ),
            (
                |o| o["spec"]["versions"][0]["schema"] = json!(null),
                "spec.versions[0].schema.openAPIV3Schema: Required value",
            ),
            (
                |o| o["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({}),
                "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
            ),
            (
                |o| o["status"]["storedVersions"] = json!(["v1", "v0"]),
                "status.storedVersions[1]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions",
            ),
            (
                |o| o["spec"]["versions"][0]["deprecationWarning"] = json!("x"),
                "spec.versions[0].deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions",
            ),
            (
                |o| {
                    o["spec"]["versions"][0]["additionalPrinterColumns"] =
                        json!([{"name": "x", "type": "odd", "jsonPath": ".a"}])
                },
                "spec.additionalPrinterColumns[0].type: Invalid value: \"odd\": must be one of boolean,date,integer,number,string",
            ),
            (
                |o| {
                    o["spec"]["versions"][0]["subresources"] =
                        json!({"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.x"}})
                },
                "spec.subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec",
            ),
            (
                |o| o["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec"}]),
                "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            ),
            (
                |o| o["spec"]["conversion"] = json!({"strategy": "Webhook"}),
                "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook; spec.conversion.conversionReviewVersions: Required value",
            ),
        ];
        for (change, want) in table {
            assert_eq!(shown(&new(&definition(change))), *want);
        }
    }

    #[test]
    fn what_is_in_use_keeps_its_name() {
        let established = json!([{"type": "Established", "status": "True"}]);
        let old = definition(|o| o["status"]["conditions"] = established.clone());
        let kind = definition(|o| o["spec"]["names"]["kind"] = json!("B"));
        assert_eq!(shown(&changed(&kind, &old)), "spec.names.kind: Invalid value: \"B\": field is immutable");
        assert_eq!(shown(&changed(&kind, &definition(|_| {}))), "");
    }
}
