//! Which address families a Service has, as a pure function of the Service and of what the cluster has.

use ironclad_api::{ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};
use std::net::IpAddr;

/// The only family of which this cluster gives out addresses.
const OWN: &str = "IPv4";

fn list(spec: &Value, key: &str) -> Vec<Value> {
    spec[key].as_array().cloned().unwrap_or_default()
}

/// Whether the Service wants no address.
pub(super) fn is_headless(spec: &Value) -> bool {
    spec["clusterIP"] == "None" || spec["clusterIPs"][0] == "None"
}

/// Fills in `ipFamilies` and `ipFamilyPolicy`, or says why the cluster cannot serve what is asked for.
pub(super) fn settle(service: &mut Value, old: Option<&Value>) -> ErrorList {
    let selectorless = service["spec"]["selector"].as_object().is_none_or(ironclad_json::Map::is_empty);
    let spec = object::entry(service, "spec");
    let mut spec_value = Value::Object(std::mem::take(spec));
    let errors = settle_spec(&mut spec_value, old.map(|o| &o["spec"]), selectorless);
    if let Value::Object(map) = spec_value {
        *object::entry(service, "spec") = map;
    }
    errors
}

fn settle_spec(spec: &mut Value, old: Option<&Value>, selectorless: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let headless = is_headless(spec);
    if spec["ipFamilyPolicy"].is_null() {
        let before = old.map_or(&Value::Null, |o| &o["ipFamilyPolicy"]);
        spec["ipFamilyPolicy"] = match before {
            Value::Null if headless && selectorless => json!("RequireDualStack"),
            Value::Null => json!("SingleStack"),
            kept => kept.clone(),
        };
    }
    let policy = spec["ipFamilyPolicy"].as_str().unwrap_or_default().to_owned();
    let policy_at = at.child("ipFamilyPolicy");
    if policy == "SingleStack" {
        for (key, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            let unchanged = old.is_some_and(|o| o[key] == spec[key]);
            if unchanged && list(spec, key).len() > 1 {
                spec[key] = json!([spec[key][0]]);
            }
            if list(spec, key).len() == 2 {
                let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.push(FieldError::invalid_str(&policy_at, &policy, why));
            }
        }
    } else if let Some(old) = old.filter(|o| o["type"] != "ExternalName") {
        for (key, what) in [("clusterIPs", "secondary cluster IP"), ("ipFamilies", "secondary IP family")] {
            if list(old, key).len() == 2 && list(spec, key).len() == 1 {
                let why = format!("must be 'SingleStack' to release the {what}");
                errors.push(FieldError::invalid_str(&policy_at, &policy, why));
            }
        }
    }
    let mut families = list(spec, "ipFamilies");
    for (i, ip) in list(spec, "clusterIPs").iter().enumerate().skip(families.len()) {
        match ip.as_str().unwrap_or_default().parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => families.push(json!(OWN)),
            Ok(IpAddr::V6(_)) => {
                let why = "IPv6 is not configured on this cluster";
                errors.push(FieldError::invalid(&at.child("clusterIPs").index(i), &spec["clusterIPs"], why));
            }
            Err(_) => break,
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if families.is_empty() {
        families.push(json!(OWN));
    }
    if headless && selectorless {
        // Its endpoints are somebody else's, who may have both.
        if families.len() < 2 && policy != "SingleStack" {
            families.push(json!(if families[0] == OWN { "IPv6" } else { OWN }));
        }
    } else {
        if policy == "RequireDualStack" {
            let why = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid_str(&policy_at, &policy, why));
        }
        for (i, family) in families.iter().enumerate().filter(|(_, f)| *f != OWN) {
            errors.push(FieldError::invalid(
                &at.child("ipFamilies").index(i),
                family,
                "not configured on this cluster",
            ));
        }
    }
    spec["ipFamilies"] = Value::Array(families.into());
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_from_what_is_said() {
        let table = [
            (json!({}), json!(["IPv4"]), "SingleStack", ""),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), json!(["IPv4"]), "PreferDualStack", ""),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), json!(["IPv4", "IPv6"]), "RequireDualStack", ""),
            (json!({"clusterIP": "None", "selector": {"a": "b"}}), json!(["IPv4"]), "SingleStack", ""),
            (
                json!({"ipFamilyPolicy": "RequireDualStack", "selector": {"a": "b"}}),
                json!(["IPv4"]),
                "RequireDualStack",
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                json!(["IPv6"]),
                "SingleStack",
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
            ),
        ];
        for (spec, families, policy, why) in table {
            let mut service = json!({"spec": spec});
            let errors = settle(&mut service, None);
            assert_eq!(errors.first().map_or(String::new(), ToString::to_string), why);
            assert_eq!(
                (&service["spec"]["ipFamilies"], &service["spec"]["ipFamilyPolicy"]),
                (&families, &json!(policy))
            );
        }
    }
}
