//! How the policy that a cluster has becomes the one that it should have (RBAC auto-reconciliation).
//!
//! Invariant: only what is missing is added; what people added stays, and an object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone. What earlier versions gave too freely goes.

use crate::covers::missing;
use crate::rules_of_role;
use ironclad_json::{Value, json};

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Rules of earlier versions that gave more than anybody needs: role and rule.
const RETIRED: &[(&str, &str)] =
    &[("system:kube-controller-manager", "*|*|*"), ("system:kube-controller-manager", "get|/*")];

fn retired(role: &Value, rule: &Value) -> bool {
    let same = |text: &str| super::rule_value(&super::parse(text)) == *rule;
    RETIRED.iter().any(|(name, text)| role["metadata"]["name"] == *name && same(text))
}

/// What must be stored in the place of `stored` so that it has all of `wanted`; `None` when it has.
pub fn reconciled(stored: &Value, wanted: &Value) -> Option<Value> {
    if stored["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut out = stored.clone();
    if let Some(rules) = out.get_mut("rules").and_then(Value::as_array_mut) {
        rules.retain(|rule| !retired(stored, rule));
    }
    let held = rules_of_role(&out);
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if stored["metadata"][field].get(key).is_none() {
                if !out["metadata"][field].is_object() {
                    out["metadata"][field] = json!({});
                }
                out["metadata"][field][key] = value.clone();
            }
        }
    }
    for selector in wanted["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
        let selectors = &mut out["aggregationRule"]["clusterRoleSelectors"];
        match selectors.as_array_mut() {
            Some(list) if list.contains(selector) => {}
            Some(list) => list.push(selector.clone()),
            None => *selectors = json!([selector]),
        }
    }
    // What an aggregated role holds is its controller's to keep.
    let own = if wanted["aggregationRule"].is_null() { &wanted["rules"] } else { &Value::Null };
    for (rule, parsed) in own.as_array().into_iter().flatten().zip(rules_of_role(wanted)) {
        if !missing(&held, &[parsed]).is_empty() {
            push(&mut out, "rules", rule);
        }
    }
    // A binding to another role is not ours any more.
    if stored["roleRef"] == wanted["roleRef"] {
        for subject in wanted["subjects"].as_array().into_iter().flatten() {
            if !stored["subjects"].as_array().is_some_and(|s| s.contains(subject)) {
                push(&mut out, "subjects", subject);
            }
        }
    }
    (out != *stored).then_some(out)
}

fn push(object: &mut Value, field: &str, item: &Value) {
    if !object[field].is_array() {
        object[field] = json!([]);
    }
    if let Some(list) = object[field].as_array_mut() {
        list.push(item.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_back_and_what_was_added_stays() {
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let wanted = json!({"metadata": {"name": "r", "annotations": {AUTOUPDATE: "true"}}, "rules": [rule("get"), rule("list")]});
        let mut stored = json!({"metadata": {"name": "r", "uid": "1", "annotations": {AUTOUPDATE: "true"}}, "rules": [rule("get"), rule("delete")]});
        let out = reconciled(&stored, &wanted).unwrap();
        assert_eq!(out["rules"], json!([rule("get"), rule("delete"), rule("list")]));
        assert_eq!(out["metadata"]["uid"], "1");
        assert_eq!(reconciled(&out, &wanted), None);
        stored["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        assert_eq!(reconciled(&stored, &wanted), None);
    }

    #[test]
    fn a_rule_that_gave_too_much_goes() {
        let rule = |verb: &str, of: &str| json!({"verbs": [verb], "apiGroups": [of], "resources": [of]});
        let wanted = json!({"metadata": {"name": "system:kube-controller-manager"}, "rules": [rule("get", "apps")]});
        let mut stored = wanted.clone();
        stored["rules"] = json!([rule("*", "*"), {"verbs": ["get"], "nonResourceURLs": ["/*"]}, rule("use", "mine")]);
        let out = reconciled(&stored, &wanted).unwrap();
        assert_eq!(out["rules"], json!([rule("use", "mine"), rule("get", "apps")]));
        stored["metadata"]["name"] = json!("cluster-admin");
        assert_eq!(reconciled(&stored, &wanted), None, "another role keeps what it has");
    }

    #[test]
    fn subjects_come_back_to_the_same_role_only() {
        let subject = |name: &str| json!({"kind": "Group", "name": name});
        let wanted = json!({"metadata": {}, "roleRef": {"name": "a"}, "subjects": [subject("x")]});
        let other = json!({"metadata": {}, "roleRef": {"name": "b"}});
        assert_eq!(reconciled(&other, &wanted), None);
        let same = json!({"metadata": {}, "roleRef": {"name": "a"}, "subjects": [subject("y")]});
        assert_eq!(reconciled(&same, &wanted).unwrap()["subjects"], json!([subject("y"), subject("x")]));
    }
}
