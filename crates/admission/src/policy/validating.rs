//! ValidatingAdmissionPolicy: refuses, warns about or notes what a policy's expressions do not hold for.

use super::compiled::{Binding, Policy, Validation};
use super::{Policies, configured, params, refusal, variables};
use crate::expressions::{Inputs, Judges, Matched, SPENT, evaluate, go_json};
use crate::matching::Seen as SeenBy;
use crate::{Operation, Plugin, Request, Validate, metrics};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, GroupVersionKind, GroupVersionResource};
use ironclad_cel::{Activation, Budget, Error, TOTAL_LIMIT, Val};
use ironclad_json::Value;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Longest message that an expression makes.
const MAX_MESSAGE: usize = 5 << 10;
/// Longest value of an audit annotation.
const MAX_NOTE: usize = 10 << 10;

/// Policies that check what is written.
pub(crate) struct Validating {
    judges: Judges,
    policies: Policies,
}

/// Why a policy does not let a request pass.
struct Finding {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: String,
    /// Which of the policy's expressions it was.
    index: usize,
    actions: Vec<String>,
}

/// What a policy found in one request.
#[derive(Default)]
struct Outcome {
    findings: Vec<Finding>,
    /// Values of audit annotations by their keys.
    notes: BTreeMap<String, Vec<String>>,
}

impl Validating {
    pub(crate) fn new(judges: Judges, config: Option<&Value>) -> std::result::Result<Self, String> {
        const KINDS: &[&str] = &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
        let dir = configured(&judges, config, "ValidatingAdmissionPolicyConfiguration")?;
        let policies = Policies::new(&judges, "validatingadmissionpolicies", "validatingadmissionpolicybindings");
        policies.fix(&judges, "ValidatingAdmissionPolicy", &dir, KINDS)?;
        Ok(Self { judges, policies })
    }

    async fn policy(&self, policy: &Policy, bindings: &[Arc<Binding>], request: &Request, out: &mut Outcome) {
        let broken = |binding: Option<&Binding>, why: String, out: &mut Outcome| {
            if policy.ignores_failure {
                return;
            }
            let noun = if binding.is_some() { "binding" } else { "policy" };
            out.findings.push(Finding {
                policy: policy.name.clone(),
                binding: binding.map(|b| b.name.clone()),
                message: format!("failed to configure {noun}: {why}"),
                reason: String::new(),
                index: 0,
                // Whatever the binding asks for: nobody can tell whether it would.
                actions: vec!["Deny".to_owned()],
            });
        };
        let seen = match policy.criteria.matches(request, &*self.judges.source, &*self.judges.world) {
            Ok(Some(seen)) => seen,
            Ok(None) => return,
            Err(error) => return broken(None, error.message, out),
        };
        let kind = match params::kind(&self.judges, policy) {
            Ok(kind) => kind,
            Err(why) => return broken(None, why, out),
        };
        let mut inputs: Option<Inputs> = None;
        for binding in bindings {
            match self.binds(binding, request) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    broken(Some(binding), error.message, out);
                    continue;
                }
            }
            let params = match params::collect(&self.judges, kind.as_ref(), binding, request).await {
                Ok(params) => params,
                Err(why) => {
                    broken(Some(binding), why, out);
                    continue;
                }
            };
            if inputs.is_none() {
                match self.judges.objects(request, &seen.1).await {
                    Ok((object, old)) => {
                        let source = &*self.judges.source;
                        inputs = Some(Inputs::new(request, (&seen.0, &seen.1), object, old, source));
                    }
                    Err(error) => {
                        broken(Some(binding), format!("failed to convert object version: {error}"), out);
                        continue;
                    }
                }
            }
            for param in params.iter().filter(|_| inputs.is_some()) {
                if let Some(inputs) = &inputs {
                    self.evaluate(policy, binding, inputs, param, request, out).await;
                }
            }
        }
    }

    fn binds(&self, binding: &Binding, request: &Request) -> Result<bool> {
        let Some(criteria) = &binding.criteria else { return Ok(true) };
        Ok(criteria.matches(request, &*self.judges.source, &*self.judges.world)?.is_some())
    }

    /// One policy with one parameter.
    async fn evaluate(
        &self,
        policy: &Policy,
        binding: &Binding,
        inputs: &Inputs,
        param: &Value,
        request: &Request,
        out: &mut Outcome,
    ) {
        let mut activation = inputs.activation();
        activation.set("params", Val::json(param, None));
        let mut find = |index: usize, message: String, reason: &str| {
            out.findings.push(Finding {
                policy: policy.name.clone(),
                binding: Some(binding.name.clone()),
                message,
                reason: reason.to_owned(),
                index,
                actions: binding.actions.clone(),
            });
        };
        match self.conditions(policy, &activation, request).await {
            Matched::Yes => {}
            Matched::No => return,
            Matched::Failed(_) if policy.ignores_failure => return,
            Matched::Failed(why) => return find(0, why, ""),
        }
        variables::add(&mut activation, &policy.variables);
        let (mut budget, mut found) = (Budget::new(TOTAL_LIMIT), Vec::new());
        for (index, validation) in policy.validations.iter().enumerate() {
            let began = Instant::now();
            let judged = self.validation(validation, &activation, &mut budget, request).await;
            tell(policy, binding, &judged, began);
            match judged {
                Ok(None) => {}
                Ok(Some(message)) => found.push((index, message, validation.reason.as_str())),
                // What was found before counts no more.
                Err(message) if message == SPENT => {
                    if !policy.ignores_failure {
                        find(0, message, "");
                    }
                    return;
                }
                Err(_) if policy.ignores_failure => {}
                Err(message) => found.push((index, message, "")),
            }
        }
        let notes = match self.notes(policy, &activation, request).await {
            Ok(notes) => notes,
            Err(()) => {
                if !policy.ignores_failure {
                    find(0, SPENT.to_owned(), "");
                }
                return;
            }
        };
        found.into_iter().for_each(|(index, message, reason)| find(index, message, reason));
        for (key, note) in notes {
            match note {
                Ok(value) => {
                    let values = out.notes.entry(format!("{}/{key}", policy.name)).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Err(_) if policy.ignores_failure => {}
                Err(message) => out.findings.push(Finding {
                    policy: policy.name.clone(),
                    binding: Some(binding.name.clone()),
                    message,
                    reason: String::new(),
                    index: 0,
                    actions: vec!["Deny".to_owned()],
                }),
            }
        }
    }

    async fn conditions(&self, policy: &Policy, activation: &Activation<'_>, request: &Request) -> Matched {
        let began = Instant::now();
        let matched = policy.conditions.check(activation, &*self.judges.authorizer, &request.user).await;
        if !policy.conditions.is_empty() {
            metrics::matched("policy", "validate", &policy.name, request, &matched, began);
        }
        matched
    }

    /// Nothing if the rule holds, else the message; an error where nobody can tell.
    async fn validation(
        &self,
        validation: &Validation,
        activation: &Activation<'_>,
        budget: &mut Budget,
        request: &Request,
    ) -> std::result::Result<Option<String>, String> {
        let source = &validation.expression.source;
        let program = validation.expression.program.as_ref().map_err(Clone::clone)?;
        match evaluate(program, activation, budget, &*self.judges.authorizer, &request.user).await {
            Ok(Val::Bool(true)) => Ok(None),
            Ok(Val::Bool(false)) => Ok(Some(self.message(validation, activation, budget, request).await)),
            Ok(_) => Err(format!("expression '{source}' resulted in error: the result is no boolean")),
            Err(Error::Cost) if budget.left() == 0 => Err(SPENT.to_owned()),
            Err(error) => Err(format!("expression '{source}' resulted in error: {error}")),
        }
    }

    async fn message(
        &self,
        validation: &Validation,
        activation: &Activation<'_>,
        budget: &mut Budget,
        request: &Request,
    ) -> String {
        let formula = validation.formula.as_ref().and_then(|f| f.program.as_ref().ok());
        if let Some(program) = formula {
            let made = evaluate(program, activation, budget, &*self.judges.authorizer, &request.user).await;
            if let Ok(Val::Text(text)) = made {
                let text = text.trim();
                if !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n') {
                    return text.to_owned();
                }
            }
        }
        match validation.message.as_str() {
            "" => format!("failed expression: {}", validation.expression.source.trim()),
            message => message.to_owned(),
        }
    }

    /// The values of audit annotations, or what is wrong with them; an error where they cost too much.
    async fn notes(
        &self,
        policy: &Policy,
        activation: &Activation<'_>,
        request: &Request,
    ) -> std::result::Result<Vec<(String, std::result::Result<String, String>)>, ()> {
        let (mut out, mut budget) = (Vec::new(), Budget::new(TOTAL_LIMIT));
        for (key, expression) in &policy.notes {
            let source = &expression.source;
            let program = match &expression.program {
                Ok(program) => program,
                Err(why) => {
                    out.push((key.clone(), Err(why.clone())));
                    continue;
                }
            };
            let value = evaluate(program, activation, &mut budget, &*self.judges.authorizer, &request.user).await;
            match value {
                Ok(Val::Text(text)) => {
                    let mut text = text.trim().to_owned();
                    if text.len() > MAX_NOTE {
                        let cut = (0..=MAX_NOTE).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                        text.truncate(cut);
                    }
                    if !text.is_empty() {
                        out.push((key.clone(), Ok(text)));
                    }
                }
                Ok(Val::Null) => {}
                Ok(other) => {
                    let why = format!(
                        "valueExpression '{source}' resulted in unsupported return type: {}. Return type must be either string or null.",
                        other.type_of()
                    );
                    out.push((key.clone(), Err(why)));
                }
                Err(Error::Cost) if budget.left() == 0 => return Err(()),
                Err(error) => {
                    out.push((key.clone(), Err(format!("expression '{source}' resulted in error: {error}"))));
                }
            }
        }
        Ok(out)
    }
}

/// Counts a rule that does not hold.
fn tell(policy: &Policy, binding: &Binding, judged: &std::result::Result<Option<String>, String>, began: Instant) {
    let actions = match judged {
        Ok(None) => return,
        Err(_) if policy.ignores_failure => &[][..],
        _ => &binding.actions[..],
    };
    let message = judged.as_ref().map_or_else(String::as_str, |found| found.as_deref().unwrap_or_default());
    metrics::validated(&policy.name, &binding.name, message, actions, began.elapsed());
}

/// What the audit log shows of a rule that does not hold.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    message: String,
    policy: String,
    binding: String,
    expression_index: usize,
    validation_actions: Vec<String>,
}

/// How many of them are shown.
const MAX_FAILED: usize = 50;

/// Does what the bindings ask for; the first that denies decides what the client reads.
fn conclude(request: &mut Request, outcome: Outcome) -> Result<()> {
    let mut refused: Option<ApiError> = None;
    let mut audited = Vec::new();
    for finding in outcome.findings {
        let Finding { policy, binding, message, reason, index, actions } = finding;
        let bound = binding.as_ref().map(|b| format!(" with binding '{b}'")).unwrap_or_default();
        for action in &actions {
            match action.as_str() {
                "Deny" if refused.is_none() => {
                    let text = format!("ValidatingAdmissionPolicy '{policy}'{bound} denied request: {message}");
                    refused = Some(refusal(request, &reason, text));
                }
                "Warn" => request
                    .warnings
                    .push(format!("Validation failed for ValidatingAdmissionPolicy '{policy}'{bound}: {message}")),
                "Audit" => audited.push(Failed {
                    message: message.clone(),
                    policy: policy.clone(),
                    binding: binding.clone().unwrap_or_default(),
                    expression_index: index,
                    validation_actions: actions.clone(),
                }),
                _ => {}
            }
        }
    }
    audited.truncate(MAX_FAILED);
    if !audited.is_empty()
        && let Some(text) = go_json(&audited)
    {
        request.annotations.add("validation.policy.admission.k8s.io/validation_failure", text);
    }
    for (key, values) in outcome.notes {
        request.annotations.add(key, values.join(", "));
    }
    refused.map_or(Ok(()), Err)
}

impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Validating {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        if SeenBy::of(&request.resource) == SeenBy::ByNone {
            return Ok(());
        }
        let mut outcome = Outcome::default();
        for (policy, bindings) in self.policies.bound(&request.resource).await? {
            self.policy(&policy, &bindings, request, &mut outcome).await;
        }
        conclude(request, outcome)
    }
}

/// The version in which a policy sees a request.
pub(super) type Seen = (GroupVersionResource, GroupVersionKind);
