//! A webhook as its configuration describes it, compiled once.

use super::call::Caller;
use crate::expressions::Conditions;
use crate::matching::Criteria;
use ironclad_api::object;
use ironclad_api::source::Source;
use ironclad_cel::admission::Scope;
use ironclad_json::Value;
use ironclad_remote::{CredentialsByServer, Egress};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// One webhook.
pub(crate) struct Webhook {
    /// The name of the configuration.
    pub(crate) configuration: String,
    /// The name of the webhook.
    pub(crate) name: String,
    /// What tells it apart from every other: a name can stand twice.
    pub(crate) id: String,
    pub(crate) criteria: Criteria,
    pub(crate) conditions: Conditions,
    pub(crate) caller: Result<Caller, String>,
    /// `failurePolicy: Ignore`.
    pub(crate) ignores_failure: bool,
    /// `reinvocationPolicy: IfNeeded`.
    pub(crate) reinvoked: bool,
    /// Whether a dry run may call it.
    pub(crate) dry_run: bool,
    pub(crate) timeout: Duration,
    /// The newest version of `AdmissionReview` that it reads, of those that are spoken here.
    pub(crate) review: Option<&'static str>,
}

/// Clients by their configuration, kept as long as some webhook uses them.
pub(crate) struct Callers {
    source: Arc<dyn Source>,
    credentials: CredentialsByServer,
    egress: Egress,
    known: HashMap<String, Caller>,
}

impl Callers {
    pub(crate) fn new(source: Arc<dyn Source>, credentials: CredentialsByServer, egress: Egress) -> Self {
        Self { source, credentials, egress, known: HashMap::new() }
    }

    fn of(&mut self, config: &Value) -> Result<Caller, String> {
        /// More clients than any cluster has webhooks; beyond it unused ones are forgotten.
        const MANY: usize = 256;
        let key = config.to_string();
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        if self.known.len() >= MANY {
            self.known.clear();
        }
        let caller = Caller::with(config, self.source.clone(), &self.credentials, &self.egress)?;
        self.known.insert(key, caller.clone());
        Ok(caller)
    }
}

/// The webhooks of a configuration, in their order.
pub(crate) fn read(configuration: &Value, callers: &mut Callers) -> Vec<Arc<Webhook>> {
    let name = object::name(configuration);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut out = Vec::new();
    for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
        let own = object::text(webhook, &["name"]);
        let count = seen.entry(own).and_modify(|n| *n += 1).or_insert(0);
        let scope = Scope { authorizer: true, ..Scope::default() };
        let versions: Vec<&str> =
            webhook["admissionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        out.push(Arc::new(Webhook {
            configuration: name.to_owned(),
            name: own.to_owned(),
            id: format!("{name}/{own}/{count}"),
            criteria: Criteria::of_webhook(webhook),
            conditions: Conditions::read(&webhook["matchConditions"], &scope),
            caller: callers.of(&webhook["clientConfig"]),
            ignores_failure: webhook["failurePolicy"] == "Ignore",
            reinvoked: webhook["reinvocationPolicy"] == "IfNeeded",
            dry_run: matches!(object::text(webhook, &["sideEffects"]), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)),
            review: versions.into_iter().find_map(|v| ["v1", "v1beta1"].into_iter().find(|known| *known == v)),
        }));
    }
    out
}
