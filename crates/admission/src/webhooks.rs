//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: programs outside the server that change and check writes.
//!
//! Invariants: configuration is followed by a watch; mutating webhooks run one after the other in the order of their
//! names, validating ones side by side; configuration of admission itself is sent to webhooks of manifests alone.

mod call;
mod config;
mod decode;
mod patch;
mod review;
mod settings;

use crate::expressions::{Inputs, Judges, Matched, go_json};
use crate::follow::Followed;
use crate::matching::Seen;
use crate::metrics::{self, Called};
use crate::world::World;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use config::{Callers, Webhook};
use futures::StreamExt;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, GroupResource, GroupVersionKind, GroupVersionResource, names, object};
use ironclad_json::Value;
use review::Reply;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

pub use call::Caller;
pub(crate) use call::refused;
pub(crate) use patch::{apply as apply_patch, read as read_patch};
pub(crate) use review::named as reason_named;

type Configurations = Followed<Vec<Arc<Webhook>>>;

/// What a webhook has to be asked.
struct Invocation {
    webhook: Arc<Webhook>,
    resource: GroupVersionResource,
    kind: GroupVersionKind,
}

/// Why a call has no answer.
enum Failure {
    /// The webhook is called by no dry run.
    DryRun(ApiError),
    /// It could not be called, or answered nonsense; with a code for those who count.
    Call(String, u16),
}

fn follow(
    judges: &Judges,
    resource: &str,
    (plugin, kinds): (&'static str, &'static [&'static str]),
    config: Option<&ironclad_json::Value>,
) -> std::result::Result<Configurations, String> {
    let settings::Settings { credentials, dir } = settings::Settings::read(config)?;
    judges.manifests.check(&dir)?;
    let callers = || Callers::new(judges.source.clone(), credentials.clone(), judges.egress.clone());
    let (mut own, fixed) = (callers(), parking_lot::Mutex::new(callers()));
    let resource = GroupResource::new("admissionregistration.k8s.io", resource);
    let all = Followed::new(&*judges.source, &resource, move |configuration| config::read(configuration, &mut own));
    let place = all.fixed();
    judges.manifests.follow(plugin, &dir, kinds, judges.world.clone(), move |lists| {
        let mut callers = fixed.lock();
        place.put(lists.iter().flatten().map(|configuration| config::read(configuration, &mut callers)).collect());
    })?;
    Ok(all)
}

/// Whether a webhook is to be asked about a request.
async fn invocation(
    judges: &Judges,
    webhook: &Arc<Webhook>,
    request: &Request,
    mutating: bool,
) -> Result<Option<Invocation>> {
    let Some((resource, kind)) = webhook.criteria.matches(request, &*judges.source, &*judges.world)? else {
        return Ok(None);
    };
    if !webhook.conditions.is_empty() {
        let (object, old) = judges.objects(request, &kind).await?;
        let inputs = Inputs::new(request, (&resource, &kind), object, old, &*judges.source);
        let began = Instant::now();
        let matched = webhook.conditions.check(&inputs.activation(), &*judges.authorizer, &request.user).await;
        let step = if mutating { "admit" } else { "validating" };
        metrics::matched("webhook", step, &webhook.name, request, &matched, began);
        match matched {
            Matched::Yes => {}
            Matched::No => return Ok(None),
            Matched::Failed(_) if webhook.ignores_failure => return Ok(None),
            Matched::Failed(why) => {
                return Err(request.forbidden(why));
            }
        }
    }
    Ok(Some(Invocation { webhook: webhook.clone(), resource, kind }))
}

/// Asks a webhook, and tells how long that took.
async fn call(
    judges: &Judges,
    invocation: &Invocation,
    request: &Request,
    mutating: bool,
) -> std::result::Result<Reply, Failure> {
    let began = Instant::now();
    let reply = post(judges, invocation, request, mutating).await;
    let step = if mutating { "admit" } else { "validating" };
    let name = &invocation.webhook.name;
    let outcome = match &reply {
        Ok(reply) if reply.allowed => Called::Allowed,
        Ok(reply) => Called::Refused(review::denial(name, &reply.status).code.into()),
        Err(Failure::DryRun(_)) => Called::Unasked,
        Err(Failure::Call(_, code)) => Called::Failed { open: invocation.webhook.ignores_failure, code: *code },
    };
    metrics::called(name, step, request.operation, outcome);
    judges.world.asked(name, step, request.operation.as_str(), outcome.refuses(), began.elapsed());
    reply
}

async fn post(
    judges: &Judges,
    invocation: &Invocation,
    request: &Request,
    mutating: bool,
) -> std::result::Result<Reply, Failure> {
    let webhook = &invocation.webhook;
    if request.dry_run && !webhook.dry_run {
        let message = format!("admission webhook {:?} does not support dry run", webhook.name);
        return Err(Failure::DryRun(ApiError::bad_request(message)));
    }
    let version = webhook.review.ok_or_else(|| {
        Failure::Call("webhook does not accept known AdmissionReview versions (v1, v1beta1)".to_owned(), 400)
    })?;
    let caller = webhook.caller.as_ref().map_err(|why| Failure::Call(why.clone(), 500))?;
    let (object, old) = judges
        .objects(request, &invocation.kind)
        .await
        .map_err(|e| Failure::Call(format!("failed to convert: {e}"), 500))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let question = review::question(version, &uid, request, (&invocation.resource, &invocation.kind), object, old);
    let answer = caller.post(&question, webhook.timeout).await;
    let answer =
        answer.map_err(|failed| Failure::Call(format!("failed to call webhook: {}", failed.why), failed.code))?;
    review::answer(answer, version, &uid, mutating)
        .map_err(|why| Failure::Call(format!("received invalid webhook response: {why}"), 503))
}

/// What a failed call means for the request: nothing, if its policy says so.
fn failed(webhook: &Webhook, failure: Failure, request: &Request, kind: &str, index: &str) -> Result<()> {
    match failure {
        Failure::DryRun(error) => Err(error),
        Failure::Call(why, _) if webhook.ignores_failure => {
            tracing::warn!(webhook = webhook.name, why, "failed calling webhook, failing open");
            request.annotations.add(format!("failed-open.{kind}.webhook.admission.k8s.io/{index}"), &webhook.name);
            Ok(())
        }
        Failure::Call(why, _) => Err(ApiError::internal(format!("failed calling webhook {:?}: {why}", webhook.name))),
    }
}

/// What a webhook adds to the answer and to the audit log.
fn note(webhook: &Webhook, reply: &mut Reply, request: &mut Request) {
    request.warnings.append(&mut reply.warnings);
    for (key, value) in reply.annotations.drain(..) {
        let key = format!("{}/{key}", webhook.name);
        match key.matches('/').count() == 1 && names::qualified_name(&key).is_empty() {
            true => request.annotations.add(key, value),
            false => tracing::warn!(webhook = webhook.name, key, "not a key of an annotation"),
        }
    }
}

/// Webhooks that may change what is written.
pub(crate) struct Mutating {
    judges: Judges,
    configurations: Configurations,
}

impl Mutating {
    pub(crate) fn new(judges: Judges, config: Option<&ironclad_json::Value>) -> std::result::Result<Self, String> {
        let configurations = follow(
            &judges,
            "mutatingwebhookconfigurations",
            ("MutatingAdmissionWebhook", &["MutatingWebhookConfiguration"]),
            config,
        )?;
        Ok(Self { judges, configurations })
    }

    /// Asks one webhook and does what it says.
    async fn ask(&self, invocation: &Invocation, request: &mut Request, index: &str) -> Result<()> {
        let done = self.answer(invocation, request, index).await;
        let webhook = &invocation.webhook;
        let note = Mutation {
            configuration: &webhook.configuration,
            webhook: &webhook.name,
            mutated: matches!(done, Ok(true)),
        };
        note_as(request, "mutation", index, &note);
        if done? {
            request.reinvocation.changed();
        }
        Ok(())
    }

    /// Whether the answer of a webhook changed the object.
    async fn answer(&self, invocation: &Invocation, request: &mut Request, index: &str) -> Result<bool> {
        let webhook = &invocation.webhook;
        let failing = |failure, request: &Request| failed(webhook, failure, request, "mutation", index);
        let mut reply = match call(&self.judges, invocation, request, true).await {
            Err(failure) => return failing(failure, request).map(|()| false),
            Ok(reply) => reply,
        };
        note(webhook, &mut reply, request);
        if !reply.allowed {
            return Err(review::denial(&webhook.name, &reply.status));
        }
        let Some(patch) = reply.patch else { return Ok(false) };
        let patch = match patch::read(&patch) {
            Ok(patch) => patch,
            Err(why) => {
                let failure = Failure::Call(format!("received undecodable patch in webhook response: {why}"), 503);
                return failing(failure, request).map(|()| false);
            }
        };
        if patch.as_array().is_none_or(|steps| steps.is_empty()) {
            return Ok(false);
        }
        if request.object.is_none() {
            let why = format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                webhook.name
            );
            return Err(ApiError::internal(why));
        }
        if reply.patch_type != "JSONPatch" {
            let failure = Failure::Call(format!("unsupported patch type {:?}", reply.patch_type), 503);
            return failing(failure, request).map(|()| false);
        }
        let changed = self.change(invocation, request, &patch).await?;
        let note = Patched {
            configuration: &webhook.configuration,
            webhook: &webhook.name,
            patch: &patch,
            patch_type: "JSONPatch",
        };
        note_as(request, "patch", index, &note);
        Ok(changed)
    }

    /// Applies a patch to the object in the version that the webhook saw; says whether that changed anything.
    async fn change(&self, invocation: &Invocation, request: &mut Request, patch: &Value) -> Result<bool> {
        let (mut object, _) = self.judges.objects(request, &invocation.kind).await?;
        let before = object.clone();
        patch::apply(&mut object, patch).map_err(|broken| ApiError::internal(broken.why))?;
        let fresh = self.is_fresh(invocation, request);
        if object == before {
            return Ok(fresh);
        }
        must_be(&*self.judges.world, &mut object, &invocation.kind).map_err(ApiError::internal)?;
        if invocation.kind != request.kind {
            object = self.judges.world.convert(object, &request.kind).await?;
        }
        // What is below an object is of a type of its own, or of the object's.
        let settled = self.judges.world.settle(&request.kind, object).map_err(ApiError::internal)?;
        let changed = request.object.as_ref() != Some(&settled);
        request.object = Some(settled);
        Ok(changed || fresh)
    }

    /// Whether the first patch changes the object whatever it says: stock's times of managed fields that are new are
    /// finer than those that a patch leaves. Custom resources hold theirs as texts.
    fn is_fresh(&self, invocation: &Invocation, request: &mut Request) -> bool {
        let managers = |o: &Value| o["metadata"]["managedFields"].clone();
        let own = request.object.as_ref().map(managers).unwrap_or_default();
        let old = request.old.as_deref().map(managers).unwrap_or_default();
        let new = own.as_array().into_iter().flatten().any(|m| !old.as_array().into_iter().flatten().any(|o| o == m));
        request.reinvocation.first_patch() && new && self.judges.world.is_typed(&invocation.kind)
    }
}

/// Whether a patched object is still of the kind that it was; one that no longer says it is.
pub(crate) fn must_be(
    world: &dyn World,
    object: &mut Value,
    kind: &GroupVersionKind,
) -> std::result::Result<(), String> {
    for (field, own) in
        [("apiVersion", ironclad_api::resource::api_version(&kind.group, &kind.version)), ("kind", kind.kind.clone())]
    {
        if object::text(object, &[field]).is_empty() && object.is_object() {
            object[field] = own.into();
        }
    }
    let sent = object::gvk(object);
    if sent == *kind {
        return Ok(());
    }
    Err(match world.of_kind(&sent) {
        Some(_) => format!("unable to decode {sent} into {kind}"),
        None => format!(
            "no kind {:?} is registered for version {:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            sent.kind,
            object::text(object, &["apiVersion"])
        ),
    })
}

/// What the audit log shows of a webhook that was asked.
#[derive(Serialize)]
struct Mutation<'a> {
    configuration: &'a str,
    webhook: &'a str,
    mutated: bool,
}

/// What the audit log shows of a patch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patched<'a> {
    configuration: &'a str,
    webhook: &'a str,
    patch: &'a Value,
    patch_type: &'a str,
}

/// Notes something about the webhook of an index; a patch only where requests are kept.
fn note_as(request: &Request, kind: &str, index: &str, what: &impl Serialize) {
    let Some(text) = go_json(what) else { return };
    let key = format!("{kind}.webhook.admission.k8s.io/{index}");
    match kind {
        "patch" => request.annotations.add_request(key, text),
        _ => request.annotations.add(key, text),
    }
}

impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Mutating {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        let seen = Seen::of(&request.resource);
        if seen == Seen::ByNone {
            return Ok(());
        }
        let configurations = self.configurations.get(seen == Seen::ByAll).await?;
        let again = request.reinvocation.begin("webhooks", request.object.as_ref());
        let round = request.reinvocation.round();
        for (index, webhook) in configurations.iter().flat_map(|c| c.iter()).enumerate() {
            if again && !request.reinvocation.wants(&webhook.id) {
                continue;
            }
            let Some(invocation) = invocation(&self.judges, webhook, request, true).await? else { continue };
            self.ask(&invocation, request, &format!("round_{round}_index_{index}")).await?;
            if webhook.reinvoked {
                request.reinvocation.asked(&webhook.id);
            }
        }
        request.reinvocation.end("webhooks", request.object.as_ref());
        Ok(())
    }
}

/// Webhooks that only check.
pub(crate) struct Validating {
    judges: Judges,
    configurations: Configurations,
}

impl Validating {
    pub(crate) fn new(judges: Judges, config: Option<&ironclad_json::Value>) -> std::result::Result<Self, String> {
        let configurations = follow(
            &judges,
            "validatingwebhookconfigurations",
            ("ValidatingAdmissionWebhook", &["ValidatingWebhookConfiguration"]),
            config,
        )?;
        Ok(Self { judges, configurations })
    }
}

impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
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
        let seen = Seen::of(&request.resource);
        if seen == Seen::ByNone {
            return Ok(());
        }
        let configurations = self.configurations.get(seen == Seen::ByAll).await?;
        let mut asked = Vec::new();
        for webhook in configurations.iter().flat_map(|c| c.iter()) {
            asked.extend(invocation(&self.judges, webhook, request, false).await?);
        }
        let seen: &Request = request;
        let calls = asked.iter().enumerate().map(async |(i, asked)| (i, call(&self.judges, asked, seen, false).await));
        // Who answers first says it, where several refuse.
        let answers: Vec<_> = calls.collect::<futures::stream::FuturesUnordered<_>>().collect().await;
        let mut refused = None;
        for (index, answer) in answers {
            let invocation = &asked[index];
            let webhook = &invocation.webhook;
            let judged = match answer {
                Err(failure) => {
                    let place = format!("round_0_index_{index}");
                    failed(webhook, failure, request, "validating", &place)
                }
                Ok(mut reply) => {
                    note(webhook, &mut reply, request);
                    if reply.allowed { Ok(()) } else { Err(review::denial(&webhook.name, &reply.status)) }
                }
            };
            refused = refused.or(judged.err());
        }
        refused.map_or(Ok(()), Err)
    }
}
