//! What `--admission-control-config-file` says: an AdmissionConfiguration, and in it the configurations of plug-ins.
//!
//! Invariant: a file is read once, at the start; what is in it and not understood is an error, never ignored.

use ironclad_json::Value;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Versions of AdmissionConfiguration.
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"];
/// Plug-ins whose configuration was once the whole file, with the field by which such a file is known.
const LEGACY: [(&str, &str); 2] =
    [("ImagePolicyWebhook", "imagePolicy"), ("PodNodeSelector", "podNodeSelectorPluginConfig")];

/// The configurations of plug-ins by their names.
#[derive(Debug, Default)]
pub(crate) struct Configurations {
    plugins: Vec<(String, Value)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    plugins: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    configuration: Option<Value>,
}

impl Configurations {
    /// Reads the file, and the files that it names.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("unable to read admission control configuration from {shown:?} [{e}]"))?;
        let value: Value = ironclad_api::yaml::read(&text)?;
        if value["kind"].is_null() && value["apiVersion"].is_null() && LEGACY.iter().any(|(_, f)| !value[*f].is_null())
        {
            let plugins = LEGACY.iter().map(|(name, _)| ((*name).to_owned(), value.clone())).collect();
            return Ok(Self { plugins });
        }
        let file: File = typed(&value, &VERSIONS, "AdmissionConfiguration")?;
        let base = path.parent().unwrap_or(Path::new("."));
        let plugins = file.plugins.into_iter().map(|entry| entry.read(base)).collect::<Result<_, _>>()?;
        Ok(Self { plugins })
    }

    /// The configuration of a plug-in; the first, where there are several.
    pub(crate) fn of(&self, plugin: &str) -> Option<&Value> {
        self.plugins.iter().find(|(name, _)| name == plugin).map(|(_, value)| value).filter(|v| !v.is_null())
    }
}

impl Entry {
    fn read(self, base: &Path) -> Result<(String, Value), String> {
        let Self { name, path, configuration } = self;
        if let Some(value) = configuration.filter(|v| !v.is_null()) {
            return Ok((name, value));
        }
        if path.is_empty() {
            return Ok((name, Value::Null));
        }
        let path: PathBuf = base.join(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("couldn't open admission plugin configuration {}: {e}", path.display()))?;
        ironclad_api::yaml::read(&text).map(|value| (name, value))
    }
}

/// A configuration as its type, if it is of this kind in one of these versions and has no other fields.
pub(crate) fn typed<T: DeserializeOwned>(value: &Value, versions: &[&str], kind: &str) -> Result<T, String> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let shown = || value.to_string();
    match (text("apiVersion"), text("kind")) {
        (_, "") => return Err(format!("Object 'Kind' is missing in '{}'", shown())),
        ("", _) => return Err(format!("Object 'apiVersion' is missing in '{}'", shown())),
        (version, name) if name != kind || !versions.contains(&version) => {
            return Err(format!("no kind {name:?} is registered for version {version:?}"));
        }
        _ => {}
    }
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    ironclad_json::from_value(value).map_err(|e| format!("strict decoding error: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Configurations, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other.yaml"), "kind: X\nfield: 1\n").unwrap();
        std::fs::write(dir.path().join("config.yaml"), text).unwrap();
        Configurations::read(&dir.path().join("config.yaml"))
    }

    #[test]
    fn configurations_stand_in_the_file_or_beside_it() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
                    - name: A\n  configuration: {kind: Some}\n- name: B\n  path: other.yaml\n- name: C\n";
        let read = read(text).unwrap();
        assert_eq!(read.of("A").unwrap()["kind"], "Some");
        assert_eq!(read.of("B").unwrap()["field"], 1);
        assert!(read.of("C").is_none() && read.of("D").is_none());
    }

    #[test]
    fn a_file_of_another_kind_or_with_unknown_fields_is_refused() {
        let table = [
            ("kind: Pod\napiVersion: v1\n", "no kind \"Pod\" is registered for version \"v1\""),
            ("kind: AdmissionConfiguration\napiVersion: v9\n", "no kind \"AdmissionConfiguration\" is registered"),
            ("plugins: []\n", "Object 'Kind' is missing in"),
            (
                "kind: AdmissionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nplugin: []\n",
                "strict decoding error: unknown field `plugin`",
            ),
        ];
        for (text, want) in table {
            let why = read(text).unwrap_err();
            assert!(why.starts_with(want), "{why}");
        }
    }

    #[test]
    fn files_of_old_are_the_configuration_of_the_plugins_that_know_them() {
        let read = read("podNodeSelectorPluginConfig:\n  default: a=b\n").unwrap();
        assert_eq!(read.of("PodNodeSelector").unwrap()["podNodeSelectorPluginConfig"]["default"], "a=b");
    }
}
