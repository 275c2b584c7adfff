//! What the labels of a namespace ask for.

use super::PREFIX;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;
use std::fmt;

/// A level, from the loosest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level as a version of Kubernetes understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    /// `latest` or `v1.N`.
    pub(super) version: String,
}

impl Standard {
    /// The minor version; the greatest for `latest`.
    pub(super) fn minor(&self) -> u32 {
        self.version.strip_prefix("v1.").and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        write!(f, "{level}:{}", self.version)
    }
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Privileged, version: "latest".to_owned() }
    }
}

/// What a namespace asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

impl Policy {
    /// From a namespace's labels, with what is wrong with them; `defaults` say what the labels do not. What cannot be
    /// read is enforced as the strictest level, and neither warned about nor noted.
    pub(super) fn read(namespace: &Value, defaults: &Self) -> (Self, ErrorList) {
        let mut errors = ErrorList::new();
        let label = |key: &str| namespace["metadata"]["labels"][format!("{PREFIX}{key}")].as_str();
        let mut policy = defaults.clone();
        let modes = [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ];
        let mut enforced = false;
        for (mode, standard, otherwise) in modes {
            if let Some(text) = label(mode) {
                let read = level(text);
                enforced |= mode == "enforce" && read.is_some();
                if read.is_none() {
                    errors.push(FieldError::invalid_str(&at(mode), text, LEVELS));
                }
                standard.level = read.unwrap_or(otherwise);
            }
            let mode = format!("{mode}-version");
            if let Some(text) = label(&mode) {
                if !is_version(text) {
                    errors.push(FieldError::invalid_str(&at(&mode), text, VERSIONS));
                }
                standard.version = if is_version(text) { text.to_owned() } else { "latest".to_owned() };
            }
        }
        // Who is refused is warned as well, where nothing else is said.
        if enforced && label("warn").is_none() && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if label("warn-version").is_none() {
                policy.warn.version.clone_from(&policy.enforce.version);
            }
        }
        (policy, errors)
    }

    /// What the labels of a namespace ask for, as far as it is more than nothing: `enforce=baseline:latest, ...`.
    pub(super) fn asked(&self, namespace: &Value) -> String {
        let label = |key: &str| namespace["metadata"]["labels"][format!("{PREFIX}{key}")].is_string();
        let modes = [("enforce", &self.enforce), ("audit", &self.audit), ("warn", &self.warn)];
        let said = |mode: &str| label(mode) || label(&format!("{mode}-version"));
        let more = modes.into_iter().filter(|(mode, s)| s.level != Level::Privileged && said(mode));
        more.map(|(mode, standard)| format!("{mode}={standard}")).collect::<Vec<_>>().join(", ")
    }

    /// Whether nothing is asked for at all.
    pub(super) fn is_privileged(&self) -> bool {
        [&self.enforce, &self.audit, &self.warn].iter().all(|s| s.level == Level::Privileged)
    }
}

const LEVELS: &str = "must be one of privileged, baseline, restricted";
const VERSIONS: &str = "must be \"latest\" or \"v1.x\"";

fn at(label: &str) -> Path {
    Path::new("metadata").child("labels").key(&format!("{PREFIX}{label}"))
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn is_version(text: &str) -> bool {
    let good = |n: &str| n == "0" || (!n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit()));
    text == "latest" || text.strip_prefix("v1.").is_some_and(good)
}

/// A level and a version of a configuration, with what is wrong with them.
pub(super) fn standard(mode: &str, texts: (&str, &str), errors: &mut ErrorList) -> Standard {
    let defaults = Path::new("defaults");
    let or = |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    let (name, version) = (or(texts.0, "privileged"), or(texts.1, "latest"));
    let read = level(&name);
    if read.is_none() {
        errors.push(FieldError::invalid_str(&defaults.child(mode), &name, LEVELS));
    }
    if !is_version(&version) {
        errors.push(FieldError::invalid_str(&defaults.child(&format!("{mode}-version")), &version, VERSIONS));
    }
    Standard { level: read.unwrap_or(Level::Restricted), version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn read(labels: &Value) -> (String, String, String, Vec<String>) {
        let namespace = json!({"metadata": {"labels": labels}});
        let (policy, errors) = Policy::read(&namespace, &Policy::default());
        let texts = errors.iter().map(ToString::to_string).collect();
        (policy.enforce.to_string(), policy.audit.to_string(), policy.warn.to_string(), texts)
    }

    #[test]
    fn warnings_follow_what_is_enforced_unless_labels_say_otherwise() {
        let enforce = format!("{PREFIX}enforce");
        let (e, a, w, errors) = read(&json!({&enforce: "baseline", format!("{PREFIX}enforce-version"): "v1.30"}));
        assert_eq!((e.as_str(), a.as_str(), w.as_str()), ("baseline:v1.30", "privileged:latest", "baseline:v1.30"));
        assert!(errors.is_empty());
        let (e, _, w, errors) = read(&json!({&enforce: "nope", format!("{PREFIX}warn-version"): "2"}));
        assert_eq!((e.as_str(), w.as_str()), ("restricted:latest", "privileged:latest"));
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"nope\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"2\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }
}
