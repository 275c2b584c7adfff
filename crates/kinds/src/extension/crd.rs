//! CustomResourceDefinitions.

mod check;
pub(crate) mod conversion;
mod names;
mod versions;
mod warn;

use crate::custom::{CLEANUP, set_condition};
use crate::print;
use crate::read::{child, fill, fill_zero, flag, has, items, spec, text};
use crate::rules::Rules;
use ironclad_api::table::Column;
use ironclad_json::{Value, json};
use ironclad_structural::shown;

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(default)
    .on_create(prepare_create)
    .on_update(prepare_update)
    .on_delete(prepare_delete)
    .checks(check::new)
    .checks_update(check::changed)
    .checks_status(check::status)
    .warns(warn::about)
    .prints(const { &[Column::object_name(), print::CREATED_AT] }, |o| vec![print::name(o), print::created_at(o)]);

fn default(o: &mut Value) {
    let spec = spec(o);
    tidy(spec);
    let kind = text(spec, &["names", "kind"]).to_owned();
    let names = child(spec, "names");
    if !kind.is_empty() {
        fill_zero(names, "singular", kind.to_lowercase());
        fill_zero(names, "listKind", format!("{kind}List"));
    }
    fill(spec, "conversion", json!({"strategy": "None"}));
    let conversion = child(spec, "conversion");
    if has(conversion, &["webhook", "clientConfig", "service"]) {
        fill(&mut conversion["webhook"]["clientConfig"]["service"], "port", 443);
    }
    let first = stored(o).into_iter().take(1).map(Value::from).collect::<Vec<_>>();
    if !first.is_empty() && items(o, &["status", "storedVersions"]).is_empty() {
        child(o, "status")["storedVersions"] = json!(first);
    }
}

/// Brings schemas into the form in which they go out.
fn tidy(spec: &mut Value) {
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        if has(version, &["schema", "openAPIV3Schema"]) {
            shown::tidy(&mut version["schema"]["openAPIV3Schema"]);
        }
    }
}

fn prepare_create(o: &mut Value) {
    let versions: Vec<String> = stored(o).into_iter().take(1).collect();
    let versions = if versions.is_empty() { Value::Null } else { json!(versions) };
    o["status"] = json!({"storedVersions": versions, "conditions": null, "acceptedNames": {"plural": "", "kind": ""}});
}

/// The version that is stored becomes one of those that objects may be stored in.
fn prepare_update(o: &mut Value, _old: &Value) {
    let new = stored(o);
    let status = child(o, "status");
    fill(status, "storedVersions", json!([]));
    if let Some(list) = status.get_mut("storedVersions").and_then(Value::as_array_mut) {
        let missing = new.into_iter().take(1).filter(|v| !list.iter().any(|l| l.as_str() == Some(v))).map(Value::from);
        list.extend(missing.collect::<Vec<_>>());
    }
}

/// Its instances go before it goes.
fn prepare_delete(o: &mut Value) {
    let meta = ironclad_api::object::metadata_mut(o);
    let list = meta.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut().filter(|l| !l.iter().any(|f| f == CLEANUP)) {
        list.push(json!(CLEANUP));
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(o, "Terminating", "True", "InstanceDeletionPending", message);
}

fn stored(o: &Value) -> Vec<String> {
    let versions = items(o, &["spec", "versions"]).iter();
    versions.filter(|v| flag(v, &["storage"])).map(|v| text(v, &["name"]).to_owned()).collect()
}
