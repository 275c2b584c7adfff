//! MutatingAdmissionPolicy: changes what is written, by apply configurations and JSON patches that expressions make.

use super::compiled::{Binding, Mutation, Policy};
use super::validating::Seen;
use super::{Policies, configured, params, variables};
use crate::expressions::{Inputs, Judges, Matched, SPENT, evaluate};
use crate::matching::Seen as SeenBy;
use crate::world::Version;
use crate::{Mutate, Operation, Plugin, Request, metrics};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, Reason, object};
use ironclad_cel::{Budget, Error, TOTAL_LIMIT, Val};
use ironclad_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// Policies that change what is written.
pub(crate) struct Mutating {
    judges: Judges,
    policies: Policies,
}

impl Mutating {
    pub(crate) fn new(judges: Judges, config: Option<&Value>) -> std::result::Result<Self, String> {
        const KINDS: &[&str] = &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];
        let dir = configured(&judges, config, "MutatingAdmissionPolicyConfiguration")?;
        let policies = Policies::new(&judges, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        policies.fix(&judges, "MutatingAdmissionPolicy", &dir, KINDS)?;
        Ok(Self { judges, policies })
    }

    /// What is to be evaluated for a request, in order. What is chosen is chosen by the object as it came.
    async fn invocations(&self, request: &Request, broken: &mut Vec<Broken>) -> Result<Vec<Invocation>> {
        let mut out = Vec::new();
        for (policy, bindings) in self.policies.bound(&request.resource).await? {
            let seen = match policy.criteria.matches(request, &*self.judges.source, &*self.judges.world) {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(error) => {
                    broken.extend(Broken::of(&policy, None, &error.message));
                    continue;
                }
            };
            let kind = match params::kind(&self.judges, &policy) {
                Ok(kind) => kind,
                Err(why) => {
                    broken.extend(Broken::of(&policy, None, &why));
                    continue;
                }
            };
            for binding in bindings {
                match self.binds(&binding, request, kind.as_ref()).await {
                    Err(why) => broken.extend(Broken::of(&policy, Some(&binding), &why)),
                    Ok(params) => out.extend(params.into_iter().map(|param| Invocation {
                        id: format!(
                            "{}/{}/{}/{}",
                            policy.name,
                            binding.name,
                            object::namespace(&param),
                            object::name(&param)
                        ),
                        policy: policy.clone(),
                        binding: binding.clone(),
                        seen: seen.clone(),
                        param,
                    })),
                }
            }
        }
        Ok(out)
    }

    /// The parameters of a binding for a request; none where it is not about the request.
    async fn binds(
        &self,
        binding: &Binding,
        request: &Request,
        kind: Option<&Version>,
    ) -> std::result::Result<Vec<Arc<Value>>, String> {
        if let Some(criteria) = &binding.criteria {
            let found = criteria.matches(request, &*self.judges.source, &*self.judges.world);
            if found.map_err(|e| e.message)?.is_none() {
                return Ok(Vec::new());
            }
        }
        params::collect(&self.judges, kind, binding, request).await
    }

    /// Evaluates one policy with one parameter.
    /// Whether some mutation was made, be it of nothing.
    async fn invoke(&self, invocation: &Invocation, request: &mut Request, broken: &mut Vec<Broken>) -> Result<bool> {
        let Invocation { policy, seen, .. } = invocation;
        let (mut object, old) = self.judges.objects(request, &seen.1).await?;
        match self.conditions(invocation, request, &object, &old).await {
            Matched::Yes => {}
            Matched::No => return Ok(false),
            Matched::Failed(why) => {
                broken.extend(invocation.broken(&why));
                return Ok(false);
            }
        }
        if request.reinvocation.round() > 0 && !request.reinvocation.wants(&invocation.id) {
            return Ok(false);
        }
        let (before, mut made) = (object.clone(), false);
        for mutation in &policy.mutations {
            let began = Instant::now();
            let done = self.mutate(mutation, invocation, request, &object, &old).await;
            let failed = done.as_ref().err().map(Wrong::why);
            metrics::mutated(&policy.name, &invocation.binding.name, failed, began.elapsed());
            match done {
                Ok(new) => (object, made) = (new, true),
                // The mutations after it have their turn all the same.
                Err(Wrong::Policy(why)) => broken.extend(invocation.broken(&why)),
                // What is no object of its kind any more no policy can overlook.
                Err(Wrong::Object(why)) => return Err(ApiError::internal(why)),
            }
        }
        if object != before {
            if seen.1 != request.kind {
                object = self.judges.world.convert(object, &request.kind).await?;
            }
            request.object = Some(object);
            request.reinvocation.changed();
        }
        if policy.reinvoked {
            request.reinvocation.asked(&invocation.id);
        }
        Ok(made)
    }

    async fn conditions(&self, invocation: &Invocation, request: &Request, object: &Value, old: &Value) -> Matched {
        let Invocation { policy, seen, param, .. } = invocation;
        if policy.conditions.is_empty() {
            return Matched::Yes;
        }
        let inputs = Inputs::new(request, (&seen.0, &seen.1), object.clone(), old.clone(), &*self.judges.source);
        let mut activation = inputs.activation();
        activation.set("params", Val::json(param, None));
        variables::add(&mut activation, &policy.variables);
        let began = Instant::now();
        let matched = policy.conditions.check(&activation, &*self.judges.authorizer, &request.user).await;
        metrics::matched("policy", "validate", &policy.name, request, &matched, began);
        match matched {
            Matched::Failed(_) if policy.ignores_failure => Matched::No,
            other => other,
        }
    }

    /// The object with one mutation.
    async fn mutate(
        &self,
        mutation: &Mutation,
        invocation: &Invocation,
        request: &Request,
        object: &Value,
        old: &Value,
    ) -> std::result::Result<Value, Wrong> {
        let Invocation { policy, seen, param, .. } = invocation;
        let source = &mutation.expression.source;
        let program = match &mutation.expression.program {
            Ok(program) => program,
            Err(why) => return Err(Wrong::Policy(why.trim_start_matches("compilation error: ").to_owned())),
        };
        let inputs = Inputs::new(request, (&seen.0, &seen.1), object.clone(), old.clone(), &*self.judges.source);
        let mut activation = inputs.activation();
        activation.set("params", Val::json(param, None));
        variables::add(&mut activation, &policy.variables);
        let mut budget = Budget::new(TOTAL_LIMIT);
        let value = evaluate(program, &activation, &mut budget, &*self.judges.authorizer, &request.user).await;
        let value = match value {
            Ok(value) => value,
            Err(Error::Cost) if budget.left() == 0 => return Err(Wrong::Policy(SPENT.to_owned())),
            Err(error) => return Err(Wrong::Policy(format!("expression '{source}' resulted in error: {error}"))),
        };
        let world = &self.judges.world;
        if mutation.patch {
            return match patched(&value, object).map_err(Wrong::Policy)? {
                Some(mut new) => crate::webhooks::must_be(&**world, &mut new, &seen.1)
                    .and_then(|()| world.settle_strictly(&seen.1, new))
                    .map_err(Wrong::Object),
                None => Ok(object.clone()),
            };
        }
        match self.applied(&value, object, seen).map_err(Wrong::Policy)? {
            Some(new) => world.settle(&seen.1, new).map_err(Wrong::Policy),
            None => Ok(object.clone()),
        }
    }

    fn applied(&self, value: &Val<'_>, object: &Value, seen: &Seen) -> std::result::Result<Option<Value>, String> {
        check_names(value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
        let mut config = value.to_json().ok_or("the apply configuration cannot be written as JSON")?;
        config["apiVersion"] = object["apiVersion"].clone();
        config["kind"] = object["kind"].clone();
        let merged = self.judges.world.merge(&seen.1, object, &config);
        merged.map(Some).map_err(|why| format!("error applying patch: {why}"))
    }
}

/// The object with a patch; nothing where a test in it does not hold.
fn patched(value: &Val<'_>, object: &Value) -> std::result::Result<Option<Value>, String> {
    for made in value.items().into_iter().flatten() {
        if let Val::Struct(made) = &made
            && let Some((_, value)) = made.fields.iter().find(|(name, _)| name == "value")
            && let Val::Struct(typed) = value
        {
            // The type of a value stands for itself: what is below it must go on from there.
            check_names(value, &typed.name).map_err(|why| format!("type mismatch: {why}"))?;
        }
    }
    let mut patch = value.to_json().ok_or("the patch cannot be written as JSON")?;
    for step in patch.as_array_mut().into_iter().flat_map(|steps| steps.iter_mut()) {
        let Some(step) = step.as_object_mut() else { continue };
        // What an operation does not say is empty, not missing.
        for field in ["op", "path"] {
            step.entry(field).or_insert_with(|| "".into());
        }
    }
    let patch =
        crate::webhooks::read_patch(patch.to_string().as_bytes()).map_err(|why| format!("JSON Patch: {why}"))?;
    let mut object = object.clone();
    match crate::webhooks::apply_patch(&mut object, &patch) {
        Ok(()) => Ok(Some(object)),
        Err(broken) if broken.test => Ok(None),
        Err(broken) => Err(format!("JSON Patch: {}", broken.why)),
    }
}

/// Why there is no mutation.
enum Wrong {
    /// The policy is wrong, which it may be allowed to be.
    Policy(String),
    /// It made what cannot be an object of the kind.
    Object(String),
}

impl Wrong {
    fn why(&self) -> &str {
        match self {
            Self::Policy(why) | Self::Object(why) => why,
        }
    }
}

/// A policy with a parameter, to be evaluated.
struct Invocation {
    id: String,
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    seen: Seen,
    param: Arc<Value>,
}

impl Invocation {
    fn broken(&self, why: &str) -> Option<Broken> {
        let (policy, binding) = (&self.policy.name, &self.binding.name);
        let message = format!("policy '{policy}' with binding '{binding}' denied request: {why}");
        (!self.policy.ignores_failure).then_some(Broken { message, reason: Reason::Invalid })
    }
}

/// Why a policy refuses a request.
struct Broken {
    message: String,
    reason: Reason,
}

impl Broken {
    /// A policy or binding that is not set up well; nothing, if the policy does not mind.
    fn of(policy: &Policy, binding: Option<&Binding>, why: &str) -> Option<Self> {
        if policy.ignores_failure {
            tracing::warn!(policy = policy.name, why, "a mutating policy failed, failing open");
            return None;
        }
        let message = match binding {
            Some(b) => {
                format!(
                    "policy '{}' with binding '{}' denied request: failed to configure binding: {why}",
                    policy.name, b.name
                )
            }
            None => format!("policy {:?} denied request: failed to configure policy: {why}", policy.name),
        };
        Some(Self { message, reason: Reason::Forbidden })
    }
}

/// All that refuses a request as one error: the first says it, the others are causes besides.
fn conclude(request: &Request, broken: Vec<Broken>) -> Result<()> {
    let Some(first) = broken.first() else { return Ok(()) };
    let mut error = request.forbidden("");
    error.message.clone_from(&first.message);
    error.reason = first.reason;
    Err(broken.into_iter().fold(error, |error, b| error.with_cause("", b.message, "")))
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

impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Connect)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Mutating {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if SeenBy::of(&request.resource) == SeenBy::ByNone || request.object.is_none() {
            return Ok(());
        }
        let mut broken = Vec::new();
        let invocations = self.invocations(request, &mut broken).await?;
        if !invocations.is_empty() {
            request.reinvocation.begin("policies", request.object.as_ref());
            let mut made = false;
            for invocation in &invocations {
                made |= self.invoke(invocation, request, &mut broken).await?;
            }
            // Who was asked sees what came of it, also who came last.
            if made && request.reinvocation.round() == 0 {
                request.reinvocation.changed();
            }
            request.reinvocation.end("policies", request.object.as_ref());
        }
        conclude(request, broken)
    }
}
