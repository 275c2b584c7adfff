//! CustomResourceDefinitions.

use crate::print;
use crate::read::{child, fill, fill_zero, flag, has, items, spec, text};
use crate::rules::Rules;
use ironclad_api::table::Column;
use ironclad_api::{ErrorList, FieldError, Path, object};
use serde_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(default)
    .on_create(prepare_create)
    .checks(validate)
    .checks_update(validate_update)
    .prints(const { &[Column::object_name(), print::CREATED_AT] }, |o| vec![print::name(o), print::created_at(o)]);

fn default(o: &mut Value) {
    let spec = spec(o);
    let kind = text(spec, &["names", "kind"]).to_owned();
    let names = child(spec, "names");
    if !kind.is_empty() {
        fill_zero(names, "singular", kind.to_lowercase());
        fill_zero(names, "listKind", format!("{kind}List"));
    }
    let conversion = child(spec, "conversion");
    fill_zero(conversion, "strategy", "None");
    if has(conversion, &["webhook", "clientConfig", "service"]) {
        fill(&mut conversion["webhook"]["clientConfig"]["service"], "port", 443);
    }
}

fn prepare_create(o: &mut Value) {
    o["status"] = json!({"storedVersions": stored(o), "conditions": [], "acceptedNames": {"plural": "", "kind": ""}});
}

fn stored(o: &Value) -> Vec<String> {
    let versions = items(o, &["spec", "versions"]).iter();
    versions.filter(|v| flag(v, &["storage"])).map(|v| text(v, &["name"]).to_owned()).collect()
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let (group, plural) = (text(o, &["spec", "group"]), text(o, &["spec", "names", "plural"]));
    let wanted = format!("{plural}.{group}");
    if object::name(o) != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid_str(&Path::new("metadata").child("name"), object::name(o), detail));
    }
    if group.is_empty() {
        errors.push(FieldError::required(&at.child("group"), ""));
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid_str(&at.child("group"), group, detail));
    }
    for key in ["plural", "kind"] {
        if text(o, &["spec", "names", key]).is_empty() {
            errors.push(FieldError::required(&at.child("names").child(key), ""));
        }
    }
    let (scope, scopes) = (text(o, &["spec", "scope"]), ["Cluster", "Namespaced"]);
    if scope.is_empty() {
        errors.push(FieldError::required(&at.child("scope"), ""));
    } else if !scopes.contains(&scope) {
        errors.push(FieldError::not_supported(&at.child("scope"), &json!(scope), &scopes));
    }
    let versions = items(o, &["spec", "versions"]);
    if stored(o).len() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&at.child("versions"), &json!(versions), detail));
    }
    for (i, version) in versions.iter().enumerate() {
        if !has(version, &["schema", "openAPIV3Schema"]) {
            let at = at.child("versions").index(i).child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&at, "schemas are required"));
        }
    }
    errors
}

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = validate(new);
    let at = Path::new("spec");
    let established = print::condition(old, "Established").is_some_and(|c| text(c, &["status"]) == "True");
    let fixed: &[&[&str]] = if established {
        &[&["group"], &["scope"], &["names", "plural"], &["names", "kind"]]
    } else {
        &[&["group"], &["names", "plural"]]
    };
    for path in fixed {
        let of = |o: &Value| crate::read::at(&o["spec"], path).cloned().unwrap_or_default();
        if of(new) != of(old) {
            let at = path.iter().fold(at.clone(), |p, key| p.child(key));
            errors.push(FieldError::invalid(&at, &of(new), "field is immutable"));
        }
    }
    errors
}
