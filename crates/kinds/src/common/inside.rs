//! Values as stock shows them in errors and differences: with the fields of its inner types, capitalized, in their order,
//! and with what is missing. The types stand in `inside.txt`.

use ironclad_json::{Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

struct Field {
    /// How it is called inside, and in the API.
    shown: &'static str,
    name: String,
    kind: &'static str,
}

static TYPES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let field = |text: &'static str| {
        let (names, kind) = text.rsplit_once(':').unwrap_or((text, "s"));
        let (shown, name) = match names.split_once('=') {
            Some((shown, name)) => (shown, name.to_owned()),
            None => (names, names[..1].to_lowercase() + &names[1..]),
        };
        Field { shown, name, kind }
    };
    let line = |line: &'static str| {
        let mut words = line.split(' ');
        words.next().map(|name| (name, words.map(field).collect()))
    };
    include_str!("inside.txt").lines().filter(|l| !l.starts_with('#')).filter_map(line).collect()
});

/// A value with its fields in order.
enum Shown {
    Plain(String),
    List(Vec<Shown>),
    Object(Vec<(String, Shown)>),
}

/// A value of one of the types, on one line.
pub(crate) fn inside(value: &Value, of: &str) -> String {
    let mut out = String::new();
    object(value, of).write(None, &mut out);
    out
}

/// The lines of a value of one of the types, indented by one space as stock indents them.
pub(crate) fn lines(value: &Value, of: &str) -> Vec<String> {
    let mut out = String::new();
    object(value, of).write(Some(0), &mut out);
    out.lines().map(str::to_owned).collect()
}

/// What stands in the specification of a pod in the API, but in its security context inside.
const MOVED: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

fn pod_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let given: Vec<(&str, Value)> = MOVED.iter().map(|key| (*key, spec[*key].clone())).collect();
    if let Some(map) = spec.as_object_mut() {
        MOVED.iter().chain(&["serviceAccount"]).for_each(|key| drop(map.remove(key)));
        let context = ironclad_api::object::entry_of(map, "securityContext");
        for (key, value) in given.into_iter().filter(|(_, v)| !v.is_null()) {
            context.insert(key, value);
        }
    }
    spec
}

/// A value that stock has in another shape inside, in that shape.
fn reshaped(value: &Value, of: &str) -> Option<Value> {
    match of {
        "PodSpec" => Some(pod_spec(value)),
        // The fields of their metadata are their own.
        "PodTemplateSpec" | "PersistentVolumeClaimTemplate" => {
            let mut own = value["metadata"].as_object().cloned().unwrap_or_default();
            own.insert("spec", value["spec"].clone());
            Some(Value::Object(own))
        }
        _ => None,
    }
}

fn object(value: &Value, of: &str) -> Shown {
    let reshaped = reshaped(value, of);
    let value = reshaped.as_ref().unwrap_or(value);
    let Some(fields) = TYPES.get(of) else { return Shown::Plain(plain(value)) };
    let mut shown = Vec::new();
    for field in fields {
        let given = value.get(field.name.as_str()).filter(|v| !v.is_null());
        let (kind, bare) = field.kind.strip_prefix('~').map_or((field.kind, false), |kind| (kind, true));
        let nothing = |v: &Value| *v == json!([]) || *v == json!({});
        if bare && given.is_none_or(nothing) {
            continue;
        }
        shown.push((field.shown.to_owned(), part(given, kind)));
    }
    // What later versions brought.
    for (key, value) in value.as_object().into_iter().flatten() {
        if fields.iter().all(|f| f.name != key.as_str()) && !value.is_null() {
            let name = key[..1].to_uppercase() + &key[1..];
            shown.push((name, Shown::Plain(plain(value))));
        }
    }
    Shown::Object(shown)
}

fn part(given: Option<&Value>, kind: &str) -> Shown {
    let none = || Shown::Plain("null".to_owned());
    let (mark, rest) = kind.split_at(1);
    match (mark, given) {
        ("*" | "[" | "{", None) => none(),
        ("*", given) => part(given, rest),
        ("[", Some(Value::Array(items))) => Shown::List(items.iter().map(|v| part(Some(v), rest)).collect()),
        ("{", Some(Value::Object(map))) => {
            let mut entries: Vec<(String, Shown)> =
                map.iter().map(|(k, v)| (k.to_string(), part(Some(v), rest))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Shown::Object(entries)
        }
        ("@", given) => object(given.unwrap_or(&json!({})), rest),
        (_, Some(value)) => Shown::Plain(plain(value)),
        ("s", None) => Shown::Plain("\"\"".to_owned()),
        ("Q", None) => Shown::Plain("\"0\"".to_owned()),
        ("b", None) => Shown::Plain("false".to_owned()),
        ("T", None) => none(),
        (_, None) => Shown::Plain("0".to_owned()),
    }
}

/// JSON as Go writes it, in which three signs of HTML are escaped.
fn plain(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl Shown {
    fn write(&self, indent: Option<usize>, out: &mut String) {
        let (open, close, empty) = match self {
            Self::Plain(text) => return out.push_str(text),
            Self::List(items) => ('[', ']', items.is_empty()),
            Self::Object(entries) => ('{', '}', entries.is_empty()),
        };
        out.push(open);
        let below = indent.map(|n| n + 1);
        let start = |first: bool, out: &mut String| {
            if !first {
                out.push(',');
            }
            new_line(below, out);
        };
        match self {
            Self::Plain(_) => {}
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    start(i == 0, out);
                    item.write(below, out);
                }
            }
            Self::Object(entries) => {
                for (i, (name, value)) in entries.iter().enumerate() {
                    start(i == 0, out);
                    out.push_str(&json!(name).to_string());
                    out.push_str(if indent.is_some() { ": " } else { ":" });
                    value.write(below, out);
                }
            }
        }
        if !empty {
            new_line(indent, out);
        }
        out.push(close);
    }
}

fn new_line(indent: Option<usize>, out: &mut String) {
    if let Some(n) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', n));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_shown_and_names_are_those_inside() {
        let table = [
            (
                "PodResourceClaim",
                json!({"resourceClaimName": "x"}),
                r#"{"Name":"","ResourceClaimName":"x","ResourceClaimTemplateName":null}"#,
            ),
            ("Taint", json!({"key": "a<b"}), r#"{"Key":"a\u003cb","Value":"","Effect":"","TimeAdded":null}"#),
            (
                "ScopeSelector",
                json!({"matchExpressions": [{"scopeName": "s", "operator": "In", "values": ["v"]}]}),
                r#"{"MatchExpressions":[{"ScopeName":"s","Operator":"In","Values":["v"]}]}"#,
            ),
        ];
        for (of, value, want) in table {
            assert_eq!(inside(&value, of), want);
        }
    }

    #[test]
    fn the_namespaces_of_the_node_stand_in_the_security_context() {
        let lines = lines(&json!({"hostNetwork": true, "containers": []}), "PodSpec");
        assert_eq!(lines[..3], ["{", " \"Volumes\": null,", " \"InitContainers\": null,"]);
        assert!(lines.contains(&"  \"HostNetwork\": true,".to_owned()), "{lines:#?}");
    }
}
