//! Reads the messages of the package k8s-pb: their fields' numbers and kinds, which the wire format needs.

use serde_json::{Value, json};
use std::path::Path;

/// Every message of one source file: path, and for each field its number, name, kind and message.
pub(crate) fn file(root: &Path, path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a source file is text");
    let Some(module) = path.parent().and_then(|p| p.strip_prefix(root).ok()?.to_str()) else { return Vec::new() };
    let module = module.replace('/', "::");
    let mut out = Vec::new();
    let mut open: Option<(String, Vec<Value>)> = None;
    let mut attribute = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim();
        if let Some(name) = line.strip_prefix("pub struct ") {
            let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
            open = (!line.ends_with("{}")).then(|| (format!("{module}::{name}"), Vec::new()));
        } else if let Some(inner) = bare.strip_prefix("#[prost(") {
            attribute = inner.trim_end_matches(")]");
        } else if line == "}" {
            out.extend(open.take().map(|(path, fields)| json!([path, fields])));
        } else if let Some((_, fields)) = &mut open
            && let Some((name, ty)) = bare.strip_prefix("pub ").and_then(|f| f.split_once(':'))
            && !attribute.is_empty()
        {
            // A long type goes on over several lines.
            let mut ty = ty.trim().to_owned();
            while !ty.ends_with(',') || ty.matches('<').count() != ty.matches('>').count() {
                ty.push_str(lines.next().unwrap_or(",>>>").trim());
            }
            fields.push(field(attribute, name.trim_start_matches("r#"), &ty, &module));
            attribute = "";
        }
    }
    out
}

/// Number, name without underscores, kind (`string`, `[message`, `{bytes`, ...), path of the message.
fn field(attribute: &str, name: &str, ty: &str, module: &str) -> Value {
    let tag = attribute.split("tag = \"").nth(1).and_then(|t| t.split('"').next()).unwrap_or_default();
    let first = attribute.split([',', ' ']).next().unwrap_or_default();
    let kind = if attribute.starts_with("btree_map") {
        let inner = attribute.split('"').nth(1).unwrap_or_default();
        format!("{{{}", inner.split(", ").nth(1).unwrap_or_default())
    } else if attribute.contains("repeated") {
        format!("[{first}")
    } else {
        first.to_owned()
    };
    let message = if kind.ends_with("message") { resolve(ty, module) } else { String::new() };
    json!([tag.parse::<u32>().unwrap_or(0), name.replace('_', ""), kind, message])
}

/// The path of the message in a Rust type, with its `super::` steps taken.
fn resolve(ty: &str, module: &str) -> String {
    let closing: &[_] = &[',', '>', ' '];
    let inner = ty.trim_end_matches(closing);
    let inner = inner.rsplit(['<', ',']).next().unwrap_or(inner).trim();
    let mut parts: Vec<&str> = module.split("::").collect();
    let mut rest = inner;
    while let Some(shorter) = rest.strip_prefix("super::") {
        parts.pop();
        rest = shorter;
    }
    if let Some(absolute) = rest.strip_prefix("crate::") {
        return absolute.to_owned();
    }
    parts.push(rest);
    parts.join("::")
}
