//! What belongs to which node: pods and everything that they refer to, kept by watches.
//!
//! Invariant: a change of one object costs work for that object's own references only.

use ironclad_api::object;
use ironclad_json::Value;
use std::collections::{HashMap, HashSet};

/// Resource, namespace, name.
pub(super) type Reference = (&'static str, String, String);

#[derive(Default)]
pub(super) struct Graph {
    /// What the objects of each node refer to, with how many of them do.
    by_node: HashMap<String, HashMap<Reference, u32>>,
    /// For each object of a node: the node, and what it refers to (itself included).
    owners: HashMap<Reference, (String, HashSet<Reference>)>,
    /// Of volumes: the claim, and the secrets that mounting needs.
    volumes: HashMap<String, (Reference, HashSet<Reference>)>,
    /// Volumes by their claim and by their secrets.
    by_claim: HashMap<Reference, HashSet<String>>,
    by_secret: HashMap<Reference, HashSet<String>>,
}

impl Graph {
    pub(super) fn put(&mut self, resource: &'static str, object: &Value) {
        self.remove(resource, object);
        if resource == "persistentvolumes" {
            return self.put_volume(object);
        }
        let node = object::text(object, &["spec", "nodeName"]);
        if node.is_empty() {
            return;
        }
        let own = own(resource, object);
        let mut references = if resource == "pods" { pod_references(object) } else { HashSet::new() };
        references.insert(own.clone());
        let of_node = self.by_node.entry(node.to_owned()).or_default();
        references.iter().for_each(|r| *of_node.entry(r.clone()).or_default() += 1);
        self.owners.insert(own, (node.to_owned(), references));
    }

    pub(super) fn remove(&mut self, resource: &'static str, object: &Value) {
        if resource == "persistentvolumes" {
            return self.remove_volume(object::name(object));
        }
        let Some((node, references)) = self.owners.remove(&own(resource, object)) else { return };
        let Some(of_node) = self.by_node.get_mut(&node) else { return };
        for reference in references {
            if let Some(count) = of_node.get_mut(&reference) {
                *count -= 1;
                if *count == 0 {
                    of_node.remove(&reference);
                }
            }
        }
        if of_node.is_empty() {
            self.by_node.remove(&node);
        }
    }

    fn put_volume(&mut self, volume: &Value) {
        let claim = &volume["spec"]["claimRef"];
        let (namespace, name) = (object::text(claim, &["namespace"]), object::text(claim, &["name"]));
        if name.is_empty() {
            return;
        }
        let claim = ("persistentvolumeclaims", namespace.to_owned(), name.to_owned());
        let mut secrets = HashSet::new();
        volume_secrets(&volume["spec"], namespace, &mut secrets);
        let volume = object::name(volume).to_owned();
        self.by_claim.entry(claim.clone()).or_default().insert(volume.clone());
        for secret in &secrets {
            self.by_secret.entry(secret.clone()).or_default().insert(volume.clone());
        }
        self.volumes.insert(volume, (claim, secrets));
    }

    fn remove_volume(&mut self, name: &str) {
        fn forget(map: &mut HashMap<Reference, HashSet<String>>, key: &Reference, name: &str) {
            if let Some(set) = map.get_mut(key) {
                set.remove(name);
                if set.is_empty() {
                    map.remove(key);
                }
            }
        }
        let Some((claim, secrets)) = self.volumes.remove(name) else { return };
        forget(&mut self.by_claim, &claim, name);
        secrets.iter().for_each(|s| forget(&mut self.by_secret, s, name));
    }

    /// Whether an object of the node leads to `wanted`: by itself, or over a claim and its volume.
    pub(super) fn leads(&self, node: &str, wanted: &Reference) -> bool {
        let Some(of_node) = self.by_node.get(node) else { return false };
        if of_node.contains_key(wanted) {
            return true;
        }
        let claimed = |volume: &String| self.volumes.get(volume).is_some_and(|(claim, _)| of_node.contains_key(claim));
        match wanted.0 {
            "persistentvolumes" => claimed(&wanted.2),
            "secrets" => self.by_secret.get(wanted).is_some_and(|volumes| volumes.iter().any(claimed)),
            _ => false,
        }
    }
}

fn own(resource: &'static str, object: &Value) -> Reference {
    (resource, object::namespace(object).to_owned(), object::name(object).to_owned())
}

/// What controllers need and no node does.
const OF_CONTROLLERS: [&str; 2] = ["controllerPublishSecretRef", "controllerExpandSecretRef"];

/// The secrets that mounting a volume needs; references without a namespace are in the claim's.
fn volume_secrets(spec: &Value, namespace: &str, out: &mut HashSet<Reference>) {
    for (kind, source) in spec.as_object().into_iter().flatten().filter(|(_, v)| v.is_object()) {
        for (field, reference) in source.as_object().into_iter().flatten() {
            let of = |reference: &Value| match object::text(reference, &["namespace"]) {
                "" => namespace.to_owned(),
                other => other.to_owned(),
            };
            let name = match field.as_str() {
                f if OF_CONTROLLERS.contains(&f) => continue,
                f if f.ends_with("SecretRef") || f == "secretRef" => object::name_of(reference).to_owned(),
                "secretName" if kind == "azureFile" => reference.as_str().unwrap_or_default().to_owned(),
                _ => continue,
            };
            if !name.is_empty() {
                let namespace = if field == "secretName" {
                    match object::text(source, &["secretNamespace"]) {
                        "" => namespace.to_owned(),
                        other => other.to_owned(),
                    }
                } else {
                    of(reference)
                };
                out.insert(("secrets", namespace, name));
            }
        }
    }
}

/// Everything that a pod's node must be able to read for it.
fn pod_references(pod: &Value) -> HashSet<Reference> {
    let mut out = HashSet::new();
    // The mirror of a pod that the node runs by itself gives no access to anything.
    if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some() {
        return out;
    }
    let namespace = object::namespace(pod).to_owned();
    let mut add = |resource: &'static str, name: &str| {
        if !name.is_empty() {
            out.insert((resource, namespace.clone(), name.to_owned()));
        }
    };
    add("serviceaccounts", object::text(pod, &["spec", "serviceAccountName"]));
    for secret in pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten() {
        add("secrets", object::name_of(secret));
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten().filter(|v| v["ephemeral"].is_object()) {
        add("persistentvolumeclaims", &format!("{}-{}", object::name(pod), object::name_of(volume)));
    }
    for claim in pod["spec"]["resourceClaims"].as_array().into_iter().flatten() {
        add("resourceclaims", object::text(claim, &["resourceClaimName"]));
    }
    for claim in pod["status"]["resourceClaimStatuses"].as_array().into_iter().flatten() {
        add("resourceclaims", object::text(claim, &["resourceClaimName"]));
    }
    add("resourceclaims", object::text(pod, &["status", "extendedResourceClaimStatus", "resourceClaimName"]));
    for part in ["volumes", "containers", "initContainers", "ephemeralContainers"] {
        walk(&pod["spec"][part], &mut add);
    }
    out
}

/// Finds references by the names of the fields that hold them.
fn walk(value: &Value, add: &mut impl FnMut(&'static str, &str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|i| walk(i, add)),
        Value::Object(map) => {
            for (key, inner) in map {
                match key.as_str() {
                    "secretKeyRef" | "secretRef" | "nodePublishSecretRef" => add("secrets", object::name_of(inner)),
                    "configMapKeyRef" | "configMapRef" => add("configmaps", object::name_of(inner)),
                    "azureFile" => add("secrets", object::text(inner, &["secretName"])),
                    "secret" => match object::text(inner, &["secretName"]) {
                        "" => add("secrets", object::name_of(inner)),
                        name => add("secrets", name),
                    },
                    "configMap" => add("configmaps", object::name_of(inner)),
                    "persistentVolumeClaim" => add("persistentvolumeclaims", object::text(inner, &["claimName"])),
                    _ => {}
                }
                walk(inner, add);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn a_node_reaches_what_its_pods_need_and_nothing_else() {
        let mut graph = Graph::default();
        let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n1", "serviceAccountName": "web",
            "imagePullSecrets": [{"name": "pull"}], "resourceClaims": [{"name": "x", "resourceClaimName": "gpu"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}], "envFrom": [{"configMapRef": {"name": "all"}}]}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "e", "ephemeral": {}},
                {"projected": {"sources": [{"secret": {"name": "proj"}}]}}, {"csi": {"nodePublishSecretRef": {"name": "inline"}}}]}});
        graph.put("pods", &pod);
        graph.put(
            "persistentvolumes",
            &json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "a", "name": "data"},
            "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "vault"},
                "controllerPublishSecretRef": {"name": "attach", "namespace": "vault"}}}}),
        );
        graph.put("volumeattachments", &json!({"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}));
        let leads = |graph: &Graph, node: &str, resource: &'static str, namespace: &str, name: &str| {
            graph.leads(node, &(resource, namespace.to_owned(), name.to_owned()))
        };
        let table = [
            ("pods", "a", "p"),
            ("serviceaccounts", "a", "web"),
            ("secrets", "a", "pull"),
            ("secrets", "a", "env"),
            ("secrets", "a", "proj"),
            ("secrets", "a", "inline"),
            ("secrets", "vault", "stage"),
            ("configmaps", "a", "all"),
            ("persistentvolumeclaims", "a", "data"),
            ("persistentvolumeclaims", "a", "p-e"),
            ("persistentvolumes", "", "pv"),
            ("resourceclaims", "a", "gpu"),
            ("volumeattachments", "", "va"),
        ];
        for (resource, namespace, name) in table {
            assert!(leads(&graph, "n1", resource, namespace, name), "{resource} {name}");
            assert!(!leads(&graph, "n2", resource, namespace, name), "{resource} {name}");
        }
        assert!(!leads(&graph, "n1", "secrets", "vault", "attach"), "no node needs it");
        assert!(!leads(&graph, "n1", "secrets", "a", "other"));
        assert!(!leads(&graph, "n1", "secrets", "b", "env"));
        let mut mirror = pod.clone();
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        graph.put("pods", &mirror);
        assert!(leads(&graph, "n1", "pods", "a", "p") && !leads(&graph, "n1", "secrets", "a", "env"));
        graph.remove("pods", &mirror);
        assert!(!leads(&graph, "n1", "persistentvolumes", "", "pv"));
    }
}
