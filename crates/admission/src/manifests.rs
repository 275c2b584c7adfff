//! Webhooks and policies from directories of manifests (`staticManifestsDir`, KEP-5793): in force before anybody can ask
//! for anything, for configuration of admission itself too, and beyond the reach of the API.
//!
//! Invariants: a directory is taken as a whole or not at all; what is wrong with it at the start ends the start, what is
//! wrong with it later leaves what was.

use crate::world::World;
use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result as Answer;
use ironclad_api::{ApiError, FieldError, GroupVersionKind, Path as Field, object};
use ironclad_json::Value;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";
/// How names end that only manifests have.
const SUFFIX: &str = ".static.k8s.io";

/// Reads a directory anew; the hash of what it holds, if that has changed.
pub type Act = Box<dyn FnMut() -> Result<Option<String>, String> + Send>;

/// A directory that is followed.
pub struct Reload {
    /// Whose it is.
    pub plugin: &'static str,
    /// Where it is.
    pub dir: PathBuf,
    /// The hash of what was read at the start.
    pub hash: String,
    /// What is done when something in it changes.
    pub act: Act,
}

/// Whether directories of manifests are read, and those that are.
#[derive(Clone, Default)]
pub struct Manifests {
    allowed: bool,
    reloads: Arc<Mutex<Vec<Reload>>>,
}

impl std::fmt::Debug for Manifests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manifests({})", self.allowed)
    }
}

impl Manifests {
    /// `allowed` is the gate `ManifestBasedAdmissionControlConfig`.
    pub fn new(allowed: bool) -> Self {
        Self { allowed, reloads: Arc::default() }
    }

    /// The directories that plug-ins were given, for who can tell when they change.
    pub fn followed(&self) -> Vec<Reload> {
        std::mem::take(&mut self.reloads.lock())
    }

    /// What is wrong with a directory before anything in it is read.
    pub(crate) fn check(&self, dir: &str) -> Result<(), String> {
        let invalid = |why: String| Err(format!("staticManifestsDir: Invalid value: {dir:?}: {why}"));
        if dir.is_empty() {
            return Ok(());
        }
        if !self.allowed {
            return Err("staticManifestsDir: Forbidden: staticManifestsDir requires the ManifestBasedAdmissionControlConfig feature gate to be enabled".to_owned());
        }
        if !Path::new(dir).is_absolute() {
            return invalid("must be an absolute file path".to_owned());
        }
        match std::fs::metadata(dir) {
            Err(error) => invalid(format!("unable to read: stat {dir}: {}", told(&error))),
            Ok(found) if !found.is_dir() => invalid("must be a directory".to_owned()),
            Ok(_) => Ok(()),
        }
    }

    /// Gives `put` the objects of these kinds in a directory, now and whenever they change: a list for each kind.
    pub(crate) fn follow(
        &self,
        plugin: &'static str,
        dir: &str,
        kinds: &'static [&'static str],
        world: Arc<dyn World>,
        put: impl Fn(Vec<Vec<Value>>) + Send + 'static,
    ) -> Result<(), String> {
        if dir.is_empty() {
            return Ok(());
        }
        let noun = if plugin.ends_with("Webhook") { "webhook" } else { "policy" };
        let read = move |dir: &Path| load(dir, kinds, &*world);
        let first = read(Path::new(dir));
        let (objects, mut last) =
            first.map_err(|why| format!("failed to load static {noun} manifests from {dir:?}: {why}"))?;
        put(objects);
        let (dir, hash) = (PathBuf::from(dir), last.clone());
        let within = dir.clone();
        let act = Box::new(move || {
            let (objects, hash) = read(&within)?;
            if hash == last {
                return Ok(None);
            }
            put(objects);
            last.clone_from(&hash);
            Ok(Some(hash))
        });
        self.reloads.lock().push(Reload { plugin, dir, hash, act });
        Ok(())
    }
}

fn told(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A document and the file in which it stands.
type Document = (PathBuf, String);

/// The documents of a directory in the order of the files' names, and a hash of the files.
fn documents(dir: &Path) -> Result<(Vec<Document>, String), String> {
    let failed =
        |e: std::io::Error| format!("failed to read manifest directory {:?}: {}", dir.display().to_string(), told(&e));
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    let (mut all, mut hash, mut any) = (Vec::new(), Sha256::new(), false);
    for file in files {
        let extension = file.extension().map(|e| e.to_string_lossy().to_lowercase());
        if file.is_dir() || !matches!(extension.as_deref(), Some("yaml" | "yml" | "json")) {
            continue;
        }
        let text = std::fs::read_to_string(&file)
            .map_err(|e| format!("failed to read file {:?}: {}", file.display().to_string(), told(&e)))?;
        if text.is_empty() {
            continue;
        }
        hash.update(text.as_bytes());
        hash.update([0]);
        any = true;
        let mut document = String::new();
        for line in text.lines().chain(["---"]) {
            if line.trim_end() == "---" || line.starts_with("--- ") {
                if !document.trim().is_empty() {
                    all.push((file.clone(), std::mem::take(&mut document)));
                }
                document.clear();
            } else {
                document.push_str(line);
                document.push('\n');
            }
        }
    }
    let hash = if any { format!("sha256:{}", hex::encode(hash.finalize())) } else { String::new() };
    Ok((all, hash))
}

/// The objects of a directory by their kinds, each list in the order of the names, and the directory's hash.
fn load(dir: &Path, kinds: &[&str], world: &dyn World) -> Result<(Vec<Vec<Value>>, String), String> {
    let (documents, hash) = documents(dir)?;
    let mut all: Vec<Vec<Value>> = vec![Vec::new(); kinds.len()];
    let mut seen = HashMap::new();
    for (file, text) in documents {
        let failed = |why: String| format!("error loading {}: {why}", file.display());
        let value: Value = ironclad_api::yaml::read(&text).map_err(failed)?;
        accept(value, (&file, kinds, world), &mut seen, &mut all).map_err(failed)?;
    }
    for list in &mut all {
        list.sort_by(|a, b| object::name(a).cmp(object::name(b)));
    }
    if let [policies, bindings] = all.as_slice() {
        for binding in bindings {
            let (name, of) = (object::name(binding), object::text(binding, &["spec", "policyName"]));
            if !policies.iter().any(|p| object::name(p) == of) {
                return Err(format!(
                    "binding {name:?} references policy {of:?} which does not exist in the manifest directory"
                ));
            }
        }
    }
    Ok((all, hash))
}

/// Takes in a document: an object, or a list of them.
fn accept(
    value: Value,
    (file, kinds, world): (&Path, &[&str], &dyn World),
    seen: &mut HashMap<(usize, String), PathBuf>,
    all: &mut [Vec<Value>],
) -> Result<(), String> {
    let kind = object::text(&value, &["kind"]).to_owned();
    if kind == "List" || kinds.iter().any(|k| kind.strip_suffix("List") == Some(k)) {
        let of = kind.trim_end_matches("List").to_owned();
        for item in value["items"].as_array().into_iter().flatten() {
            let mut item = item.clone();
            // Items of a typed list need not say what they are.
            if !of.is_empty() && item["kind"].is_null() {
                item["kind"] = Value::from(of.as_str());
                item["apiVersion"] = value["apiVersion"].clone();
            }
            accept(item, (file, kinds, world), seen, all)?;
        }
        return Ok(());
    }
    let Some(sort) = kinds.iter().position(|k| *k == kind) else {
        return Err(format!("unsupported resource type {kind:?}"));
    };
    let gvk = GroupVersionKind::parse(object::text(&value, &["apiVersion"]), &kind);
    if gvk.group != GROUP {
        return Err(format!("no kind {kind:?} is registered for version {:?}", object::text(&value, &["apiVersion"])));
    }
    let value = world.valid(&gvk, value)?;
    let (name, shown) = (object::name(&value).to_owned(), file.display().to_string());
    if name.is_empty() {
        return Err(format!("resource in file {shown:?} must have a name"));
    }
    if !name.ends_with(SUFFIX) {
        return Err(format!("{name:?} in file {shown:?} must have a name ending with {SUFFIX:?}"));
    }
    if let Some(before) = seen.insert((sort, name.clone()), file.to_owned()) {
        let before = before.display().to_string();
        return Err(format!("duplicate name {name:?} found in file {shown:?} (previously seen in {before:?})"));
    }
    fits(&kind, &name, &shown, &value)?;
    all[sort].push(value);
    Ok(())
}

/// What holds for an object that no API server has to find anything for.
fn fits(kind: &str, name: &str, file: &str, value: &Value) -> Result<(), String> {
    for hook in value["webhooks"].as_array().into_iter().flatten() {
        let (hook, client) = (object::text(hook, &["name"]), &hook["clientConfig"]);
        let at = format!("webhook {hook:?} in {name:?} (file {file:?})");
        if !client["service"].is_null() {
            return Err(format!(
                "{at}: clientConfig.service is not supported for static manifests; use clientConfig.url instead"
            ));
        }
        if object::text(client, &["url"]).is_empty() {
            return Err(format!("{at}: clientConfig.url is required for static manifests"));
        }
    }
    if !value["spec"]["paramKind"].is_null() {
        return Err(format!("{kind} {name:?}: spec.paramKind is not supported for static manifests"));
    }
    if kind.ends_with("Binding") {
        let policy = object::text(value, &["spec", "policyName"]);
        if policy.is_empty() {
            return Err(format!("binding {name:?} must reference a policy (spec.policyName)"));
        }
        if !policy.ends_with(SUFFIX) {
            return Err(format!("binding {name:?}: spec.policyName {policy:?} must end with {SUFFIX:?}"));
        }
        if !value["spec"]["paramRef"].is_null() {
            return Err(format!("binding {name:?}: spec.paramRef is not supported for static manifests"));
        }
    }
    Ok(())
}

/// Keeps the names of manifests out of the API: refused behind the gate, else warned of.
pub(crate) struct Reserved(pub(crate) Manifests);

impl Plugin for Reserved {
    fn name(&self) -> &'static str {
        "ReservedNames"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Reserved {
    async fn validate(&self, request: &mut Request) -> Answer<()> {
        let name = request.shown().to_owned();
        if request.resource.group != GROUP || !request.subresource.is_empty() || !name.ends_with(SUFFIX) {
            return Ok(());
        }
        let why = format!(
            "names ending with {SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
        );
        if self.0.allowed && request.operation == Operation::Create {
            let error = FieldError::invalid_str(&Field::new("metadata").child("name"), &name, why);
            return Err(ApiError::invalid(GROUP, &request.kind.kind, &name, &[error]));
        }
        request.warnings.push(format!("metadata.name: {why}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Nowhere;

    const HOOKS: &[&str] = &["ValidatingWebhookConfiguration"];
    const POLICIES: &[&str] = &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];

    fn read(kinds: &[&str], text: &str) -> Result<Vec<Vec<String>>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "nothing").unwrap();
        let (all, _) = load(dir.path(), kinds, &Nowhere).map_err(|e| e.replace(dir.path().to_str().unwrap(), "D"))?;
        Ok(all.iter().map(|list| list.iter().map(|o| object::name(o).to_owned()).collect()).collect())
    }

    fn hook(name: &str, client: &str) -> String {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: {name}}}\nwebhooks: [{{name: w, clientConfig: {{{client}}}}}]\n"
        )
    }

    fn binding(policy: &str, more: &str) -> String {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: b.static.k8s.io}}\nspec: {{policyName: {policy}{more}}}\n"
        )
    }

    #[test]
    fn documents_and_lists_are_taken_in_the_order_of_their_names() {
        let text =
            format!("{}---\n{}", hook("b.static.k8s.io", "url: https://a"), hook("a.static.k8s.io", "url: https://a"));
        assert_eq!(read(HOOKS, &text).unwrap(), [["a.static.k8s.io", "b.static.k8s.io"]]);
        let list = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfigurationList\nitems: [{metadata: {name: x.static.k8s.io}}]";
        assert_eq!(read(HOOKS, list).unwrap(), [["x.static.k8s.io"]]);
        assert_eq!(read(HOOKS, "").unwrap(), [Vec::<String>::new()]);
    }

    #[test]
    fn what_cannot_be_in_force_refuses_the_whole_directory() {
        let url = "url: https://a";
        let table = [
            (
                HOOKS,
                hook("a", url),
                r#"error loading D/a.yaml: "a" in file "D/a.yaml" must have a name ending with ".static.k8s.io""#,
            ),
            (
                HOOKS,
                format!("{0}---\n{0}", hook("a.static.k8s.io", url)),
                r#"error loading D/a.yaml: duplicate name "a.static.k8s.io" found in file "D/a.yaml" (previously seen in "D/a.yaml")"#,
            ),
            (
                HOOKS,
                hook("a.static.k8s.io", "service: {}"),
                r#"error loading D/a.yaml: webhook "w" in "a.static.k8s.io" (file "D/a.yaml"): clientConfig.service is not supported for static manifests; use clientConfig.url instead"#,
            ),
            (
                HOOKS,
                hook("a.static.k8s.io", ""),
                r#"error loading D/a.yaml: webhook "w" in "a.static.k8s.io" (file "D/a.yaml"): clientConfig.url is required for static manifests"#,
            ),
            (
                HOOKS,
                "kind: Pod\napiVersion: v1".to_owned(),
                r#"error loading D/a.yaml: unsupported resource type "Pod""#,
            ),
            (
                POLICIES,
                binding("p.static.k8s.io", ""),
                r#"binding "b.static.k8s.io" references policy "p.static.k8s.io" which does not exist in the manifest directory"#,
            ),
            (
                POLICIES,
                binding("p", ""),
                r#"error loading D/a.yaml: binding "b.static.k8s.io": spec.policyName "p" must end with ".static.k8s.io""#,
            ),
            (
                POLICIES,
                binding("p.static.k8s.io", ", paramRef: {name: x}"),
                r#"error loading D/a.yaml: binding "b.static.k8s.io": spec.paramRef is not supported for static manifests"#,
            ),
        ];
        for (kinds, text, why) in table {
            assert_eq!(read(kinds, &text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn a_directory_needs_the_gate_and_must_be_there() {
        let on = Manifests::new(true);
        assert_eq!(Manifests::default().check(""), Ok(()));
        assert!(Manifests::default().check("/tmp").unwrap_err().contains("feature gate to be enabled"));
        assert!(on.check("tmp").unwrap_err().contains("must be an absolute file path"));
        assert_eq!(
            on.check("/no/such"),
            Err(r#"staticManifestsDir: Invalid value: "/no/such": unable to read: stat /no/such: no such file or directory"#.to_owned())
        );
        assert!(on.check("/etc/passwd").unwrap_err().contains("must be a directory"));
    }
}
