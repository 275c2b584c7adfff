//! Objects with mistakes, and all that the stock server says of each.

use super::all;
use ironclad_json::{Value, json};

fn says(group: &str, kind: &str, mut object: Value) -> Vec<String> {
    let row = all().iter().find(|k| k.group == group && k.kind == kind).unwrap();
    row.strategy.default(&mut object);
    row.strategy.validate(&object).iter().map(ToString::to_string).collect()
}

fn ingress(spec: Value) -> Vec<String> {
    says("networking.k8s.io", "Ingress", json!({"metadata": {"name": "i"}, "spec": spec}))
}

#[test]
fn ingresses_lead_from_hosts_and_paths_to_services() {
    let to = |port: Value| json!({"service": {"name": "s", "port": port}});
    let rule = |host: &str, path: Value| json!({"rules": [{"host": host, "http": {"paths": [path]}}]});
    let good = json!({"path": "/a", "pathType": "Prefix", "backend": to(json!({"number": 80}))});
    assert!(ingress(rule("*.a.b", good.clone())).is_empty());
    let table: [(Value, &[&str]); 6] = [
        (json!({}), &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
        (
            rule("1.2.3.4", good.clone()),
            &["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"],
        ),
        (
            rule("", json!({"path": "a//b/.", "pathType": "Exact", "backend": to(json!({"name": "p", "number": 1}))})),
            &[
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/.\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/.\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/.\": cannot end with '/.'",
                "spec.rules[0].http.paths[0].backend: Invalid value: \"\": cannot set both port name & port number",
            ],
        ),
        (
            rule("", json!({"path": "/", "backend": {}})),
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            json!({"defaultBackend": {}}),
            &["spec.defaultBackend: Invalid value: \"\": resource or service backend is required"],
        ),
        (
            json!({"defaultBackend": {"resource": {"kind": "K/", "name": ""}}}),
            &[
                "spec.defaultBackend.resource.kind: Invalid value: \"K/\": may not contain '/'",
                "spec.defaultBackend.resource.name: Required value",
            ],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(ingress(spec), expected);
    }
}

#[test]
fn ingress_classes_refer_to_their_parameters() {
    let class = |spec: Value| says("networking.k8s.io", "IngressClass", json!({"spec": spec}));
    let parameters = |scope: &str, namespace: Value| json!({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "scope": scope, "namespace": namespace}});
    assert!(class(parameters("Cluster", Value::Null)).is_empty());
    let expected = ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"];
    assert_eq!(class(parameters("Namespace", Value::Null)), expected);
    let expected = ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"];
    assert_eq!(class(parameters("Cluster", json!("a"))), expected);
    let expected = ["spec.controller: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")"];
    assert_eq!(class(json!({"controller": "c"})), expected);
}

#[test]
fn network_policies_name_peers_and_ports() {
    let policy = |egress: Value| says("networking.k8s.io", "NetworkPolicy", json!({"spec": {"egress": [egress]}}));
    let table: [(Value, &[&str]); 4] = [
        (json!({"ports": [{"port": 80, "endPort": 90}], "to": [{"podSelector": {}}]}), &[]),
        (
            json!({"ports": [{"port": 80, "endPort": 70}, {"endPort": 1}]}),
            &[
                "spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
                "spec.egress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is not specified",
            ],
        ),
        (json!({"to": [{}]}), &["spec.egress[0].to[0]: Required value: must specify a peer"]),
        (
            json!({"to": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.1.0.0/25"]}}]}),
            &[
                "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"10.1.0.0/25\": must be a strict subset of `cidr`",
                "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
            ],
        ),
    ];
    for (egress, expected) in table {
        assert_eq!(policy(egress), expected);
    }
}

#[test]
fn addresses_have_parents() {
    let says = |spec: Value| says("networking.k8s.io", "IPAddress", json!({"spec": spec}));
    assert_eq!(says(json!({})), ["spec.parentRef: Required value"]);
    let expected = ["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"];
    assert_eq!(says(json!({"parentRef": {}})), expected);
}

#[test]
fn flow_schemas_say_whose_requests_they_are() {
    let schema = |name: &str, rule: Value| {
        let spec = json!({"priorityLevelConfiguration": {"name": "p"}, "rules": [rule]});
        says("flowcontrol.apiserver.k8s.io", "FlowSchema", json!({"metadata": {"name": name}, "spec": spec}))
    };
    let user = json!({"kind": "User", "user": {"name": "u"}});
    let found =
        schema("s", json!({"subjects": [user], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a*"]}]}));
    let why = "wildcard can only do suffix matching";
    assert_eq!(found, [format!("spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": {why}")]);
    let found = schema("s", json!({"subjects": [{"kind": "User", "group": {"name": "g"}}]}));
    let expected = [
        "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
        "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
        "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
    ];
    assert_eq!(found, expected);
    let resources = json!({"verbs": ["look"], "apiGroups": ["*", "a"], "resources": ["x"]});
    let found = schema("s", json!({"subjects": [user], "resourceRules": [resources]}));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].ends_with("if '*' is present, must not specify other api groups"));
}

#[test]
fn small_kinds_say_what_they_miss() {
    let table: [(&str, &str, Value, &[&str]); 6] = [
        (
            "rbac.authorization.k8s.io",
            "ClusterRole",
            json!({"aggregationRule": {}}),
            &[
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
            ],
        ),
        (
            "policy",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": 1, "unhealthyPodEvictionPolicy": "Never"}}),
            &[
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ],
        ),
        (
            "node.k8s.io",
            "RuntimeClass",
            json!({"handler": "h", "scheduling": {"tolerations": [{"operator": "Equal", "effect": "Odd"}]}}),
            &[
                "scheduling.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                "scheduling.tolerations[0].effect: Unsupported value: \"Odd\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
        (
            "coordination.k8s.io",
            "Lease",
            json!({"spec": {"strategy": "Newest"}}),
            &["spec.strategy.strategy: Unsupported value: \"Newest\": supported values: \"OldestEmulationVersion\""],
        ),
        (
            "apps",
            "ControllerRevision",
            json!({"revision": -1, "data": {}}),
            &["revision: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "coordination.k8s.io",
            "LeaseCandidate",
            json!({"spec": {"leaseName": "l", "binaryVersion": "1.36.0", "emulationVersion": "1.37.0", "strategy": "OldestEmulationVersion"}}),
            &["spec.binaryVersion: Invalid value: \"1.36.0\": must be greater than or equal to `emulationVersion`"],
        ),
    ];
    for (group, kind, object, expected) in table {
        assert_eq!(says(group, kind, object), expected, "{kind}");
    }
}

#[test]
fn policies_and_levels_are_told_their_mistakes() {
    let adm = "admissionregistration.k8s.io";
    let rules = |operation: &str| json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": [operation]}]});
    let policy = |more: Value| {
        let mut spec = json!({"matchConstraints": rules("CREATE"), "validations": [{"expression": "true"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        says(adm, "ValidatingAdmissionPolicy", json!({"metadata": {"name": "x"}, "spec": spec}))
    };
    let twice = json!([{"name": "v", "expression": "1"}, {"name": "v", "expression": "'a'"}]);
    let table: [(Value, &[&str]); 5] = [
        (json!({"matchConstraints": null}), &["spec.matchConstraints: Required value"]),
        (
            json!({"validations": [{"expression": "true", "message": " "}]}),
            &["spec.validations[0].message: Invalid value: \" \": must be non-empty if specified"],
        ),
        // Of two variables of one name the later one counts.
        (json!({"variables": twice, "validations": [{"expression": "variables.v == 'a'"}]}), &[]),
        (
            json!({"variables": [{"name": " ", "expression": "1"}]}),
            &["spec.variables[0].name: Required value: name is not specified"],
        ),
        (
            json!({"auditAnnotations": [{"key": "a/b", "valueExpression": "'a'"}]}),
            &[
                "spec.auditAnnotations[0].key: Invalid value: \"x/a/b\": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            ],
        ),
    ];
    for (more, expected) in table {
        assert_eq!(policy(more.clone()), expected, "{more}");
    }
    let spec = json!({"matchConstraints": rules("DELETE"), "mutations": [{"patchType": "JSONPatch", "jsonPatch": {}}]});
    let found = says(adm, "MutatingAdmissionPolicy", json!({"spec": spec}));
    let expected = [
        "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
        "spec.mutations[0].jsonPatch.expression: Required value",
        "spec.reinvocationPolicy: Required value",
    ];
    assert_eq!(found, expected);
    let flow = "flowcontrol.apiserver.k8s.io";
    let level = json!({"metadata": {"name": "x"}, "spec": {"type": "Exempt"}});
    let expected = "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'";
    assert_eq!(says(flow, "PriorityLevelConfiguration", level), [expected]);
}

#[test]
fn the_status_of_a_policy_has_whole_conditions_and_warnings() {
    let row = all().iter().find(|k| k.kind == "ValidatingAdmissionPolicy").unwrap();
    let of = |status: Value| {
        let new = json!({"status": status});
        let found = row.strategy.validate_status_update(&new, &json!({}));
        found.iter().map(|e| e.path.clone()).collect::<Vec<_>>()
    };
    let warnings = json!([{"fieldRef": "spec.validations[0].expression"}, {"warning": "w"}]);
    let expected =
        ["status.typeChecking.expressionWarnings[0].warning", "status.typeChecking.expressionWarnings[1].fieldRef"];
    assert_eq!(of(json!({"typeChecking": {"expressionWarnings": warnings}})), expected);
    assert!(!of(json!({"conditions": [{"type": "A"}]})).is_empty());
}
