//! Which Secrets a pod may name: those that its service account lists, where the account says that only these may be
//! used; none for the mirror of a pod that a kubelet runs by itself.
//!
//! Pure. Every sort of container and every way to name a Secret is looked at (CVE-2023-2728, CVE-2024-3177).

use ironclad_api::object::text;
use ironclad_json::Value;

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// The lists of containers, and how messages call one of each.
const CONTAINERS: [(&str, &str); 2] = [("initContainers", "init container"), ("containers", "container")];
const EPHEMERAL: (&str, &str) = ("ephemeralContainers", "ephemeral container");

/// Whether an account's pods may use only the Secrets that it lists.
pub(super) fn enforced(account: &Value) -> bool {
    let value = text(account, &["metadata", "annotations", ENFORCE]);
    ironclad_api::features::go_bool(value).unwrap_or(false)
}

fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

fn lists(account: &Value, key: &str, name: &str) -> bool {
    items(account, key).any(|s| text(s, &["name"]) == name)
}

/// Why a new pod may not have an account that lists its Secrets.
pub(super) fn refused(account: &Value, pod: &Value) -> Option<String> {
    let (spec, owner) = (&pod["spec"], text(account, &["metadata", "name"]));
    for volume in items(spec, "volumes").filter(|v| v["secret"].is_object()) {
        let name = text(volume, &["secret", "secretName"]);
        if !lists(account, "secrets", name) {
            return Some(format!("volume with secret.secretName=\"{name}\" {}", not_listed(owner)));
        }
    }
    let found = CONTAINERS.into_iter().find_map(|sort| in_containers(account, spec, sort));
    found.or_else(|| {
        let mut pulls = items(spec, "imagePullSecrets").map(|s| text(s, &["name"])).enumerate();
        let (at, name) = pulls.find(|(_, name)| !lists(account, "imagePullSecrets", name))?;
        let why = format!("is not allowed because service account {owner} does not reference that imagePullSecret");
        Some(format!("imagePullSecrets[{at}].name=\"{name}\" {why}"))
    })
}

/// Why a pod may not get its ephemeral containers.
pub(super) fn ephemeral_refused(account: &Value, pod: &Value) -> Option<String> {
    in_containers(account, &pod["spec"], EPHEMERAL)
}

fn not_listed(account: &str) -> String {
    format!("is not allowed because service account {account} does not reference that secret")
}

fn in_containers(account: &Value, spec: &Value, (list, called): (&str, &str)) -> Option<String> {
    let owner = text(account, &["metadata", "name"]);
    for container in items(spec, list) {
        let who = format!("{called} {}", text(container, &["name"]));
        for env in items(container, "env").filter(|e| e["valueFrom"]["secretKeyRef"].is_object()) {
            let name = text(env, &["valueFrom", "secretKeyRef", "name"]);
            if !lists(account, "secrets", name) {
                let variable = text(env, &["name"]);
                let what = format!("{who} with envVar {variable} referencing secret.secretName=\"{name}\"");
                return Some(format!("{what} {}", not_listed(owner)));
            }
        }
        for from in items(container, "envFrom").filter(|e| e["secretRef"].is_object()) {
            let name = text(from, &["secretRef", "name"]);
            if !lists(account, "secrets", name) {
                let what = format!("{who} with envFrom referencing secret.secretName=\"{name}\"");
                return Some(format!("{what} {}", not_listed(owner)));
            }
        }
    }
    None
}

/// Whether a volume is a Secret, or is mounted with what one holds.
fn holds_secret(volume: &Value) -> bool {
    const BY_REFERENCE: [&str; 8] =
        ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos", "azureFile"];
    volume["secret"].is_object()
        || !text(&volume["azureFile"], &["secretName"]).is_empty()
        || volume["csi"]["nodePublishSecretRef"].is_object()
        || BY_REFERENCE.iter().any(|sort| volume[*sort]["secretRef"].is_object())
}

/// What the mirror of a pod may not have.
pub(super) fn refused_to_mirror(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if !text(spec, &["serviceAccountName"]).is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    let sources = || items(spec, "volumes").flat_map(|v| items(&v["projected"], "sources"));
    let containers = CONTAINERS.into_iter().chain([EPHEMERAL]).flat_map(|(list, _)| items(spec, list));
    let secret = items(spec, "volumes").any(holds_secret)
        || sources().any(|s| s["secret"].is_object())
        || items(spec, "imagePullSecrets").next().is_some()
        || containers
            .flat_map(|c| items(c, "env").chain(items(c, "envFrom")))
            .any(|e| e["valueFrom"]["secretKeyRef"].is_object() || e["secretRef"].is_object());
    if secret {
        return Some("a mirror pod may not reference secrets");
    }
    let token = sources().any(|s| s["serviceAccountToken"].is_object());
    token.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn every_way_to_name_a_secret_counts() {
        let account =
            json!({"metadata": {"name": "a", "annotations": {ENFORCE: "true"}}, "secrets": [{"name": "mine"}]});
        assert!(enforced(&account) && !enforced(&json!({"metadata": {}})));
        let from = |name: &str| json!({"name": "c", "envFrom": [{"secretRef": {"name": name}}]});
        let env =
            |name: &str| json!({"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": name}}}]});
        let end = "is not allowed because service account a does not reference that secret";
        let table = [
            (json!({"volumes": [{"secret": {"secretName": "x"}}]}), format!("volume with secret.secretName=\"x\" {end}")),
            (json!({"containers": [env("x")]}), format!("container c with envVar E referencing secret.secretName=\"x\" {end}")),
            (json!({"initContainers": [from("x")]}), format!("init container c with envFrom referencing secret.secretName=\"x\" {end}")),
            (
                json!({"imagePullSecrets": [{"name": "x"}]}),
                "imagePullSecrets[0].name=\"x\" is not allowed because service account a does not reference that imagePullSecret".to_owned(),
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(refused(&account, &json!({"spec": spec})), Some(expected));
        }
        let fine = json!({"spec": {"volumes": [{"secret": {"secretName": "mine"}}, {"emptyDir": {}}], "containers": [env("mine"), from("mine")]}});
        assert_eq!(refused(&account, &fine), None);
        let pod = json!({"spec": {"ephemeralContainers": [from("x")]}});
        assert_eq!(refused(&account, &pod), None);
        assert!(
            ephemeral_refused(&account, &pod).is_some_and(|why| why.starts_with("ephemeral container c with envFrom"))
        );
    }

    #[test]
    fn mirrors_name_nothing_that_is_secret() {
        let table = [
            (json!({"serviceAccountName": "a"}), Some("a mirror pod may not reference service accounts")),
            (json!({"imagePullSecrets": [{"name": "x"}]}), Some("a mirror pod may not reference secrets")),
            (
                json!({"volumes": [{"csi": {"driver": "x", "nodePublishSecretRef": {"name": "s"}}}]}),
                Some("a mirror pod may not reference secrets"),
            ),
            (
                json!({"volumes": [{"projected": {"sources": [{"secret": {}}]}}]}),
                Some("a mirror pod may not reference secrets"),
            ),
            (
                json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
                Some("a mirror pod may not use ServiceAccountToken volume projections"),
            ),
            (json!({"containers": [{"name": "c"}]}), None),
        ];
        for (spec, expected) in table {
            assert_eq!(refused_to_mirror(&json!({"spec": spec})), expected, "{spec}");
        }
    }
}
