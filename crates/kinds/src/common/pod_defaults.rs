//! The defaults of a pod's specification, as `kubectl get -o yaml` shows them.

use ironclad_api::object::default_to;
use ironclad_json::{Map, Value, json};

type Object = Map;

fn each<'a>(object: &'a mut Object, list: &str) -> impl Iterator<Item = &'a mut Object> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Sets what is missing, null, empty or zero where the default is not.
fn set(object: &mut Object, key: &str, value: &Value) {
    let zero = |v: &Value| v == "" || (v == 0 && value.is_number());
    if object.get(key).is_some_and(zero) && !zero(value) {
        object.remove(key);
    }
    default_to(object, key, || value.clone());
}

/// Writes amounts in their canonical form.
fn amounts(resources: &mut Value) {
    for part in ["limits", "requests"] {
        crate::read::canonical(resources, &[part]);
    }
}

/// Fills in the defaults of a pod's or template's `spec`.
pub(crate) fn spec(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    super::pod_off::drop(spec);
    set(spec, "restartPolicy", &json!("Always"));
    default_to(spec, "terminationGracePeriodSeconds", || json!(30));
    set(spec, "dnsPolicy", &json!("ClusterFirst"));
    set(spec, "schedulerName", &json!("default-scheduler"));
    set(spec, "securityContext", &json!({}));
    let account = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount")).cloned();
    if let Some(account) = account.filter(|a| a.as_str().is_some_and(|a| !a.is_empty())) {
        spec.insert("serviceAccountName", account.clone());
        spec.insert("serviceAccount", account);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(|c| container(c, list != "ephemeralContainers"));
    }
    each(spec, "volumes").for_each(volume);
    if let Some(overhead) = spec.get_mut("overhead").and_then(Value::as_object_mut) {
        overhead.values_mut().for_each(crate::read::canonical_quantity);
    }
    if let Some(whole) = spec.get_mut("resources") {
        amounts(whole);
    }
}

/// Fills in the defaults of the template at a path, where there is one.
pub(crate) fn template(object: &mut Value, path: &[&str]) {
    if let Some(template) = crate::read::at_mut(object, path).and_then(Value::as_object_mut) {
        ironclad_api::object::entry_of(template, "metadata");
        spec(template.entry("spec").or_insert(Value::Null));
    }
}

/// What only a pod has, not a template: links to Services and requests that follow from limits.
pub(crate) fn pod(pod: &mut Value) {
    let Some(object) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    set(object, "enableServiceLinks", &json!(true));
    if object.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|n| n < 0) {
        object.insert("terminationGracePeriodSeconds", json!(1));
    }
    if object.get("hostNetwork") == Some(&json!(true)) {
        for list in ["initContainers", "containers"] {
            for port in each(object, list).flat_map(|c| each(c, "ports").collect::<Vec<_>>()) {
                if let Some(number) = port.get("containerPort").cloned() {
                    set(port, "hostPort", &number);
                }
            }
        }
    }
    whole(object);
    for list in ["initContainers", "containers"] {
        for container in each(object, list) {
            let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { continue };
            let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
            if limits.is_empty() {
                continue;
            }
            let requests = ironclad_api::object::entry_of(resources, "requests");
            for (name, amount) in limits {
                requests.entry(name).or_insert(amount);
            }
        }
    }
}

/// Requests of the pod as a whole follow from those of its containers, then from its limits.
fn whole(spec: &mut Object) {
    let part = |spec: &Object, part: &str| spec.get("resources")?.get(part)?.as_object().cloned();
    let (limits, requests) = (part(spec, "limits").unwrap_or_default(), part(spec, "requests").unwrap_or_default());
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let mut without = spec.clone();
    ["resources", "overhead"].iter().for_each(|key| drop(without.remove(key)));
    let typed = ironclad_json::from_value(Value::Object(without)).unwrap_or_default();
    let limits = page_limits(spec, limits, &requests, &typed);
    if limits.is_empty() {
        return;
    }
    let asked = ironclad_api::pod_resources::requests(&typed);
    let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let requests = ironclad_api::object::entry_of(resources, "requests");
    for (name, total) in asked.into_iter().filter(|(n, _)| n == "cpu" || n == "memory") {
        requests.entry(name).or_insert_with(|| json!(total.to_string()));
    }
    for (name, limit) in limits.into_iter().filter(|(n, _)| super::resources::is_of_pods(n)) {
        requests.entry(name).or_insert(limit);
    }
}

/// Limits of huge pages of the pod as a whole follow from those of its containers.
fn page_limits(
    spec: &mut Object,
    mut limits: Object,
    requests: &Object,
    typed: &k8s_openapi::api::core::v1::PodSpec,
) -> Object {
    let before = limits.len();
    let pages = ironclad_api::pod_resources::limits(typed).into_iter().filter(|(n, _)| n.starts_with("hugepages-"));
    for (name, total) in pages.filter(|(n, _)| requests.get(n).is_none()) {
        limits.entry(name).or_insert_with(|| json!(total.to_string()));
    }
    if limits.len() > before
        && let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut)
    {
        resources.insert("limits", Value::Object(limits.clone()));
    }
    limits
}

/// A divisor that is not given reads 0.
fn divisor(reference: &mut Value) {
    if let Some(map) = reference.as_object_mut() {
        default_to(map, "divisor", || json!("0"));
    }
}

fn container(c: &mut Object, probes: bool) {
    set(c, "terminationMessagePath", &json!("/dev/termination-log"));
    set(c, "terminationMessagePolicy", &json!("File"));
    set(c, "resources", &json!({}));
    if let Some(resources) = c.get_mut("resources") {
        amounts(resources);
    }
    let image = c.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    set(c, "imagePullPolicy", &json!(policy));
    for port in each(c, "ports") {
        set(port, "protocol", &json!("TCP"));
    }
    for env in each(c, "env") {
        let source = env.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef")).and_then(Value::as_object_mut);
        if let Some(reference) = source {
            set(reference, "apiVersion", &json!("v1"));
        }
        let resource = env.get_mut("valueFrom").and_then(|v| v.get_mut("resourceFieldRef"));
        resource.map(divisor);
        let file = env.get_mut("valueFrom").and_then(|v| v.get_mut("fileKeyRef")).and_then(Value::as_object_mut);
        if let Some(file) = file {
            set(file, "optional", &json!(false));
        }
    }
    if !probes {
        return;
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = c.get_mut(probe).and_then(Value::as_object_mut) {
            for (field, default) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                set(probe, field, &json!(default));
            }
            handler(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = c.get_mut("lifecycle").and_then(|l| l.get_mut(hook)).and_then(Value::as_object_mut) {
            handler(hook);
        }
    }
}

fn handler(handler: &mut Object) {
    if let Some(get) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        set(get, "path", &json!("/"));
        set(get, "scheme", &json!("HTTP"));
    }
    if let Some(grpc) = handler.get_mut("grpc").and_then(Value::as_object_mut) {
        set(grpc, "service", &json!(""));
    }
}

fn volume(volume: &mut Object) {
    sources(volume);
    if volume.iter().all(|(k, v)| k == "name" || v.is_null()) {
        volume.insert("emptyDir", json!({}));
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let latest = is_latest(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        set(image, "pullPolicy", &json!(if latest { "Always" } else { "IfNotPresent" }));
    }
    let template = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate"));
    if let Some(claim) = template.and_then(|t| t.get_mut("spec")) {
        super::claim::default_spec(claim);
    }
    for (source, field, default) in [
        ("configMap", "defaultMode", json!(0o644)),
        ("secret", "defaultMode", json!(0o644)),
        ("projected", "defaultMode", json!(0o644)),
        ("downwardAPI", "defaultMode", json!(0o644)),
    ] {
        let Some(object) = volume.get_mut(source).and_then(Value::as_object_mut) else { continue };
        default_to(object, field, || default);
        field_refs(object);
        for part in each(object, "sources") {
            if let Some(token) = part.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                default_to(token, "expirationSeconds", || json!(3600));
            }
            if let Some(api) = part.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                field_refs(api);
            }
        }
    }
}

/// Fills in what follows from the source of a volume.
fn sources(volume: &mut Object) {
    let mut value = Value::Object(std::mem::take(volume));
    super::volume_rules::default_source(&mut value);
    if let Value::Object(map) = value {
        *volume = map;
    }
}

fn field_refs(object: &mut Object) {
    for item in each(object, "items") {
        if let Some(reference) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            set(reference, "apiVersion", &json!("v1"));
        }
        item.get_mut("resourceFieldRef").map(divisor);
    }
}

/// Whether an image has the tag `latest`, said or not.
fn is_latest(image: &str) -> bool {
    if !is_reference(image) {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains('@') {
        return false;
    }
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Whether the name of an image can be read: parts of lower case behind a registry's name, a tag, a digest.
fn is_reference(image: &str) -> bool {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    let slash = rest.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match rest[slash..].split_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], Some(tag)),
        None => (rest, None),
    };
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let tag_form = |tag: &str| {
        tag.len() <= 128
            && tag.bytes().next().is_some_and(word)
            && tag.bytes().all(|b| word(b) || matches!(b, b'-' | b'.'))
    };
    let parts: Vec<&str> = name.split('/').collect();
    let registry = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost" || upper(parts[0]));
    let path = if registry { &parts[1..] } else { &parts[..] };
    // What looks like the identifier of an image names none.
    if image.len() == 64 && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return false;
    }
    // One word alone is an image of the official ones.
    let length = path.join("/").len() + if parts.len() == 1 { "library/".len() } else { 0 };
    length <= 255
        && (!registry || is_domain(parts[0]))
        && path.iter().all(|p| is_component(p))
        && tag.is_none_or(tag_form)
        && digest.is_none_or(|d| {
            d.split_once(':').is_some_and(|(algorithm, hash)| !algorithm.is_empty() && !hash.is_empty())
        })
}

/// The name of a registry: words with dots between, and perhaps a port.
fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let word = |part: &str| {
        let ends = part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric());
        ends && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    text.starts_with('[') || (digits && host.split('.').all(word))
}

fn upper(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}

/// Letters of lower case and digits, with single separators inside.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let b = part.as_bytes();
    let ends = b.first().zip(b.last()).is_some_and(|(first, last)| word(*first) && word(*last));
    let gaps = part.split(|c: char| word(c as u8) && c.is_ascii());
    ends && gaps.into_iter().all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_pod_gets_the_stock_defaults() {
        let mut value = json!({"spec": {"containers": [{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"port": 80}}}], "volumes": [{"name": "v"}]}});
        spec(&mut value["spec"]);
        pod(&mut value);
        assert_eq!(
            value["spec"],
            json!({
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{
                    "name": "a", "image": "nginx", "imagePullPolicy": "Always",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                }],
            })
        );
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, latest) in
            [("a", true), ("a:latest", true), ("a:1", false), ("r:5000/a", true), ("a@sha256:x", false), ("Bad", false)]
        {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
