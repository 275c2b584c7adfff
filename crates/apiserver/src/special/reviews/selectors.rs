//! Selectors of access reviews: what may stand there, and what of it an authorizer is asked.
//!
//! Invariant: a requirement that is not understood is left out, which asks for more than was meant, never for less; the
//! answer says so.

use ironclad_api::selector::{FieldSelector, LabelSelector};
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::Value;

/// A selector as a request would have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) text: String,
    /// Whether something was left out.
    lost: bool,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The selector as text, with what `write` understands of its requirements.
fn selected(value: &Value, parses: fn(&str) -> bool, write: fn(&str, &str, &[String]) -> Option<String>) -> Selected {
    let requirements = value["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    if requirements.is_empty() {
        let raw = object::text(value, &["rawSelector"]);
        let good = parses(raw);
        return Selected { text: if good { raw.to_owned() } else { String::new() }, lost: !good };
    }
    let written = requirements.iter().map(|r| {
        let (key, operator) = (object::text(r, &["key"]), object::text(r, &["operator"]));
        write(key, operator, &texts(&r["values"]))
    });
    let written: Vec<Option<String>> = written.collect();
    let lost = written.iter().any(Option::is_none);
    Selected { text: written.into_iter().flatten().collect::<Vec<_>>().join(","), lost }
}

/// What a selector of labels asks for.
pub(super) fn labels(value: &Value) -> Selected {
    let write = |key: &str, operator: &str, values: &[String]| match (operator, values) {
        ("In", [one]) if !one.is_empty() => Some(format!("{key}={one}")),
        ("NotIn", [one]) if !one.is_empty() => Some(format!("{key}!={one}")),
        ("In", many) => Some(format!("{key} in ({})", many.join(","))),
        ("NotIn", many) => Some(format!("{key} notin ({})", many.join(","))),
        ("Exists", _) => Some(key.to_owned()),
        ("DoesNotExist", _) => Some(format!("!{key}")),
        _ => None,
    };
    selected(value, |raw| LabelSelector::parse(raw).is_ok(), write)
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

/// What a selector of fields asks for.
pub(super) fn fields(value: &Value) -> Selected {
    let write = |key: &str, operator: &str, values: &[String]| match (operator, values) {
        ("In", [one]) => Some(format!("{key}={}", escaped(one))),
        ("NotIn", [one]) => Some(format!("{key}!={}", escaped(one))),
        _ => None,
    };
    selected(value, |raw| FieldSelector::parse(raw).is_ok(), write)
}

/// What was left out of the selectors of a review, in words.
pub(super) fn ignored(resource: &Value) -> String {
    let of = |field: &str, selected: Selected| {
        let partially = if selected.text.is_empty() { "" } else { "partially " };
        let said = format!("spec.resourceAttributes.{field} {partially}ignored due to parse error");
        selected.lost.then_some(said)
    };
    let all = [
        of("fieldSelector", fields(&resource["fieldSelector"])),
        of("labelSelector", labels(&resource["labelSelector"])),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What is wrong with a selector of a review; operators may be newer than this server.
pub(super) fn check(selector: &Value, at: &Path, labels: bool, errors: &mut ErrorList) {
    let Some(given) = selector.as_object() else { return };
    let raw = object::text(selector, &["rawSelector"]);
    let requirements = given.get("requirements").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid_str(&at.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {at} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(&at.child("requirements"), why));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = at.child("requirements").index(index);
        let (key, values) = (object::text(requirement, &["key"]), texts(&requirement["values"]));
        if !labels && key.is_empty() {
            errors.push(FieldError::required(&at.child("key"), "must be specified"));
        }
        match object::text(requirement, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.child("values"), why));
            }
            _ => {}
        }
        if !labels {
            continue;
        }
        for why in names::qualified_name(key) {
            errors.push(FieldError::invalid_str(&at.child("key"), key, why));
        }
        for (index, value) in values.iter().enumerate() {
            for why in names::label_value(value) {
                errors.push(FieldError::invalid_str(&at.child("values").index(index), value, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn selectors_of_reviews_read_as_those_of_requests() {
        let one = |operator: &str, values: Value| json!({"requirements": [{"key": "a", "operator": operator, "values": values}]});
        let table = [
            (one("In", json!(["x"])), "a=x", "a=x"),
            (one("NotIn", json!(["x", "y"])), "a notin (x,y)", ""),
            (one("DoesNotExist", json!([])), "!a", ""),
            (one("Near", json!([])), "", ""),
            (json!({"rawSelector": "a=b"}), "a=b", "a=b"),
            (json!({"rawSelector": "a in (b)"}), "a in (b)", ""),
            (Value::Null, "", ""),
        ];
        for (selector, label, field) in table {
            assert_eq!(
                (labels(&selector).text, fields(&selector).text),
                (label.to_owned(), field.to_owned()),
                "{selector}"
            );
        }
        assert_eq!(fields(&one("In", json!(["x,y=z"]))).text, "a=x\\,y\\=z");
    }

    #[test]
    fn what_is_left_out_is_told() {
        let requirement = |operator: &str| json!({"key": "a", "operator": operator, "values": ["x"]});
        let review = json!({
            "fieldSelector": {"requirements": [requirement("In"), requirement("Near")]}, "labelSelector": {"rawSelector": "!!"},
        });
        let said = "spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error";
        assert_eq!(ignored(&review), said);
        assert_eq!(ignored(&json!({"fieldSelector": {"rawSelector": "a=b"}})), "");
    }
}
