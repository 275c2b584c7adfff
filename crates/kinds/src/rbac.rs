//! Roles and bindings.

use crate::common::selector;
use crate::declared::Step::{self, Field, Items, Optional, Required};
use crate::print;
use crate::read::{each, fill_zero, has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
const ROLE_COLUMNS: &[Column] = &[Column::object_name(), print::CREATED_AT];
const BINDING_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("Role", "The role that is granted."),
    Column::age(),
    Column::text("Users", "Users in the roleBinding").wide(),
    Column::text("Groups", "Groups in the roleBinding").wide(),
    Column::text("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
];

const RULES: &[Step] = &[Field("rules", &[Optional, Items(&[], &[Field("verbs", &[Required])])])];

pub(crate) const ROLE: Rules = Rules::new()
    .checks(|o| validate_rules(o, true))
    .declares(RULES)
    .named(names::path_segment)
    .prints(ROLE_COLUMNS, |o| vec![print::name(o), print::created_at(o)]);

pub(crate) const CLUSTER_ROLE: Rules = Rules::new()
    .checks(|o| {
        let mut errors = validate_rules(o, false);
        aggregation(o, &mut errors);
        errors
    })
    .declares(RULES)
    .named(names::path_segment)
    .prints(ROLE_COLUMNS, |o| vec![print::name(o), print::created_at(o)]);

pub(crate) const BINDING: Rules = Rules::new()
    .defaults(default_binding)
    .checks(|o| validate_binding(o, &["Role", "ClusterRole"]))
    .declares(
        const {
            &[
                Field("subjects", &[Optional, Items(&[], &[Field("name", &[Required])])]),
                Field("roleRef", &[Field("name", &[Required])]),
            ]
        },
    )
    .checks_update(|new, old| update_binding(new, old, &["Role", "ClusterRole"]))
    .named(names::path_segment)
    .prints(BINDING_COLUMNS, cells);

pub(crate) const CLUSTER_BINDING: Rules = Rules::new()
    .defaults(default_binding)
    .checks(|o| validate_binding(o, &["ClusterRole"]))
    .checks_update(|new, old| update_binding(new, old, &["ClusterRole"]))
    .named(names::path_segment)
    .prints(BINDING_COLUMNS, cells);

fn default_binding(o: &mut Value) {
    if let Some(role) = crate::read::at_mut(o, &["roleRef"]) {
        fill_zero(role, "apiGroup", GROUP);
    }
    each(o, &["subjects"], |s| {
        if matches!(text(s, &["kind"]), "User" | "Group") {
            fill_zero(s, "apiGroup", GROUP);
        }
    });
}

fn validate_rules(o: &Value, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, rule) in items(o, &["rules"]).iter().enumerate() {
        let at = Path::new("rules").index(i);
        if items(rule, &["verbs"]).is_empty() {
            let why = "verbs must contain at least one value";
            errors.push(FieldError::required(&at.child("verbs"), why).covered());
        }
        let urls = items(rule, &["nonResourceURLs"]);
        let resources = ["apiGroups", "resources", "resourceNames"].iter().any(|k| !items(rule, &[k]).is_empty());
        if !urls.is_empty() {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&at.child("nonResourceURLs"), &json!(urls), detail));
            }
            if resources {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&at.child("nonResourceURLs"), &json!(urls), detail));
            }
            continue;
        }
        if items(rule, &["apiGroups"]).is_empty() {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&at.child("apiGroups"), detail));
        }
        if items(rule, &["resources"]).is_empty() {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&at.child("resources"), detail));
        }
    }
    errors
}

fn aggregation(o: &Value, errors: &mut ErrorList) {
    if !has(o, &["aggregationRule"]) {
        return;
    }
    let at = Path::new("aggregationRule").child("clusterRoleSelectors");
    let selectors = items(o, &["aggregationRule", "clusterRoleSelectors"]);
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(&at, why));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let wrong = selector::validate(selector, &at.index(i));
        if !wrong.is_empty() {
            errors.extend(wrong);
            errors.push(FieldError::invalid(&at.index(i), &Value::Null, "invalid label selector."));
        }
    }
}

fn validate_binding(o: &Value, kinds: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("roleRef");
    let group = text(o, &["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.push(FieldError::not_supported(&at.child("apiGroup"), &json!(group), &[GROUP]));
    }
    let kind = text(o, &["roleRef", "kind"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&at.child("kind"), &json!(kind), kinds));
    }
    let name = text(o, &["roleRef", "name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), "").covered());
    } else {
        let found = names::path_segment(name);
        errors.extend(found.into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)));
    }
    let namespaced = kinds.len() > 1;
    for (i, subject) in items(o, &["subjects"]).iter().enumerate() {
        check_subject(subject, namespaced, &Path::new("subjects").index(i), &mut errors);
    }
    errors
}

fn check_subject(subject: &Value, namespaced: bool, at: &Path, errors: &mut ErrorList) {
    let (kind, name) = (text(subject, &["kind"]), text(subject, &["name"]));
    let (group, namespace) = (text(subject, &["apiGroup"]), text(subject, &["namespace"]));
    if name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), "").covered());
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                let found = names::dns1123_subdomain(name);
                errors.extend(found.into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&at.child("apiGroup"), &json!(group), &[""]));
            }
            if !namespaced && namespace.is_empty() {
                errors.push(FieldError::required(&at.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(FieldError::not_supported(&at.child("apiGroup"), &json!(group), &[GROUP]));
            }
        }
        other => {
            let supported = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&at.child("kind"), &json!(other), &supported));
        }
    }
}

fn update_binding(new: &Value, old: &Value, kinds: &[&str]) -> ErrorList {
    let mut errors = validate_binding(new, kinds);
    if new["roleRef"] != old["roleRef"] {
        errors.push(FieldError::invalid(&Path::new("roleRef"), &new["roleRef"], "cannot change roleRef"));
    }
    errors
}

fn cells(o: &Value) -> Cells {
    let of = |kind: &str| -> Value {
        let found = items(o, &["subjects"]).iter().filter(|s| text(s, &["kind"]) == kind);
        let shown: Vec<String> = found
            .map(|s| match (kind, text(s, &["namespace"])) {
                ("ServiceAccount", namespace) => format!("{namespace}/{}", text(s, &["name"])),
                _ => text(s, &["name"]).to_owned(),
            })
            .collect();
        json!(shown.join(", "))
    };
    let role = format!("{}/{}", text(o, &["roleRef", "kind"]), text(o, &["roleRef", "name"]));
    vec![print::name(o), json!(role), table::age(o), of("User"), of("Group"), of("ServiceAccount")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn a_binding_gets_groups_and_keeps_its_role() {
        let mut o = json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]});
        BINDING.default(&mut o);
        assert_eq!(o["subjects"][0]["apiGroup"], GROUP);
        assert!(BINDING.validate(&o).is_empty());
        let mut new = o.clone();
        new["roleRef"]["name"] = json!("other");
        assert_eq!(BINDING.validate_update(&new, &o)[0].detail, "cannot change roleRef");
    }
}
