//! Which requests a webhook or a policy is about: rules, scope, selectors, equivalent versions.

use crate::world::{Version, World};
use crate::{Operation, Request};
use ironclad_api::error::Result;
use ironclad_api::selector::LabelSelector;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, GroupVersionResource, object};
use ironclad_json::{Map, Value};

/// Configuration of admission itself is never subject to it: nobody could mend a wrong one.
const EXEMPT: [&str; 6] = [
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// Whether a resource is configuration of admission.
fn is_configuration(resource: &GroupVersionResource) -> bool {
    resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&resource.resource.as_str())
}

/// Which webhooks and policies see requests for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// None: nobody could ask who may.
    ByNone,
    /// Those of manifests alone: nobody could mend a wrong one of the API.
    ByManifests,
    ByAll,
}

impl Seen {
    pub(crate) fn of(resource: &GroupVersionResource) -> Self {
        match (resource.is_question(), is_configuration(resource)) {
            (true, _) => Self::ByNone,
            (false, true) => Self::ByManifests,
            (false, false) => Self::ByAll,
        }
    }
}

/// `RuleWithOperations`, with the names that policies can add.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|l| l == "*" || l == wanted)
}

impl Rule {
    fn read(rule: &Value) -> Self {
        Self {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            scope: object::text(rule, &["scope"]).to_owned(),
            names: texts(&rule["resourceNames"]),
        }
    }

    pub(crate) fn read_all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::read).collect()
    }

    /// Whether the rule is about a request, taken as one for `resource`.
    pub(crate) fn matches(&self, request: &Request, resource: &GroupVersionResource) -> bool {
        let namespace = request.resource.group.is_empty() && request.resource.resource == "namespaces";
        let scoped = match self.scope.as_str() {
            "Namespaced" => !namespace && !request.namespace.is_empty(),
            "Cluster" => namespace || request.namespace.is_empty(),
            _ => true,
        };
        let named = |rule: &String| {
            let (name, sub) = rule.split_once('/').unwrap_or((rule, ""));
            (name == "*" || name == resource.resource) && (sub == "*" || sub == request.subresource)
        };
        scoped
            && has(&self.operations, request.operation.as_str())
            && has(&self.groups, &resource.group)
            && has(&self.versions, &resource.version)
            && self.resources.iter().any(named)
            && (self.names.is_empty() || self.names.contains(&request.name))
    }
}

/// Rules, selectors and the policy of equivalence.
#[derive(Clone, Debug)]
pub(crate) struct Criteria {
    rules: Vec<Rule>,
    exclude: Vec<Rule>,
    equivalent: bool,
    namespaces: std::result::Result<LabelSelector, String>,
    objects: std::result::Result<LabelSelector, String>,
}

/// A selector as JSON; one that is missing matches everything.
pub(crate) fn selector(value: &Value) -> std::result::Result<LabelSelector, String> {
    if value.is_null() {
        return Ok(LabelSelector::everything());
    }
    let read = ironclad_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    LabelSelector::from_meta(Some(&read))
}

impl Criteria {
    /// From a webhook.
    pub(crate) fn of_webhook(webhook: &Value) -> Self {
        Self { rules: Rule::read_all(&webhook["rules"]), ..Self::of_policy(webhook) }
    }

    /// From `matchConstraints` or `matchResources`.
    pub(crate) fn of_policy(criteria: &Value) -> Self {
        Self {
            rules: Rule::read_all(&criteria["resourceRules"]),
            exclude: Rule::read_all(&criteria["excludeResourceRules"]),
            equivalent: criteria["matchPolicy"] != "Exact",
            namespaces: selector(&criteria["namespaceSelector"]),
            objects: selector(&criteria["objectSelector"]),
        }
    }

    /// The version of the resource in which the request is to be seen, if it is to be seen.
    pub(crate) fn matches(
        &self,
        request: &Request,
        source: &dyn Source,
        world: &dyn World,
    ) -> Result<Option<(GroupVersionResource, ironclad_api::GroupVersionKind)>> {
        let any = |rules: &[Rule], resource: &GroupVersionResource| rules.iter().any(|r| r.matches(request, resource));
        if any(&self.exclude, &request.resource) {
            return Ok(None);
        }
        let own = (request.resource.clone(), request.kind.clone());
        let mut found = (self.rules.is_empty() || any(&self.rules, &request.resource)).then_some(own);
        if self.equivalent && (found.is_none() || !self.exclude.is_empty()) {
            let others = world.versions(&request.resource);
            let others: Vec<&Version> = others.iter().filter(|v| v.resource != request.resource).collect();
            if others.iter().any(|v| any(&self.exclude, &v.resource)) {
                return Ok(None);
            }
            let equal = others.iter().find(|v| any(&self.rules, &v.resource));
            // What is below an object can have a kind of its own, in whatever version the object is asked for.
            let own_kind = world.of_kind(&request.kind).is_some_and(|v| v.resource == request.resource);
            let kind = |v: &Version| if own_kind { v.kind.clone() } else { request.kind.clone() };
            found = found.or_else(|| equal.map(|v| (v.resource.clone(), kind(v))));
        }
        if found.is_none() || !self.selects_object(request)? || !self.selects_namespace(request, source)? {
            return Ok(None);
        }
        Ok(found)
    }

    fn selects_object(&self, request: &Request) -> Result<bool> {
        let selector = self.objects.as_ref().map_err(ApiError::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let labelled = |o: Option<&Value>| o.is_some_and(|o| o["metadata"].is_object() && selector.matches(&labels(o)));
        Ok(labelled(request.object.as_ref()) || labelled(request.old.as_deref()))
    }

    fn selects_namespace(&self, request: &Request, source: &dyn Source) -> Result<bool> {
        let selector = self.namespaces.as_ref().map_err(ApiError::internal)?;
        let itself = request.resource.group.is_empty() && request.resource.resource == "namespaces";
        if selector.is_everything() || (request.namespace.is_empty() && !itself) {
            return Ok(true);
        }
        if itself && let Some(namespace) = &request.object {
            let changed = matches!(request.operation, Operation::Create | Operation::Update);
            if changed && request.subresource.is_empty() {
                return Ok(selector.matches(&labels(namespace)));
            }
        }
        let namespaces = GroupResource::new("", "namespaces");
        let name = if itself { &request.name } else { &request.namespace };
        match source.get(&namespaces, "", name) {
            Some(namespace) => Ok(selector.matches(&labels(&namespace))),
            None => Err(ApiError::not_found(&namespaces, name)),
        }
    }
}

fn labels(object: &Value) -> Map {
    object["metadata"]["labels"].as_object().cloned().unwrap_or_default()
}
