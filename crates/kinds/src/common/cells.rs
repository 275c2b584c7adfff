//! Small cells of tables.

use ironclad_json::{Value, json};

/// A text, `<none>` where it is missing or empty.
pub(crate) fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

/// A map as `a=b,c=d`, `<none>` where it is empty.
pub(crate) fn map(value: &Value) -> Value {
    let pairs = value.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    or_none(&pairs.join(","))
}

/// The first three of a list and how many there are besides; `unset` for none.
pub(crate) fn shorten(all: &[String], unset: &str) -> Value {
    const SHOWN: usize = 3;
    match all.len() {
        0 => json!(unset),
        n if n > SHOWN => json!(format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN)),
        _ => json!(all.join(",")),
    }
}
