//! StatefulSets.

use super::template;
use crate::common::checks::{rule, same};
use crate::common::claim;
use crate::common::numbers::{at_most_100, int_or_percent, is_zero, not_negative_at};
use crate::common::pod_defaults;
use crate::common::pod_rules::one_of;
use crate::print;
use crate::read::{child, count, each, fill, fill_zero, has, int, items, put, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

pub(crate) const STATEFUL_SET: Rules = Rules::new()
    .named(names::dns1123_label)
    .defaults(default)
    .on_create(|o| put(o, "status", json!({"replicas": 0, "availableReplicas": 0})))
    .checks(|o| {
        let mut errors = validate(o, true);
        // Older sets may have any name here, which cannot change.
        let (name, at) = (text(o, &["spec", "serviceName"]), Path::new("spec").child("serviceName"));
        if !name.is_empty() {
            rule(names::dns1123_label(name), name, &at, &mut errors);
        }
        errors
    })
    .checks_update(|new, old| {
        // Claims cannot change, and those of old may be wrong.
        let mut errors = validate(new, false);
        if !same(&fixed(new), &fixed(old)) {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden(&Path::new("spec"), why));
        }
        errors
    })
    .checks_status(|new, old| {
        let mut errors = ErrorList::new();
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        template::status(new, &["observedGeneration"], &parts, &mut errors);
        template::available(new, "status.readyReplicas", &mut errors);
        template::collisions(new, old, &mut errors);
        errors
    })
    .warns(warnings)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Ready", "Number of the pod with ready state"),
                Column::age(),
                print::CONTAINERS,
                print::IMAGES,
            ]
        },
        |o| {
            let ready = format!("{}/{}", count(o, &["status", "readyReplicas"]), count(o, &["spec", "replicas"]));
            let mut cells = vec![print::name(o), json!(ready), table::age(o)];
            cells.extend(print::containers(o, &["spec", "template", "spec", "containers"]));
            cells
        },
    );

fn default(o: &mut Value) {
    pod_defaults::template(o, &["spec", "template"]);
    if !o["spec"].is_object() {
        return;
    }
    let spec = spec(o);
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill_zero(spec, "podManagementPolicy", "OrderedReady");
    let strategy = child(spec, "updateStrategy");
    if text(strategy, &["type"]).is_empty() {
        put(strategy, "type", json!("RollingUpdate"));
        child(strategy, "rollingUpdate");
    }
    if has(strategy, &["rollingUpdate"]) {
        let rolls = text(strategy, &["type"]) == "RollingUpdate";
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "partition", 0);
        if rolls {
            fill(rolling, "maxUnavailable", 1);
        }
    }
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    fill_zero(retention, "whenDeleted", "Retain");
    fill_zero(retention, "whenScaled", "Retain");
    each(spec, &["volumeClaimTemplates"], |template| {
        put(template, "apiVersion", json!("v1"));
        put(template, "kind", json!("PersistentVolumeClaim"));
        claim::default_spec(child(template, "spec"));
        fill(child(template, "status"), "phase", "Pending");
    });
}

/// The parts that no update may change.
fn fixed(o: &Value) -> Value {
    let mut spec = o["spec"].clone();
    for key in [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ] {
        spec.as_object_mut().and_then(|s| s.remove(key));
    }
    spec
}

fn validate(o: &Value, claims: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    match text(spec, &["podManagementPolicy"]) {
        "OrderedReady" | "Parallel" => {}
        "" => errors.push(FieldError::required(&at.child("podManagementPolicy"), "")),
        other => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid_str(&at.child("podManagementPolicy"), other, why));
        }
    }
    strategy(&spec["updateStrategy"], &at.child("updateStrategy"), &mut errors);
    let retention = at.child("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let policy = &spec["persistentVolumeClaimRetentionPolicy"];
        one_of(policy, &retention, key, &["Retain", "Delete"], policy.is_object(), &mut errors);
    }
    for (i, template) in items(spec, &["volumeClaimTemplates"]).iter().enumerate().filter(|_| claims) {
        let at = at.child("volumeClaimTemplates").index(i).child("spec");
        errors.extend(claim::validate_claim_spec(&template["spec"], &at));
    }
    not_negative_at(spec, &at, &["replicas", "minReadySeconds"], &mut errors);
    not_negative_at(&spec["ordinals"], &at.child("ordinals"), &["start"], &mut errors);
    template::selector(spec, "statefulset", &mut errors);
    template::selector_broken(spec, "", &mut errors);
    template::selector_matches(spec, false, &mut errors);
    template::lasting(&with_claims(spec), "StatefulSet", &mut errors);
    errors
}

/// The specification with the template that pods come from: the volumes of the claims stand before its own, and the
/// controller gives the pods their names.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let claims = items(&spec, &["volumeClaimTemplates"]).iter().map(|c| text(c, &["metadata", "name"]).to_owned());
    let mut names: Vec<String> = claims.collect();
    names.sort_unstable();
    names.dedup();
    let Some(pod) = crate::read::at_mut(&mut spec, &["template", "spec"]).and_then(Value::as_object_mut) else {
        return spec;
    };
    pod.remove("subdomain");
    pod.remove("hostname");
    if !names.is_empty() {
        let own = pod.remove("volumes").unwrap_or_default();
        let own = own.as_array().into_iter().flatten().filter(|v| !names.iter().any(|n| n == text(v, &["name"])));
        let claimed = names.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}}));
        let volumes: Value = claimed.chain(own.cloned()).collect::<Vec<_>>().into();
        pod.insert("volumes", volumes);
    }
    spec
}

fn strategy(strategy: &Value, at: &Path, errors: &mut ErrorList) {
    let (rolling, rolling_at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
    match text(strategy, &["type"]) {
        "" => errors.push(FieldError::required(at, "")),
        "OnDelete" => {
            if has(strategy, &["rollingUpdate"]) {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(FieldError::invalid(&rolling_at, rolling, why));
            }
        }
        "RollingUpdate" => {
            not_negative_at(rolling, &rolling_at, &["partition"], errors);
            let most = &rolling["maxUnavailable"];
            if !most.is_null() {
                let at = rolling_at.child("maxUnavailable");
                int_or_percent(most, &at, errors);
                if is_zero(most) {
                    errors.push(FieldError::invalid(&at, most, "cannot be 0"));
                }
                at_most_100(most, &at, errors);
            }
        }
        _ => errors.push(FieldError::invalid(at, strategy, "must be 'RollingUpdate' or 'OnDelete'")),
    }
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings: Vec<String> = template::name_warning(new, old, template::POD_NAMES).into_iter().collect();
    warnings.extend(template::warnings(new, old, &["spec", "template"], &[&["spec"]]));
    for (i, template) in items(new, &["spec", "volumeClaimTemplates"]).iter().enumerate().filter(|_| old.is_none()) {
        let at = Path::new("spec").child("volumeClaimTemplates").index(i).child("spec");
        warnings.extend(claim::size_warnings(&template["spec"], &at));
    }
    if int(new, &["spec", "revisionHistoryLimit"]).is_some_and(|n| n < 0) {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {why}"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_claims_stand_before_those_of_the_template() {
        let template = json!({"hostname": "Bad_Name", "volumes": [{"name": "own"}, {"name": "data", "emptyDir": {}}]});
        let claims = json!([{"metadata": {"name": "data"}}]);
        let spec = with_claims(&json!({"template": {"spec": template}, "volumeClaimTemplates": claims}));
        let claimed = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
        assert_eq!(spec["template"]["spec"], json!({"volumes": [claimed, {"name": "own"}]}));
    }

    #[test]
    fn claims_are_looked_at_when_a_set_is_made() {
        let set = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}});
        let of_claims = |claims: bool| {
            let at = |e: &FieldError| e.path.starts_with("spec.volumeClaimTemplates[0].spec");
            validate(&set, claims).iter().filter(|e| at(e)).count()
        };
        assert_eq!((of_claims(true) > 0, of_claims(false)), (true, 0));
    }
}
