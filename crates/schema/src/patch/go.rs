//! JSON values as Go prints them, which stands in messages.

use ironclad_api::field::go_float;
use ironclad_json::Value;

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
