//! MutatingAdmissionPolicy: changes what is written, by apply configurations and JSON patches that expressions make.

use super::compiled::{Binding, Mutation, Policy};
use super::validating::Seen;
use super::{Policies, configured, params, refusal, variables};
use crate::expressions::{Inputs, Judges, Matched, evaluate};
use crate::matching::is_exempt;
use crate::{Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_cel::{Budget, TOTAL_LIMIT, Val};
use ironclad_json::Value;
use std::sync::Arc;

/// Policies that change what is written.
pub(crate) struct Mutating {
    judges: Judges,
    policies: Policies,
}

impl Mutating {
    pub(crate) fn new(judges: Judges, config: Option<&Value>) -> std::result::Result<Self, String> {
        configured(config, "MutatingAdmissionPolicyConfiguration")?;
        let policies = Policies::new(&judges, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Ok(Self { judges, policies })
    }

    /// What a failure means for the request: nothing, if the policy says so.
    fn failed(policy: &Policy, binding: Option<&Binding>, request: &Request, why: String) -> Result<()> {
        if policy.ignores_failure {
            tracing::warn!(policy = policy.name, why, "a mutating policy failed, failing open");
            return Ok(());
        }
        let message = match binding {
            Some(b) => format!("policy '{}' with binding '{}' denied request: {why}", policy.name, b.name),
            None => format!("policy {:?} denied request: {why}", policy.name),
        };
        Err(refusal(request, "", message))
    }

    async fn policy(&self, policy: &Policy, bindings: &[Arc<Binding>], request: &mut Request) -> Result<()> {
        let seen = match policy.criteria.matches(request, &*self.judges.source, &*self.judges.world) {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(()),
            Err(error) => return Self::failed(policy, None, request, error.message),
        };
        for binding in bindings {
            if let Some(criteria) = &binding.criteria {
                match criteria.matches(request, &*self.judges.source, &*self.judges.world) {
                    Ok(Some(_)) => {}
                    Ok(None) => continue,
                    Err(error) => return Self::failed(policy, Some(binding), request, error.message),
                }
            }
            self.binding(policy, binding, &seen, request).await?;
        }
        Ok(())
    }

    async fn binding(&self, policy: &Policy, binding: &Binding, seen: &Seen, request: &mut Request) -> Result<()> {
        let params = match params::collect(&self.judges, policy, binding, request).await {
            Ok(params) => params,
            Err(why) => {
                let why = format!("failed to configure binding: {why}");
                return Self::failed(policy, Some(binding), request, why);
            }
        };
        for (index, param) in params.iter().enumerate() {
            let id = format!("{}/{}/{index}", policy.name, binding.name);
            if request.reinvocation.round() > 0 && !request.reinvocation.wants(&id) {
                continue;
            }
            match self.evaluate(policy, seen, param, request).await {
                Ok(None) => {}
                Ok(Some(object)) => {
                    if request.object.as_ref() != Some(&object) {
                        request.object = Some(object);
                        request.reinvocation.changed();
                    }
                }
                Err(why) => Self::failed(policy, Some(binding), request, why)?,
            }
            if policy.reinvoked {
                request.reinvocation.asked(&id);
            }
        }
        Ok(())
    }

    /// The object with all mutations of a policy; nothing where the policy is not about it.
    async fn evaluate(
        &self,
        policy: &Policy,
        seen: &Seen,
        param: &Value,
        request: &Request,
    ) -> std::result::Result<Option<Value>, String> {
        let (mut object, old) = self.judges.objects(request, &seen.1).await.map_err(|e| e.message)?;
        let mut budget = Budget::new(TOTAL_LIMIT);
        for (index, mutation) in policy.mutations.iter().enumerate() {
            let inputs = Inputs::new(request, (&seen.0, &seen.1), object.clone(), old.clone(), &*self.judges.source);
            let mut activation = inputs.activation();
            activation.set("params", Val::json(param, None));
            if index == 0 {
                match policy.conditions.check(&activation, &*self.judges.authorizer, &request.user).await {
                    Matched::Yes => {}
                    Matched::No => return Ok(None),
                    Matched::Failed(why) => return Err(why),
                }
            }
            variables::add(&mut activation, &policy.variables);
            let source = &mutation.expression.source;
            let program = mutation.expression.program.as_ref().map_err(Clone::clone)?;
            let value = evaluate(program, &activation, &mut budget, &*self.judges.authorizer, &request.user).await;
            let value = value.map_err(|e| format!("expression '{source}' resulted in error: {e}"))?;
            object = self.apply(mutation, &value, object, seen)?;
        }
        if seen.1 != request.kind {
            object = self.judges.world.convert(object, &request.kind).await.map_err(|e| e.message)?;
        }
        self.judges.world.settle(&request.kind, object).map(Some)
    }

    fn apply(
        &self,
        mutation: &Mutation,
        value: &Val<'_>,
        mut object: Value,
        seen: &Seen,
    ) -> std::result::Result<Value, String> {
        if mutation.patch {
            let patch = value.to_json().ok_or("the patch cannot be written as JSON")?.to_string();
            crate::webhooks::apply_patch(patch.as_bytes(), &mut object).map_err(|why| format!("JSON Patch: {why}"))?;
            return Ok(object);
        }
        check_names(value, "Object")?;
        let config = value.to_json().ok_or("the apply configuration cannot be written as JSON")?;
        for field in ["apiVersion", "kind"] {
            if config.get(field).is_some() {
                return Err(format!("invalid ApplyConfiguration: {field} may not be set"));
            }
        }
        if ["name", "namespace", "generateName"].iter().any(|f| config["metadata"].get(*f).is_some()) {
            return Err("invalid ApplyConfiguration: metadata.name, metadata.namespace and metadata.generateName may not be set".into());
        }
        self.judges.world.merge(&seen.1, &object, &config).map_err(|why| format!("error applying patch: {why}"))
    }
}

/// The type of each object must spell the path to it: `Object.spec` below `spec`.
fn check_names(value: &Val<'_>, path: &str) -> std::result::Result<(), String> {
    if let Val::Struct(made) = value {
        if made.name != path {
            return Err(format!(
                "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                made.name
            ));
        }
        return made.fields.iter().try_for_each(|(name, v)| check_names(v, &format!("{path}.{name}")));
    }
    value.items().into_iter().flatten().try_for_each(|item| check_names(&item, path))
}

#[async_trait]
impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Connect)
    }

    async fn admit(&self, request: &mut Request) -> Result<()> {
        if is_exempt(&request.resource) || request.object.is_none() {
            return Ok(());
        }
        let bound = self.policies.bound().await?;
        request.reinvocation.begin("policies", request.object.as_ref());
        for (policy, bindings) in bound {
            self.policy(&policy, &bindings, request).await?;
        }
        request.reinvocation.end("policies", request.object.as_ref());
        Ok(())
    }
}
