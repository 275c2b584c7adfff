//! What the labels of a namespace ask for.

use super::PREFIX;
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::Value;
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

/// What a namespace asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

impl Policy {
    /// From a namespace's labels, with what is wrong with them. What cannot be read is enforced as the strictest level,
    /// and neither warned about nor noted.
    pub(super) fn read(namespace: &Value) -> (Self, ErrorList) {
        let mut errors = ErrorList::new();
        let label = |key: &str| namespace["metadata"]["labels"][format!("{PREFIX}{key}")].as_str();
        let mut standard = |mode: &str, otherwise: Level| {
            let level = label(mode).map(|text| level(text, mode, &mut errors));
            let version = label(&format!("{mode}-version")).map(|text| version(text, mode, &mut errors));
            let read = Standard {
                level: level.map_or(Level::Privileged, |l| l.unwrap_or(otherwise)),
                version: version.clone().unwrap_or_else(|| "latest".to_owned()),
            };
            (read, level.is_some_and(|l| l.is_some()), level.is_some(), version.is_some())
        };
        let (enforce, enforced, ..) = standard("enforce", Level::Restricted);
        let (audit, ..) = standard("audit", Level::Privileged);
        let (mut warn, _, has_level, has_version) = standard("warn", Level::Privileged);
        // Who is refused is warned as well, where nothing else is said.
        if enforced && !has_level {
            warn.level = enforce.level;
        }
        if enforced && !has_version {
            warn.version.clone_from(&enforce.version);
        }
        (Self { enforce, audit, warn }, errors)
    }
}

fn at(label: &str) -> Path {
    Path::new("metadata").child("labels").key(&format!("{PREFIX}{label}"))
}

fn level(text: &str, mode: &str, errors: &mut ErrorList) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => {
            let detail = "must be one of privileged, baseline, restricted";
            errors.push(FieldError::invalid_str(&at(mode), text, detail));
            None
        }
    }
}

fn version(text: &str, mode: &str, errors: &mut ErrorList) -> String {
    let minor = text.strip_prefix("v1.");
    let good = |n: &str| n == "0" || (!n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit()));
    if text != "latest" && !minor.is_some_and(good) {
        let detail = "must be \"latest\" or \"v1.x\"";
        errors.push(FieldError::invalid_str(&at(&format!("{mode}-version")), text, detail));
        return "latest".to_owned();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(labels: &Value) -> (String, String, String, Vec<String>) {
        let namespace = json!({"metadata": {"labels": labels}});
        let (policy, errors) = Policy::read(&namespace);
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
