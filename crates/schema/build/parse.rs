//! Reads one generated source file: a type with its fields, docs and merge strategies. The files are machine-made, so
//! that reading them line by line is exact.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

#[derive(Default)]
pub(crate) struct Type {
    /// The Rust path, by which other types refer to it: `api::core::v1::Pod`.
    pub(crate) path: String,
    /// The definition's name: `io.k8s.api.core.v1.Pod`.
    definition: String,
    /// Group, version, kind, plural, whether namespaced.
    resource: Option<(String, String, String, String, bool)>,
    list_kind: Option<String>,
    doc: String,
    fields: Vec<Field>,
    /// What stands for a type without fields of its own: a scalar or anything.
    scalar: Option<&'static str>,
}

#[derive(Default)]
struct Field {
    rust: String,
    json: String,
    ty: String,
    doc: String,
    /// `atomic`, `set`, `map` with the merge keys; for maps `atomic` or `granular`.
    merge: String,
    keys: Vec<String>,
}

impl Type {
    pub(crate) fn shape(&self) -> Value {
        let fields = self.fields.iter().map(|f| {
            let (shape, required) = shape(&f.ty);
            json!([f.json, shape, required, f.merge, f.keys])
        });
        let fields: Vec<Value> = fields.collect();
        json!([self.path, self.definition, self.resource, self.list_kind, self.scalar, fields])
    }

    pub(crate) fn docs(&self) -> Value {
        json!([self.doc, self.fields.iter().map(|f| f.doc.as_str()).collect::<Vec<_>>()])
    }
}

/// The type that a file defines; `None` for modules.
pub(crate) fn file(root: &Path, path: &Path) -> Option<Type> {
    let text = std::fs::read_to_string(path).expect("a source file is text");
    let definition = text.lines().next()?.strip_prefix("// Generated from definition ")?.to_owned();
    let module = path.parent()?.strip_prefix(root).ok()?.to_str()?.replace('/', "::");
    let mut ty = Type { definition, ..Type::default() };
    let head = text.lines().find(|l| l.starts_with("pub struct ") || l.starts_with("pub enum "))?;
    let name: String = head.split(' ').nth(2)?.chars().take_while(|c| c.is_alphanumeric()).collect();
    ty.path = format!("{module}::{name}");
    ty.scalar = scalar(&name);
    // A struct without fields wraps a value there.
    let empty = [format!("{name};"), format!("{name}(pub crate::serde_json::Value);")];
    let plain = head.starts_with("pub struct ") && (head.contains('{') || empty.iter().any(|e| head.ends_with(e)));
    if ty.scalar.is_none() && !plain {
        // An enumeration of shapes or a wrapper around a value: anything goes.
        ty.scalar = Some("any");
    }
    fields(&text, &mut ty);
    json_names(&text, &mut ty);
    strategies(&text, &mut ty);
    ty.resource = resource(&text);
    ty.list_kind = constant(&text, "LIST_KIND");
    Some(ty)
}

/// Types that are one JSON value.
fn scalar(name: &str) -> Option<&'static str> {
    Some(match name {
        "Time" => "time",
        "MicroTime" => "microtime",
        "Quantity" => "quantity",
        "IntOrString" => "intorstring",
        "FieldsV1" | "RawExtension" | "JSON" | "Patch" => "any",
        "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => "any",
        _ => return None,
    })
}

fn fields(text: &str, ty: &mut Type) {
    let (mut doc, mut inside) = (Vec::new(), false);
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(remark) = bare.strip_prefix("///") {
            doc.push(remark.strip_prefix(' ').unwrap_or(remark));
        } else if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            ty.doc = doc.join("\n");
            doc.clear();
            inside = line.starts_with("pub struct ") && line.ends_with('{');
            if !inside {
                return;
            }
        } else if inside && line.starts_with("    pub ") {
            let (name, kind) = bare[4..].split_once(": ").expect("a field has a type");
            let rust = name.trim_start_matches("r#").to_owned();
            let kind = kind.trim_end_matches(',').to_owned();
            ty.fields.push(Field { rust, ty: kind, doc: doc.join("\n"), ..Field::default() });
            doc.clear();
        } else if inside && line == "}" {
            return;
        } else if !bare.starts_with("#[") {
            doc.clear();
        }
    }
}

/// The names in JSON: the deserializer maps them to the fields.
fn json_names(text: &str, ty: &mut Type) {
    let mut names = HashMap::new();
    for line in text.lines() {
        if let Some((name, key)) = line.trim().split_once(" => Field::Key_") {
            names.insert(key.trim_end_matches(',').to_owned(), name.trim_matches('"').to_owned());
        }
    }
    for field in &mut ty.fields {
        field.json = names.get(&field.rust).cloned().unwrap_or_default();
    }
    // A type without its own deserializer passes its fields on by their names.
    ty.fields.retain(|f| !f.json.is_empty());
}

fn strategies(text: &str, ty: &mut Type) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(call) = line.strip_prefix("crate::merge_strategies::") else { continue };
        let (kind, _) = call.split_once('(').expect("a strategy is called");
        let body = lines[index..].iter().take(5).copied().collect::<String>();
        let name = body.split("&mut self.").nth(1).and_then(|r| r.split(',').next()).unwrap_or_default();
        let Some(field) = ty.fields.iter_mut().find(|f| f.rust == name.trim_start_matches("r#")) else { continue };
        kind.rsplit("::").next().unwrap_or_default().clone_into(&mut field.merge);
        if kind == "list::map" {
            let keys = body.split("lhs.").skip(1).filter_map(|p| p.split(" ==").next());
            field.keys = keys.map(|k| k.trim_start_matches("r#").to_owned()).collect();
        }
    }
}

fn constant(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|l| l.contains(&format!("const {name}: ")))?;
    Some(line.split('"').nth(1)?.to_owned())
}

fn resource(text: &str) -> Option<(String, String, String, String, bool)> {
    let get = |name| constant(text, name);
    let namespaced = text.contains("type Scope = crate::NamespaceResourceScope");
    Some((get("GROUP")?, get("VERSION")?, get("KIND")?, get("URL_PATH_SEGMENT")?, namespaced))
}

/// A Rust type as a shape: a scalar's name, a reference `@path`, `[shape]` for a list, `{shape}` for a map; and whether
/// the field is required.
fn shape(ty: &str) -> (String, bool) {
    if let Some(inner) = generic(ty, "Option") {
        return (shape(inner).0, false);
    }
    (bare_shape(ty), true)
}

fn generic<'a>(ty: &'a str, outer: &str) -> Option<&'a str> {
    ty.strip_prefix(outer)?.strip_prefix('<')?.strip_suffix('>')
}

fn bare_shape(ty: &str) -> String {
    if let Some(inner) = generic(ty, "std::vec::Vec") {
        return format!("[{}]", bare_shape(inner));
    }
    if let Some(inner) = generic(ty, "std::boxed::Box") {
        return bare_shape(inner);
    }
    if let Some(inner) = generic(ty, "std::collections::BTreeMap") {
        let (_, value) = inner.split_once(", ").expect("a map has a key and a value");
        return format!("{{{}}}", bare_shape(value));
    }
    match ty {
        "std::string::String" => "string".to_owned(),
        "i32" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        "f64" => "double".to_owned(),
        "bool" => "bool".to_owned(),
        "crate::ByteString" => "bytes".to_owned(),
        other => match other.strip_prefix("crate::") {
            Some(path) => format!("@{path}"),
            None => "any".to_owned(),
        },
    }
}
