//! What a PodSecurityConfiguration says: what namespaces without labels ask for, and who need not care.

use super::labels::{Policy, standard};
use crate::config;
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use serde::Deserialize;

const VERSIONS: [&str; 3] = [
    "pod-security.admission.config.k8s.io/v1",
    "pod-security.admission.config.k8s.io/v1beta1",
    "pod-security.admission.config.k8s.io/v1alpha1",
];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    defaults: Defaults,
    exemptions: Exemptions,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

/// Who is not judged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Exemptions {
    pub(super) usernames: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) runtime_classes: Vec<String>,
}

/// The plug-in's configuration.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) defaults: Policy,
    pub(super) exemptions: Exemptions,
}

impl Settings {
    pub(super) fn read(config: Option<&Value>) -> Result<Self, String> {
        let Some(config) = config else { return Ok(Self::default()) };
        let File { defaults: d, exemptions } = config::typed(config, &VERSIONS, "PodSecurityConfiguration")?;
        let mut errors = ErrorList::new();
        let enforce = standard("enforce", (&d.enforce, &d.enforce_version), &mut errors);
        let warn = standard("warn", (&d.warn, &d.warn_version), &mut errors);
        let audit = standard("audit", (&d.audit, &d.audit_version), &mut errors);
        let lists: [(&str, &[String], fn(&str) -> Vec<String>); 3] = [
            ("namespaces", &exemptions.namespaces, names::dns1123_label),
            ("runtimeClasses", &exemptions.runtime_classes, names::dns1123_subdomain),
            ("usernames", &exemptions.usernames, username),
        ];
        for (field, list, wrong) in lists {
            let at = Path::new("exemptions").child(field);
            for (i, name) in list.iter().enumerate() {
                let why = wrong(name);
                if !why.is_empty() {
                    errors.push(FieldError::invalid_str(&at.index(i), name, why.join(", ")));
                } else if list[..i].contains(name) {
                    errors.push(FieldError::duplicate(&at.index(i), &json!(name)));
                }
            }
        }
        super::super::valid(&errors)?;
        Ok(Self { defaults: Policy { enforce, audit, warn }, exemptions })
    }
}

fn username(name: &str) -> Vec<String> {
    if name.is_empty() { vec!["username must not be empty".to_owned()] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: Value) -> Result<Settings, String> {
        let mut config = json!({"apiVersion": VERSIONS[0], "kind": "PodSecurityConfiguration"});
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        Settings::read(Some(&config))
    }

    #[test]
    fn defaults_and_exemptions_are_read_and_checked() {
        let read_one = read(
            json!({"defaults": {"enforce": "baseline", "warn-version": "v1.30"}, "exemptions": {"namespaces": ["a"]}}),
        );
        let settings = read_one.unwrap();
        assert_eq!(settings.defaults.enforce.to_string(), "baseline:latest");
        assert_eq!(settings.defaults.warn.to_string(), "privileged:v1.30");
        assert_eq!(settings.exemptions.namespaces, ["a"]);
        let why = read(json!({"defaults": {"audit": "x"}, "exemptions": {"usernames": ["", "b", "b"]}})).unwrap_err();
        assert_eq!(
            why,
            "[defaults.audit: Invalid value: \"x\": must be one of privileged, baseline, restricted, \
             exemptions.usernames[0]: Invalid value: \"\": username must not be empty, \
             exemptions.usernames[2]: Duplicate value: \"b\"]"
        );
        assert!(read(json!({"default": {}})).unwrap_err().contains("unknown field"));
    }
}
