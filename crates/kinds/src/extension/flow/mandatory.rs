//! The FlowSchemas and PriorityLevelConfigurations that no one may change, so that there always is a way in.

use ironclad_json::{Value, json};

fn everything(groups: &[&str]) -> Value {
    let subjects: Vec<Value> = groups.iter().map(|g| json!({"kind": "Group", "group": {"name": g}})).collect();
    let resources =
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true});
    let others = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    json!([{"subjects": subjects, "resourceRules": [resources], "nonResourceRules": [others]}])
}

/// The fixed `spec` of an object, where it is one of these.
pub fn mandatory_flow(kind: &str, name: &str) -> Option<Value> {
    match (kind, name) {
        ("FlowSchema", "exempt") => Some(json!({"priorityLevelConfiguration": {"name": "exempt"},
            "matchingPrecedence": 1, "rules": everything(&["system:masters"])})),
        ("FlowSchema", "catch-all") => Some(json!({"priorityLevelConfiguration": {"name": "catch-all"},
            "matchingPrecedence": 10000, "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(&["system:unauthenticated", "system:authenticated"])})),
        ("PriorityLevelConfiguration", "exempt") => {
            Some(json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}))
        }
        ("PriorityLevelConfiguration", "catch-all") => Some(json!({"type": "Limited", "limited":
            {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}})),
        _ => None,
    }
}
