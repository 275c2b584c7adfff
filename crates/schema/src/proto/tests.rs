use super::*;
use crate::bundle;
use std::path::{Path, PathBuf};

/// The fixtures of the upstream API library, beside the checkout; without them there is nothing to compare.
fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/api-roundtrip");
    let mut out = Vec::new();
    for version in ["v1.36.0", "v1.37-dev"] {
        let Ok(entries) = std::fs::read_dir(root.join(version)) else {
            eprintln!("no fixtures of {version}: nothing was compared");
            continue;
        };
        out.extend(entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "pb")));
    }
    out.retain(|p| !p.to_string_lossy().contains(".after_roundtrip."));
    out.sort();
    out
}

/// What becomes of an object of an older release, where that is not what it was.
fn after(path: &Path) -> PathBuf {
    let after = path.with_extension("after_roundtrip.pb");
    if after.exists() { after } else { path.to_owned() }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap()
}

fn first_difference(a: &Value, b: &Value) -> String {
    let keys = a.as_object().into_iter().flatten().chain(b.as_object().into_iter().flatten()).map(|(k, _)| k);
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => keys
            .filter(|k| x.get(k) != y.get(k))
            .map(|k| format!(".{k}{}", first_difference(&a[k], &b[k])))
            .next()
            .unwrap_or_default(),
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let place = (0..x.len()).find(|i| x[*i] != y[*i]).unwrap_or(0);
            format!("[{place}]{}", first_difference(&x[place], &y[place]))
        }
        _ => format!(": {a} != {b}"),
    }
}

#[test]
fn upstream_objects_are_the_same_in_both_forms() {
    let (mut same, mut other, mut foreign) = (0, Vec::new(), 0);
    for path in fixtures() {
        let json = json_of(&after(&path));
        let gvk = object::gvk(&json);
        if form(bundle(), &gvk).is_none() {
            foreign += 1;
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(after(&path)).unwrap();
        match decode(bundle(), &std::fs::read(&path).unwrap()) {
            Ok(v) if v == json => {}
            result => other.push(format!("{name} decoded: {:?}", result.map(|v| first_difference(&v, &json)))),
        }
        match encode(bundle(), &json).unwrap() {
            Ok(mine) if mine == bytes => same += 1,
            Ok(mine) => {
                let back = decode(bundle(), &mine).map(|v| first_difference(&v, &json));
                other.push(format!("{name} encoded: {} bytes, not {}: {back:?}", mine.len(), bytes.len()));
            }
            Err(error) => other.push(format!("{name} encoded: {error}")),
        }
    }
    eprintln!("{same} objects are the same, {foreign} are of kinds that are not served");
    assert_eq!(other, Vec::<String>::new());
    assert!(same >= 80 || foreign == 0, "{same}");
}

#[test]
fn what_is_not_there_is_written_as_go_writes_it() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    let bytes = encode(bundle(), &pod).unwrap().unwrap();
    // Empty texts, a specification and a status without anything in them.
    assert!(bytes.ends_with(b"\x1a\0\x22\0"));
    let back = decode(bundle(), &bytes).unwrap();
    let go = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}, "status": {}});
    assert_eq!(back, go);
}

#[test]
fn lists_and_events_are_framed_around_their_parts() {
    let item = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let maps = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"},
        "items": [item, {"metadata": {"name": "b"}}]});
    let bytes = encode(bundle(), &maps).unwrap().unwrap();
    assert_eq!(decode(bundle(), &bytes).unwrap(), maps);
    let framed = event("ADDED", &[bytes.clone().into()]);
    assert_eq!(framed[..4], (framed.len() as u32 - 4).to_be_bytes());
    assert_eq!(&framed[4..11], b"\x0a\x05ADDED");
    assert!(framed.ends_with(&bytes));
}

#[test]
fn tables_and_custom_resources_have_no_such_form() {
    for (group, kind) in [("meta.k8s.io", "Table"), ("example.com", "Widget"), ("example.com", "WidgetList")] {
        assert_eq!(message(bundle(), &GroupVersionKind::new(group, "v1", kind)), None, "{kind}");
    }
    assert!(message(bundle(), &GroupVersionKind::new("meta.k8s.io", "v1", "PartialObjectMetadata")).is_some());
}

#[test]
fn cut_off_and_foreign_bytes_are_refused() {
    assert!(decode(bundle(), b"{}").is_err());
    assert!(decode(bundle(), b"k8s\0\x0a\xff").is_err());
    assert!(decode(bundle(), b"k8s\0\x0a\x08\x0a\x02v1\x12\x02No").is_err());
}

#[test]
fn many_tiny_parts_are_refused() {
    let raw = b"\x12\0".repeat(1 << 20);
    let pod = envelope("v1", "PodList", [raw.into()]).concat();
    assert_eq!(decode(bundle(), &pod).unwrap_err(), "the object has too many parts");
}
