//! PodNodeSelector: pods go only to the nodes of their namespace.

use super::is;
use super::quota::Ledger;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::entry;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

pub(super) struct NodeSelectors {
    source: Arc<dyn Source>,
    ledger: Arc<dyn Ledger>,
    /// By namespace; the selector of those without their own stands under a name that no namespace has.
    cluster: BTreeMap<String, Labels>,
}

impl NodeSelectors {
    /// From the plug-in's configuration, of which unlike stock not even a part may be wrong.
    pub(super) fn new(
        source: Arc<dyn Source>,
        ledger: Arc<dyn Ledger>,
        config: Option<&Value>,
    ) -> std::result::Result<Self, String> {
        let given = config.and_then(|c| c["podNodeSelectorPluginConfig"].as_object());
        let read = |(name, text): (&ironclad_json::Text, &Value)| {
            let text = text.as_str().ok_or_else(|| format!("podNodeSelectorPluginConfig.{name} must be a text"))?;
            labels(text).map(|labels| (name.to_string(), labels))
        };
        let cluster = given.into_iter().flatten().map(read).collect::<std::result::Result<_, _>>()?;
        Ok(Self { source, ledger, cluster })
    }

    /// The selector that a namespace gives to its pods.
    async fn of_namespace(&self, name: &str) -> Result<Labels> {
        let namespaces = GroupResource::new("", "namespaces");
        let found = match self.source.get(&namespaces, "", name) {
            Some(found) => Some(found),
            None => self.ledger.find(&namespaces, "", name).await?.map(Arc::new),
        };
        let found = found.ok_or_else(|| ApiError::internal(format!("namespace {name} does not exist")))?;
        match found["metadata"]["annotations"][ANNOTATION].as_str() {
            Some(text) => labels(text).map_err(super::bare),
            None => Ok(self.cluster.get(DEFAULT).cloned().unwrap_or_default()),
        }
    }
}

/// `a=b, c=d` as labels.
fn labels(text: &str) -> std::result::Result<Labels, String> {
    let pairs = text.split(',').filter(|_| !text.is_empty());
    let one = |pair: &str| {
        let parts: Vec<&str> = pair.split('=').collect();
        match parts.as_slice() {
            [key, value] => Ok((key.trim().to_owned(), value.trim().to_owned())),
            parts => Err(format!("invalid selector: [{}]", parts.join(" "))),
        }
    };
    pairs.map(one).collect()
}

fn of_pod(pod: &Value) -> Labels {
    let pairs = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    pairs.map(|(k, v)| (k.to_string(), v.as_str().unwrap_or_default().to_owned())).collect()
}

impl Plugin for NodeSelectors {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for NodeSelectors {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !is(request, "", "pods") {
            return Ok(());
        }
        let wanted = self.of_namespace(&request.namespace).await?;
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        let own = of_pod(pod);
        let conflict = wanted.iter().any(|(k, v)| own.get(k).is_some_and(|o| o != v));
        if !conflict && !wanted.is_empty() {
            let selector = entry(pod, "spec").entry("nodeSelector").or_insert(Value::Null);
            let all: Labels = wanted.into_iter().chain(own).collect();
            *selector = all.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
        }
        self.validate(request).await
    }
}

#[async_trait]
impl Validate for NodeSelectors {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let Some(pod) = request.object.as_ref().filter(|_| is(request, "", "pods")) else { return Ok(()) };
        let refuse = |why: &str| Err(ApiError::forbidden(&request.resource.group_resource(), object::name(pod), why));
        let (wanted, own) = (self.of_namespace(&request.namespace).await?, of_pod(pod));
        if wanted.iter().any(|(k, v)| own.get(k).is_some_and(|o| o != v)) {
            return refuse("pod node label selector conflicts with its namespace node label selector");
        }
        let allowed = self.cluster.get(&request.namespace).filter(|a| !a.is_empty());
        if allowed.is_some_and(|allowed| own.iter().any(|(k, v)| allowed.get(k) != Some(v))) {
            return refuse("pod node label selector labels conflict with its namespace whitelist");
        }
        Ok(())
    }
}
