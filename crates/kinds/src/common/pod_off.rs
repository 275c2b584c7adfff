//! Fields of pods and templates whose features are off unless somebody turns them on, which nobody can here: they are
//! dropped, as stock drops them.

use ironclad_json::{Map, Value};

fn list<'a>(o: &'a mut Map, key: &str) -> impl Iterator<Item = &'a mut Map> {
    o.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn child<'a>(o: &'a mut Map, key: &str) -> Option<&'a mut Map> {
    o.get_mut(key).and_then(Value::as_object_mut)
}

/// Removes what is off from the specification of a pod.
pub(crate) fn drop(spec: &mut Map) {
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        list(spec, kind).for_each(container);
    }
    list(spec, "volumes").for_each(volume);
}

fn container(container: &mut Map) {
    // VolumeBindMountOptions.
    list(container, "volumeMounts").for_each(|mount| {
        mount.remove("bindMountOptions");
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, probe) {
            action(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = child(lifecycle, hook) {
                action(hook);
            }
        }
    }
}

/// H2CContainerProbe and GRPCContainerProbeTLS.
fn action(action: &mut Map) {
    for (kind, key) in [("httpGet", "protocol"), ("grpc", "mode")] {
        if let Some(how) = child(action, kind) {
            how.remove(key);
        }
    }
}

/// AtomicWriteVolumeUserFields and EmptyDirVolumeMode.
fn volume(volume: &mut Map) {
    if let Some(empty) = child(volume, "emptyDir") {
        empty.remove("mode");
    }
    for kind in ["secret", "configMap", "downwardAPI"] {
        if let Some(source) = child(volume, kind) {
            source.remove("defaultUser");
            files(source);
        }
    }
    if let Some(projected) = child(volume, "projected") {
        projected.remove("defaultUser");
        for source in list(projected, "sources") {
            for kind in ["secret", "configMap", "downwardAPI"] {
                if let Some(source) = child(source, kind) {
                    files(source);
                }
            }
            for kind in ["serviceAccountToken", "clusterTrustBundle", "podCertificate"] {
                if let Some(source) = child(source, kind) {
                    source.remove("user");
                }
            }
        }
    }
}

fn files(source: &mut Map) {
    list(source, "items").for_each(|item| {
        item.remove("user");
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn what_is_off_is_dropped_and_the_rest_stays() {
        let mut spec = json!({
            "containers": [{"name": "c",
                "volumeMounts": [{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec"]}],
                "livenessProbe": {"httpGet": {"port": 80, "protocol": "H2C"}},
                "readinessProbe": {"grpc": {"port": 80, "mode": "TLS"}}}],
            "volumes": [
                {"name": "a", "emptyDir": {"mode": 448, "medium": "Memory"}},
                {"name": "b", "configMap": {"name": "m", "defaultUser": 1, "items": [{"key": "k", "path": "p", "user": 2}]}},
                {"name": "c", "projected": {"defaultUser": 1, "sources": [
                    {"serviceAccountToken": {"path": "t", "user": 1}},
                    {"downwardAPI": {"items": [{"path": "l", "user": 3}]}}]}},
            ],
        });
        drop(spec.as_object_mut().unwrap());
        let want = json!({
            "containers": [{"name": "c",
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "readinessProbe": {"grpc": {"port": 80}}}],
            "volumes": [
                {"name": "a", "emptyDir": {"medium": "Memory"}},
                {"name": "b", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
                {"name": "c", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "l"}]}}]}},
            ],
        });
        assert_eq!(spec, want);
    }

    #[test]
    fn tolerations_do_not_compare() {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {
            "containers": [{"name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
            "tolerations": [{"key": "k", "operator": "Gt", "value": "1"}]}});
        let strategy = crate::core::Pod;
        crate::Strategy::default(&strategy, &mut pod);
        let found: Vec<String> = crate::Strategy::validate(&strategy, &pod).iter().map(ToString::to_string).collect();
        let want = "spec.tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"";
        assert_eq!(found, [want]);
    }
}
