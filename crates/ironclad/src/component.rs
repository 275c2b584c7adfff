//! The configuration files of the parts, as stock's have them: read strictly by their shapes (`shapes.txt`), checked, and
//! honoured or refused.
//!
//! Invariant: what stands in a file is used, is what happens here anyway, or is refused by its path; never passed over.

mod kubelet;
mod proxy;
mod scheduler;

use ironclad_api::shape::Shapes;
use ironclad_json::Value;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

pub(crate) use kubelet::{Kubelet, read as kubelet};
pub(crate) use proxy::read as proxy;
pub(crate) use scheduler::{Scheduler, read as scheduler};

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(include_str!("component/shapes.txt")));

/// A file of one kind: its value with the fields that its shape does not know, each as stock names it.
struct File {
    value: Value,
    unknown: Vec<String>,
}

impl File {
    /// Reads a file of `kind` in `version`; `scheme` is what stock calls the place where its kinds are registered.
    fn read(text: &str, kind: &str, version: &str, scheme: &str) -> Result<Self, String> {
        let value: Value = ironclad_api::yaml::read(text)?;
        let of = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        match (of("kind"), of("apiVersion")) {
            (found, _) if found.is_empty() => return Err(missing("Kind", &value)),
            (_, found) if found.is_empty() => return Err(missing("APIVersion", &value)),
            (k, v) if k != kind || v != version => {
                return Err(format!("no kind {k:?} is registered for version {v:?} in scheme {scheme:?}"));
            }
            _ => {}
        }
        let package = version.rsplit('/').next().unwrap_or_default();
        let unknown = SHAPES.check(kind, package, &value)?;
        Ok(Self { value, unknown })
    }

    /// The error that unknown fields are.
    fn strict(&self) -> Option<String> {
        let fields: Vec<String> = self.unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
        (!fields.is_empty()).then(|| format!("strict decoding error: {}", fields.join(", ")))
    }
}

fn missing(what: &str, value: &Value) -> String {
    format!("Object '{what}' is missing in '{value}'")
}

/// What a file holds; the error is worded as Go words it.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
        _ => format!("open {}: {e}", path.display()),
    })
}

/// What is set at a path such as `leaderElection.leaseDuration`.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path.split('.').try_fold(value, |value, name| value.get(name))?;
    (!found.is_null()).then_some(found)
}

fn string(value: &Value, path: &str) -> Option<String> {
    at(value, path)?.as_str().filter(|t| !t.is_empty()).map(str::to_owned)
}

fn flag(value: &Value, path: &str) -> Option<bool> {
    at(value, path)?.as_bool()
}

fn number(value: &Value, path: &str) -> Option<i64> {
    at(value, path)?.as_i64()
}

/// Checked by the shape already.
fn duration(value: &Value, path: &str) -> Option<Duration> {
    string(value, path).and_then(|text| as_duration(&text).ok())
}

/// What can be said in a file besides what is used.
struct Others {
    /// Fields that are used.
    used: &'static [&'static str],
    /// Fields that mean nothing here: what they would change is not there, or is not chosen.
    idle: &'static [&'static str],
    /// Fields that may say what happens here anyway.
    fixed: &'static [(&'static str, &'static str)],
}

impl Others {
    /// The fields that are set to what does not happen here; those that nobody knows are another matter.
    fn refused(&self, file: &File) -> Vec<String> {
        let mut out = Vec::new();
        self.walk(&file.value, "", &mut out);
        out.retain(|why| {
            !file
                .unknown
                .iter()
                .any(|path| why.starts_with(&format!("{path}:")) || why.starts_with(&format!("{path}.")))
        });
        out
    }

    fn walk(&self, value: &Value, path: &str, out: &mut Vec<String>) {
        let covered = |list: &[&str]| list.iter().any(|p| path == *p || path.starts_with(&format!("{p}.")));
        if covered(self.used) || covered(self.idle) || matches!(path, "kind" | "apiVersion") || empty(value) {
            return;
        }
        if let Some((_, allowed)) = self.fixed.iter().find(|(p, _)| *p == path) {
            if allowed.split('|').all(|one| !same(value, one)) {
                out.push(format!(
                    "{path}: Unsupported value: {value}: supported values: {}",
                    allowed.replace('|', ", ")
                ));
            }
            return;
        }
        match value.as_object() {
            Some(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                    self.walk(value, &path, out);
                }
            }
            None => out.push(format!("{path}: Forbidden: this part has no such setting; leave it out")),
        }
    }
}

/// What is less than none counts as none.
fn as_duration(text: &str) -> Result<Duration, String> {
    ironclad_api::time::duration(text).map(|n| Duration::from_nanos(u64::try_from(n).unwrap_or(0)))
}

/// What stock writes for a field that is not set.
fn empty(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => text.is_empty() || as_duration(text).is_ok_and(|d| d.is_zero()),
        None => {
            value.is_null()
                || value.as_i64() == Some(0)
                || value.as_array().is_some_and(|a| a.is_empty())
                || value.as_object().is_some_and(|o| o.is_empty())
        }
    }
}

fn same(value: &Value, text: &str) -> bool {
    match value.as_str() {
        Some(found) => found == text || matches!((as_duration(found), as_duration(text)), (Ok(a), Ok(b)) if a == b),
        None => serde_json::to_string(value).is_ok_and(|found| found == text),
    }
}
