//! JSON values as Go prints them, which stands in messages.

use ironclad_api::field::go_float;
use ironclad_json::Value;

/// `map[string]interface {}{"a":1}`: a value as it would be written in Go.
pub(crate) fn go_syntax(value: &Value) -> String {
    let inside = |value: &Value| match value {
        Value::Null => "interface {}(nil)".to_owned(),
        other => go_syntax(other),
    };
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => ironclad_api::go_quote(text),
        Value::Number(number) if number.as_i64().is_none() => go_float(number.as_f64().unwrap_or_default()),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inside).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let mut fields: Vec<(&ironclad_json::Text, &Value)> = map.iter().collect();
            fields.sort_by_key(|f| f.0);
            let field = |(k, v): (&ironclad_json::Text, &Value)| format!("{}:{}", ironclad_api::go_quote(k), inside(v));
            let fields: Vec<String> = fields.into_iter().map(field).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// `map[a:1 b:[x y]]`.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.to_string(),
        Value::Number(number) if number.as_i64().is_none() => go_float(number.as_f64().unwrap_or_default()),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_value).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut fields: Vec<(&ironclad_json::Text, &Value)> = map.iter().collect();
            fields.sort_by_key(|f| f.0);
            let fields: Vec<String> = fields.into_iter().map(|(k, v)| format!("{k}:{}", go_value(v))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}
