//! The image of a container, pulled if its policy says so.

use super::job::{Ctx, Trouble};
use crate::backoff::{go, now};
use crate::keyring::{self, Credential};
use crate::objects::Entry;
use ironclad_client::events::EventType;
use ironclad_cri::{Error, Image, PullRequest};
use k8s_openapi::api::core::v1::Secret;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait after what no repetition mends.
const LONG: Duration = Duration::from_secs(10);

fn trouble(reason: &str, message: String, wait: Duration) -> Trouble {
    Trouble { reason: reason.to_owned(), message, wait }
}

/// What is wanted: for which container, which image, how.
pub(super) struct Wanted<'a> {
    pub(super) container: &'a str,
    pub(super) image: &'a str,
    pub(super) policy: Option<&'a str>,
    /// The Secrets that the pod refers to.
    pub(super) secrets: &'a HashMap<String, Arc<Entry<Secret>>>,
    /// Why the container waited before: reason and message.
    pub(super) before: Option<&'a (String, String)>,
}

impl Wanted<'_> {
    fn policy(&self) -> &str {
        let latest = !self.image.contains('@') && {
            let last = self.image.rsplit('/').next().unwrap_or_default();
            last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
        };
        self.policy.unwrap_or(if latest { "Always" } else { "IfNotPresent" })
    }
}

/// The image on this node.
pub(super) async fn ensure(ctx: &Ctx, wanted: Wanted<'_>) -> Result<Image, Trouble> {
    let runtime = ctx.shared.config.runtime.clone();
    let quoted = format!("{:?}", wanted.image);
    let event = |kind, reason: &str, text: String| ctx.event(Some(wanted.container), kind, reason, text);
    let there = match runtime.image_status(wanted.image).await {
        Ok(found) => found,
        Err(Error::InvalidArgument(why)) => {
            let text = format!("Failed to apply default image tag {quoted}: {why}");
            event(EventType::Warning, "InspectFailed", text.clone());
            event(EventType::Warning, "Failed", "Error: InvalidImageName".to_owned());
            return Err(trouble("InvalidImageName", text, LONG));
        }
        Err(error) => {
            let text = format!("Failed to inspect image {quoted}: {error}");
            event(EventType::Warning, "InspectFailed", text.clone());
            return Err(trouble("ImageInspectError", text, LONG));
        }
    };
    let names: Vec<String> = ctx.plan.spec.image_pull_secrets.iter().flatten().map(|r| r.name.clone()).collect();
    let credentials = keyring::credentials(&names, wanted.secrets, wanted.image).await;
    if let Some(image) = there.filter(|_| wanted.policy() != "Always")
        && ctx.shared.pulls.may_use(wanted.image, &image, &credentials)
    {
        let text = format!("Container image {quoted} already present on machine and can be accessed by the pod");
        event(EventType::Normal, "Pulled", text);
        return Ok(image);
    }
    if wanted.policy() == "Never" {
        // The same words for one that is there and not for this pod: that it is there is not told.
        let text = format!("Container image {quoted} is not present with pull policy of Never");
        event(EventType::Warning, "ErrImageNeverPull", text.clone());
        event(EventType::Warning, "Failed", "Error: ErrImageNeverPull".to_owned());
        return Err(trouble("ErrImageNeverPull", text, LONG));
    }
    pull(ctx, &wanted, &quoted, &credentials).await
}

/// Pulls with the first credentials that do, or with none where there are none.
async fn fetch(ctx: &Ctx, image: &str, credentials: &[Credential]) -> Result<Image, Error> {
    let (runtime, pulls) = (&ctx.shared.config.runtime, &ctx.shared.pulls);
    let begun = pulls.begin(image).map_err(|e| Error::Internal(format!("failed to record image pull intent: {e}")))?;
    let tries: Vec<Option<&Credential>> =
        if credentials.is_empty() { vec![None] } else { credentials.iter().map(Some).collect() };
    let mut errors = Vec::new();
    for credential in tries {
        let auth = credential.map(|c| c.auth.clone()).into_iter().collect();
        let request = PullRequest { image: image.to_owned(), auth, ..PullRequest::default() };
        let pulled = runtime.pull_image(request, None).await;
        match pulled {
            Ok(id) => {
                let gone = || Error::NotFound(format!("image {image:?} went away"));
                let found = runtime.image_status(&id).await?.ok_or_else(gone)?;
                begun.succeeded(&found, credential);
                return Ok(found);
            }
            Err(error) => errors.push(error),
        }
    }
    let last = errors.pop().unwrap_or_else(|| Error::Internal("nothing was tried".to_owned()));
    if errors.is_empty() {
        return Err(last);
    }
    let all: Vec<String> = errors.iter().chain([&last]).map(ToString::to_string).collect();
    Err(Error::Internal(format!("[{}]", all.join(", "))))
}

async fn pull(ctx: &Ctx, wanted: &Wanted<'_>, quoted: &str, credentials: &[Credential]) -> Result<Image, Trouble> {
    let event = |kind, reason: &str, text: String| ctx.event(Some(wanted.container), kind, reason, text);
    let key = wanted.image;
    if let Some(trouble) = held_back(ctx, wanted) {
        return Err(trouble);
    }
    event(EventType::Normal, "Pulling", format!("Pulling image {quoted}"));
    let began = Instant::now();
    let found = tokio::select! {
        found = fetch(ctx, key, credentials) => found,
        () = ctx.cancel.cancelled() => return Err(trouble("ContainerCreating", String::new(), LONG)),
    };
    match found {
        Ok(image) => {
            ctx.pulls.lock().forget(key);
            ctx.shared.node_changed.notify_one();
            let took = go(began.elapsed());
            event(
                EventType::Normal,
                "Pulled",
                format!(
                    "Successfully pulled image {quoted} in {took} ({took} including waiting). Image size: {} bytes.",
                    image.size
                ),
            );
            Ok(image)
        }
        Err(error) => {
            event(EventType::Warning, "Failed", format!("Failed to pull image {quoted}: {error}"));
            let (reason, message) = match &error {
                Error::RegistryUnavailable(_) => (
                    "RegistryUnavailable",
                    format!("image pull failed for {} because the registry is unavailable: {error}", wanted.image),
                ),
                other => ("ErrImagePull", other.to_string()),
            };
            event(EventType::Warning, "Failed", format!("Error: {reason}"));
            ctx.pulls.lock().next(key, now());
            Err(trouble(reason, message, Duration::from_secs(1)))
        }
    }
}

/// While a pull must wait: what the status says, and how long.
fn held_back(ctx: &Ctx, wanted: &Wanted<'_>) -> Option<Trouble> {
    let before = wanted.before;
    let (left, quoted) = {
        let pulls = ctx.pulls.lock();
        (pulls.left_since_set(wanted.image, now())?, format!("{:?}", wanted.image))
    };
    let text = format!("Back-off pulling image {quoted}");
    let message = match before {
        Some((reason, _)) if reason == "ImagePullBackOff" => before?.1.clone(),
        Some((reason, message)) => format!("{text}: {reason}: {message}"),
        None => text.clone(),
    };
    if before.is_none_or(|(reason, _)| reason != "ImagePullBackOff") {
        ctx.event(Some(wanted.container), EventType::Normal, "BackOff", text);
        ctx.event(Some(wanted.container), EventType::Warning, "Failed", "Error: ImagePullBackOff");
    }
    Some(trouble("ImagePullBackOff", message, left))
}
