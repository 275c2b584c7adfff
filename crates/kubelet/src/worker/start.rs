//! Starting a container: images, variables, mounts, the container itself, its hook.

use super::image::{Wanted, ensure};
use super::job::{Ctx, Trouble};
use crate::container::{self, Volume};
use crate::env::{self, Sources};
use crate::hooks;
use crate::objects::Entry;
use crate::pod::{Role, Unit, WHOLE};
use ironclad_client::events::EventType;
use ironclad_cri::{Image, SandboxStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const AGAIN: Duration = Duration::from_secs(10);
/// Longest that a hook after the start may take; probes and the pod's end stop it before.
const HOOK: Duration = Duration::from_hours(1);

/// What a container is started with.
pub(super) struct Given {
    pub(super) sandbox: SandboxStatus,
    /// The container whose processes an ephemeral one is to see.
    pub(super) target: Option<String>,
    pub(super) attempt: u32,
    pub(super) volumes: HashMap<String, Volume>,
    pub(super) config_maps: HashMap<String, Arc<Entry<ConfigMap>>>,
    pub(super) secrets: HashMap<String, Arc<Entry<Secret>>>,
    /// Why it waited before.
    pub(super) waiting: Option<(String, String)>,
}

fn trouble(reason: &str, message: impl Into<String>, wait: Duration) -> Trouble {
    Trouble { reason: reason.to_owned(), message: message.into(), wait }
}

fn creating() -> Trouble {
    trouble("ContainerCreating", "", AGAIN)
}

/// Starts a container; the trouble says what its status shows.
pub(super) async fn start(ctx: &Ctx, name: &str, mut given: Given) -> Result<(), Trouble> {
    let Some(unit) = ctx.plan.unit(name) else { return Ok(()) };
    image_volumes(ctx, unit, &mut given).await?;
    let wanted = Wanted {
        container: name,
        image: unit.spec.image.as_deref().unwrap_or_default(),
        policy: unit.spec.image_pull_policy.as_deref(),
        secrets: &given.secrets,
        before: given.waiting.as_ref(),
    };
    let image = ensure(ctx, wanted).await?;
    if ctx.cancel.is_cancelled() {
        return Err(creating());
    }
    let made = make(ctx, unit, &given, &image).await;
    made.inspect_err(|t| {
        if t.reason != "ContainerCreating" {
            ctx.event(Some(name), EventType::Warning, "Failed", format!("Error: {}", t.message));
        }
    })?;
    Ok(())
}

/// Pulls the images that the container mounts.
async fn image_volumes(ctx: &Ctx, unit: &Unit, given: &mut Given) -> Result<(), Trouble> {
    let mounted = |name: &str| unit.spec.volume_mounts.iter().flatten().any(|m| m.name == name);
    for volume in ctx.plan.spec.volumes.iter().flatten().filter(|v| mounted(&v.name)) {
        let Some(source) = &volume.image else { continue };
        let wanted = Wanted {
            container: unit.name(),
            image: source.reference.as_deref().unwrap_or_default(),
            policy: source.pull_policy.as_deref(),
            secrets: &given.secrets,
            before: given.waiting.as_ref(),
        };
        let image = ensure(ctx, wanted).await?;
        given.volumes.insert(volume.name.clone(), Volume::Image(image.id));
    }
    Ok(())
}

/// What is there of the objects that variables come from.
async fn current<K>(entries: &HashMap<String, Arc<Entry<K>>>, unit: &Unit) -> Result<HashMap<String, Arc<K>>, String> {
    let text = serde_json::to_string(&(&unit.spec.env, &unit.spec.env_from)).unwrap_or_default();
    let mut out = HashMap::new();
    for (name, entry) in entries.iter().filter(|(n, _)| text.contains(n.as_str())) {
        out.extend(entry.get().await?.map(|object| (name.clone(), object)));
    }
    Ok(out)
}

async fn variables(ctx: &Ctx, unit: &Unit, given: &Given) -> Result<Vec<(String, String)>, String> {
    let plan = &ctx.plan;
    let (config_maps, secrets) = (current(&given.config_maps, unit).await?, current(&given.secrets, unit).await?);
    let sources = Sources { config_maps: &config_maps, secrets: &secrets, facts: &ctx.facts, volumes: &given.volumes };
    let links = plan.spec.enable_service_links != Some(false);
    let services = env::services::variables(&ctx.shared.services, &plan.namespace, links);
    let (envs, remarks) = env::variables(&plan.pod, &unit.spec, &services, &sources)?;
    for remark in remarks {
        ctx.event(Some(unit.name()), EventType::Warning, "InvalidEnvironmentVariableNames", remark);
    }
    Ok(envs)
}

async fn make(ctx: &Ctx, unit: &Unit, given: &Given, image: &Image) -> Result<(), Trouble> {
    let (config, plan) = (&ctx.shared.config, &ctx.plan);
    let bad = |message: String| trouble("CreateContainerConfigError", message, AGAIN);
    let envs = tokio::select! {
        envs = variables(ctx, unit, given) => envs.map_err(bad)?,
        () = ctx.cancel.cancelled() => return Err(creating()),
    };
    if unit.role == Role::Ephemeral && unit.target.is_some() && given.target.is_none() {
        let target = unit.target.as_deref().unwrap_or_default();
        return Err(bad(format!("unable to find target container {target}")));
    }
    let hosts = container::write_hosts(config, plan, &ctx.facts.pod_ips).map_err(|e| bad(e.to_string()))?;
    let own = unit.spec.resources.clone().unwrap_or_default();
    let wanted = container::Given {
        image: &image.id,
        image_user: (image.uid, &image.username),
        attempt: given.attempt,
        envs,
        volumes: &given.volumes,
        hosts: &hosts,
        memory: ctx.shared.admitted.memory(),
        resources: ctx.facts.allocated.get(unit.name()).unwrap_or(&own),
        whole: ctx.facts.allocated.get(WHOLE),
        target: given.target.clone(),
    };
    let wanted = container::configure(config, plan, unit, wanted).map_err(bad)?;
    let made = config.runtime.create_container(&given.sandbox.id, wanted).await;
    let id = made.map_err(|e| trouble("CreateContainerError", e.to_string(), AGAIN))?;
    ctx.event(Some(unit.name()), EventType::Normal, "Created", "Container created");
    let started = config.runtime.start_container(&id).await;
    // It has ended with its error by now: when to try again is decided as for every end.
    started.map_err(|e| trouble("RunContainerError", e.to_string(), Duration::ZERO))?;
    ctx.event(Some(unit.name()), EventType::Normal, "Started", "Container started");
    post_start(ctx, unit, &id).await
}

async fn post_start(ctx: &Ctx, unit: &Unit, id: &str) -> Result<(), Trouble> {
    let Some(hook) = unit.spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
    let runtime = &ctx.shared.config.runtime;
    let ip = ctx.facts.pod_ips.first().map_or("", String::as_str);
    let ran = tokio::select! {
        ran = hooks::run(&**runtime, hook, &unit.spec, id, ip, HOOK) => ran,
        () = ctx.cancel.cancelled() => return Ok(()),
    };
    let Err(why) = ran else { return Ok(()) };
    tracing::warn!(pod = ctx.plan.name, container = unit.name(), why, "a hook failed");
    ctx.event(Some(unit.name()), EventType::Warning, "FailedPostStartHook", "PostStartHook failed");
    // The container must not run on without what its hook should have done.
    super::end::kill_with(ctx, unit, id, "FailedPostStartHook", ctx.plan.grace()).await;
    Err(trouble("PostStartHookError", why, Duration::ZERO))
}
