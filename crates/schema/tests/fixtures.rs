//! The upstream API library's objects against the bundle: every field is known, and no value is of a wrong type.

use ironclad_api::object;
use ironclad_json::Value;
use ironclad_schema::{bundle, check};
use std::path::Path;

#[test]
fn upstream_objects_have_no_unknown_field() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/api-roundtrip/v1.37-dev");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return eprintln!("{} is missing: nothing was checked", dir.display());
    };
    let (mut checked, mut without_type, mut wrong) = (0, Vec::new(), Vec::new());
    for path in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let gvk = object::gvk(&value);
        let Some(id) = bundle().kind(&gvk) else {
            without_type.push(gvk.to_string());
            continue;
        };
        checked += 1;
        match check::object(bundle(), id, &mut value) {
            Ok(noticed) if noticed.unknown.is_empty() => {}
            other => wrong.push(format!("{gvk}: {other:?}")),
        }
    }
    eprintln!("{checked} checked; not in the bundle: {without_type:#?}");
    assert_eq!(wrong, Vec::<String>::new());
    assert!(checked >= 80, "{checked}");
}
