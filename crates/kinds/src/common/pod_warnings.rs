//! What the author of a pod or of a template is warned of, worded as stock.

use super::claim::size_warnings;
use super::numbers::quantity;
use crate::read::{count, has, int, items, map, text};
use ironclad_api::{Path, names};
use ironclad_json::Value;
use std::collections::{HashMap, HashSet};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_MATCH: &str = "a null labelSelector results in matching no pod";

/// What to use instead of an old label of nodes.
pub(crate) fn old_node_label(key: &str) -> Option<String> {
    let (since, instead) = match key {
        "beta.kubernetes.io/arch" => ("v1.14", "kubernetes.io/arch"),
        "beta.kubernetes.io/os" => ("v1.14", "kubernetes.io/os"),
        "failure-domain.beta.kubernetes.io/region" => ("v1.17", "topology.kubernetes.io/region"),
        "failure-domain.beta.kubernetes.io/zone" => ("v1.17", "topology.kubernetes.io/zone"),
        "beta.kubernetes.io/instance-type" => ("v1.17", "node.kubernetes.io/instance-type"),
        _ => return None,
    };
    Some(format!("deprecated since {since}; use \"{instead}\" instead"))
}

/// Warnings about a pod.
pub(crate) fn pod(pod: &Value) -> Vec<String> {
    warnings(&pod["metadata"], &pod["spec"], &Path::root())
}

/// Warnings about the template at a path.
pub(crate) fn template(template: &Value, at: &Path) -> Vec<String> {
    warnings(&template["metadata"], &template["spec"], at)
}

fn warnings(meta: &Value, spec: &Value, at: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let spec_at = at.child("spec");
    node_labels(spec, &spec_at, &mut out);
    for (i, c) in items(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let at = spec_at.child("topologySpreadConstraints").index(i);
        let key = text(c, &["topologyKey"]);
        if let Some(why) = old_node_label(key) {
            out.push(format!("{}: {key} is {why}", at.child("topologyKey")));
        }
        if !has(c, &["labelSelector"]) {
            out.push(format!("{}: {NO_MATCH}", at.child("labelSelector")));
        }
    }
    annotations(meta, spec, &at.child("metadata").child("annotations"), &mut out);
    volumes(spec, &spec_at.child("volumes"), &mut out);
    overlapping(spec, &mut out);
    duplicates(spec, &spec_at, &mut out);
    fractions(&spec["overhead"], &spec_at.child("overhead"), &mut out);
    for (c, at) in containers(spec, &spec_at) {
        for part in ["limits", "requests"] {
            fractions(&c["resources"][part], &at.child("resources").child(part), &mut out);
        }
        hidden_variables(c, &at.child("env"), &mut out);
    }
    ports(spec, &spec_at, &mut out);
    if int(spec, &["terminationGracePeriodSeconds"]).is_some_and(|n| n < 0) {
        let at = spec_at.child("terminationGracePeriodSeconds");
        out.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    affinity_terms(spec, &spec_at.child("affinity"), &mut out);
    out
}

/// All containers in the order in which stock visits them.
fn containers<'a>(spec: &'a Value, at: &Path) -> Vec<(&'a Value, Path)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let all = lists.into_iter().flat_map(|key| {
        let at = at.child(key);
        items(spec, &[key]).iter().enumerate().map(move |(i, c)| (c, at.index(i)))
    });
    all.collect()
}

fn node_labels(spec: &Value, at: &Path, out: &mut Vec<String>) {
    for (key, _) in map(spec, &["nodeSelector"]).into_iter().flatten() {
        if let Some(why) = old_node_label(key) {
            out.push(format!("{}: {why}", at.child("nodeSelector").key(key)));
        }
    }
    let affinity = &spec["affinity"]["nodeAffinity"];
    let at = at.child("affinity").child("nodeAffinity");
    for (i, term) in items(affinity, &[REQUIRED, "nodeSelectorTerms"]).iter().enumerate() {
        node_term(term, false, &at.child(REQUIRED).child("nodeSelectorTerms").index(i), out);
    }
    for (i, term) in items(affinity, &[PREFERRED]).iter().enumerate() {
        node_term(&term["preference"], true, &at.child(PREFERRED).index(i).child("preference"), out);
    }
}

fn node_term(term: &Value, values: bool, at: &Path, out: &mut Vec<String>) {
    for (i, e) in items(term, &["matchExpressions"]).iter().enumerate() {
        let (key, at) = (text(e, &["key"]), at.child("matchExpressions").index(i));
        if let Some(why) = old_node_label(key) {
            out.push(format!("{}: {key} is {why}", at.child("key")));
        }
        for (j, value) in items(e, &["values"]).iter().enumerate().filter(|_| values) {
            let value = value.as_str().unwrap_or_default();
            let found = names::label_value(value).into_iter();
            out.extend(found.map(|why| format!("{}: {value} is invalid, {why}", at.child("values").index(j))));
        }
    }
}

fn annotations(meta: &Value, spec: &Value, at: &Path, out: &mut Vec<String>) {
    let given = |key: &str| meta["annotations"].get(key).is_some();
    for (key, why) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
        ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ] {
        if given(key) {
            out.push(format!("{}: {why}", at.key(key)));
        }
    }
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    let pod = "seccomp.security.alpha.kubernetes.io/pod";
    if given(pod) && !has(spec, &["securityContext", "seccompProfile"]) {
        out.push(format!("{}: {seccomp}", at.key(pod)));
    }
    for (c, _) in containers(spec, &Path::root()) {
        let name = text(c, &["name"]);
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
        if given(&key) && !has(c, &["securityContext", "seccompProfile"]) {
            out.push(format!("{}: {seccomp}", at.key(&key)));
        }
        let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
        let has_field =
            has(c, &["securityContext", "appArmorProfile"]) || has(spec, &["securityContext", "appArmorProfile"]);
        if given(&key) && !has_field {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            out.push(format!("{}: {why}", at.key(&key)));
        }
    }
}

/// Sources of volumes that work no more.
const GONE: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn volumes(spec: &Value, at: &Path, out: &mut Vec<String>) {
    for (i, volume) in items(spec, &["volumes"]).iter().enumerate() {
        let at = at.index(i);
        for (key, why) in GONE.iter().filter(|(k, _)| has(volume, &[k])) {
            let shown = if *key == "storageos" { "storageOS" } else { key };
            out.push(format!("{}: {why}", at.child(shown)));
        }
        let template = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        out.extend(size_warnings(template, &at.child("ephemeral").child("volumeClaimTemplate").child("spec")));
    }
}

/// A path in a volume and where it comes from, empty where that is plain.
type Placed = (String, String);

fn placed(items_of: &[Value], source: &str) -> Vec<Placed> {
    items_of.iter().map(|i| (text(i, &["path"]).to_owned(), source.to_owned())).collect()
}

fn overlapping(spec: &Value, out: &mut Vec<String>) {
    for volume in items(spec, &["volumes"]) {
        let name = text(volume, &["name"]);
        let plain = [
            ("configMap", format!("ConfigMap {:?}", text(volume, &["configMap", "name"]))),
            ("secret", format!("Secret {:?}", text(volume, &["secret", "secretName"]))),
            ("downwardAPI", "DownwardAPI".to_owned()),
        ];
        for (kind, shown) in plain {
            clash(name, &shown, placed(items(volume, &[kind, "items"]), ""), out);
        }
        let mut all = Vec::new();
        for source in items(volume, &["projected", "sources"]) {
            if source.as_object().is_none_or(|s| s.values().all(Value::is_null)) {
                out.push(format!("volume {name:?} (Projected) has no sources provided"));
            }
            all.extend(projected(source));
        }
        clash(name, "Projected", all, out);
    }
}

fn projected(source: &Value) -> Vec<Placed> {
    let name = |kind: &str| text(source, &[kind, "name"]).to_owned();
    let mut all = placed(items(source, &["configMap", "items"]), &format!("ConfigMap {:?}", name("configMap")));
    all.extend(placed(items(source, &["secret", "items"]), &format!("Secret {:?}", name("secret"))));
    all.extend(placed(items(source, &["downwardAPI", "items"]), "DownwardAPI"));
    let one = |kind: &str, key: &str, shown: String| (text(source, &[kind, key]).to_owned(), shown);
    let bundle = match text(source, &["clusterTrustBundle", "name"]) {
        "" => text(source, &["clusterTrustBundle", "signerName"]),
        name => name,
    };
    all.push(one("serviceAccountToken", "path", "ServiceAccountToken".into()));
    all.push(one("clusterTrustBundle", "path", format!("ClusterTrustBundle {bundle:?}")));
    all.push(one("podCertificate", "certificateChainPath", "PodCertificate chain".into()));
    all.push(one("podCertificate", "keyPath", "PodCertificate key".into()));
    all.push(one("podCertificate", "credentialBundlePath", "PodCertificate credential bundle".into()));
    all
}

fn clash(volume: &str, kind: &str, paths: Vec<Placed>, out: &mut Vec<String>) {
    let shown = |(path, source): &Placed| match source.as_str() {
        "" => format!("{path:?}"),
        source => format!("{path:?} ({source})"),
    };
    let below = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
    let mut seen: Vec<Placed> = Vec::new();
    for (path, source) in paths.into_iter().filter(|(p, _)| !p.is_empty()) {
        let this = (path.trim_end_matches('/').to_owned(), source);
        for other in seen.iter().filter(|o| below(&o.0, &this.0) || below(&this.0, &o.0)) {
            let what = format!("{} with {}", shown(&this), shown(other));
            out.push(format!("volume {volume:?} ({kind}): overlapping paths: {what}"));
        }
        seen.push(this);
    }
}

fn duplicates(spec: &Value, at: &Path, out: &mut Vec<String>) {
    for (list, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = HashSet::new();
        for (i, item) in items(spec, &[list]).iter().enumerate() {
            let given = text(item, &[key]);
            if !seen.insert(given) {
                out.push(format!("{}: duplicate {key} {given:?}", at.child(list).index(i).child(key)));
            }
        }
    }
    for (i, secret) in items(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            out.push(format!("{}: invalid empty name \"\"", at.child("imagePullSecrets").index(i).child("name")));
        }
    }
}

/// Amounts of bytes that are not whole.
fn fractions(amounts: &Value, at: &Path, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        if let Some(q) = quantity(&amounts[name]).filter(|q| !q.is_integer()) {
            out.push(format!("{}: fractional byte value \"{q}\" is invalid, must be an integer", at.key(name)));
        }
    }
}

fn hidden_variables(c: &Value, at: &Path, out: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (i, e) in items(c, &["env"]).iter().enumerate() {
        let (name, value) = (text(e, &["name"]), text(e, &["value"]));
        let own = format!("$({name})");
        if !seen.insert(name) && (has(e, &["valueFrom"]) || value == own || !value.contains(&own)) {
            let why = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            out.push(format!("{}: {why}", at.index(i)));
        }
    }
}

fn ports(spec: &Value, at: &Path, out: &mut Vec<String>) {
    let mut all: HashMap<(i64, &str), Vec<(Path, &str, i64)>> = HashMap::new();
    for (c, at) in containers(spec, at) {
        for (i, port) in items(c, &["ports"]).iter().enumerate() {
            let (at, ip, host) = (at.child("ports").index(i), text(port, &["hostIP"]), count(port, &["hostPort"]));
            if !ip.is_empty() && host == 0 {
                let shown = format!(
                    "{{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}}}",
                    text(port, &["name"]),
                    count(port, &["containerPort"]),
                    text(port, &["protocol"])
                );
                out.push(format!("{at}: hostIP set without hostPort: {shown}"));
            }
            let others = all.entry((count(port, &["containerPort"]), text(port, &["protocol"]))).or_default();
            for (other, other_ip, other_host) in others.iter() {
                let what = if (ip, host) == (*other_ip, *other_host) {
                    "duplicate"
                } else if host == 0 || *other_host == 0 {
                    "overlapping"
                } else if host == *other_host && (ip.is_empty() != other_ip.is_empty()) {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                out.push(format!("{at}: {what} port definition with {other}"));
            }
            others.push((at, ip, host));
        }
    }
    let mut by_name: HashMap<&str, Path> = HashMap::new();
    for (c, at) in containers(spec, at) {
        for (i, port) in items(c, &["ports"]).iter().enumerate() {
            let (at, name) = (at.child("ports").index(i), text(port, &["name"]));
            if name.is_empty() {
                continue;
            }
            if let Some(other) = by_name.get(name) {
                out.push(format!(
                    "{at}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
                ));
            } else {
                by_name.insert(name, at);
            }
        }
    }
}

fn affinity_terms(spec: &Value, at: &Path, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = at.child(kind);
        for (i, term) in items(spec, &["affinity", kind, REQUIRED]).iter().enumerate() {
            if !has(term, &["labelSelector"]) {
                out.push(format!("{}: {NO_MATCH}", at.child(REQUIRED).index(i).child("labelSelector")));
            }
        }
        for (i, term) in items(spec, &["affinity", kind, PREFERRED]).iter().enumerate() {
            if !has(term, &["podAffinityTerm", "labelSelector"]) {
                let at = at.child(PREFERRED).index(i).child("podAffinityTerm");
                out.push(format!("{}: {NO_MATCH}", at.child("labelSelector")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn warnings_are_worded_as_stock() {
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": ""}],
            "containers": [
                {"name": "a", "env": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}],
                 "ports": [{"name": "p", "containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"memory": "1m"}}},
                {"name": "b", "ports": [{"name": "p", "containerPort": 80, "protocol": "TCP"}]},
            ],
        });
        let expected = [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.imagePullSecrets[0].name: invalid empty name \"\"",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"1m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"x\", which may be dropped when using apply",
            "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.containers[1].ports[0]: duplicate port name \"p\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
        ];
        assert_eq!(pod(&json!({"metadata": {}, "spec": spec})), expected);
    }
}
