use super::*;
use ironclad_json::{Value, json};
use std::path::Path;

/// The fixtures of the upstream API library, beside the checkout; without them there is nothing to compare.
#[test]
fn upstream_objects_are_the_same_as_yaml() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/api-roundtrip");
    let (mut same, mut other) = (0, Vec::new());
    for version in ["v1.36.0", "v1.37-dev"] {
        let Ok(entries) = std::fs::read_dir(root.join(version)) else {
            eprintln!("no fixtures of {version}: nothing was compared");
            continue;
        };
        for path in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "yaml")) {
            let text = std::fs::read_to_string(&path).unwrap();
            let json: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let written = to_string(&json);
            if written == text {
                same += 1;
            } else {
                let line = written.lines().zip(text.lines()).find(|(a, b)| a != b);
                other.push(format!("{name} written: {line:?}"));
            }
            match parse(&text) {
                Ok((value, _)) if value == json => {}
                result => other.push(format!("{name} read: {}", result.is_ok())),
            }
        }
    }
    eprintln!("{same} documents are the same");
    assert_eq!(other, Vec::<String>::new());
}

#[test]
fn texts_are_quoted_only_where_they_must_be() {
    let table = [
        ("plain", "plain"),
        ("", "\"\""),
        ("true", "\"true\""),
        ("1", "\"1\""),
        ("1.5e3", "\"1.5e3\""),
        ("0x1f", "\"0x1f\""),
        ("10:30", "\"10:30\""),
        ("2026-01-01", "\"2026-01-01\""),
        ("2026-01-01T01:01:01Z", "\"2026-01-01T01:01:01Z\""),
        ("100m", "100m"),
        ("1.2.3.4", "1.2.3.4"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("a: b", "'a: b'"),
        ("- a", "'- a'"),
        ("it's", "it's"),
        ("'quoted'", "'''quoted'''"),
        ("*", "'*'"),
        ("a #b", "'a #b'"),
        (" a", "' a'"),
        ("a\tb", "\"a\\tb\""),
        ("a\nb\n", "|\n  a\n  b"),
        ("a\nb", "|-\n  a\n  b"),
    ];
    for (text, want) in table {
        assert_eq!(to_string(&json!({"k": text})), format!("k: {want}\n"), "{text:?}");
        let (back, _) = parse(&to_string(&json!({"k": text}))).unwrap();
        assert_eq!(back, json!({"k": text}));
    }
}

#[test]
fn values_are_laid_out_as_people_know_them() {
    let value = json!({"b": [{"x": 1, "a": []}, [1, [2]], {}], "a10": 1, "a9": null, "c": {"d": {"e": "w ".repeat(60) + "end"}}});
    let text = to_string(&value);
    assert!(
        text.starts_with("a9: null\na10: 1\nb:\n- a: []\n  x: 1\n- - 1\n  - - 2\n- {}\nc:\n  d:\n    e: w w"),
        "{text}"
    );
    assert!(text.lines().all(|l| l.len() <= 84));
    assert_eq!(parse(&text).unwrap().0, value);
}
