//! The image of a container, pulled if its policy says so.

use super::job::{Ctx, Trouble};
use crate::backoff::{go, now};
use crate::keyring;
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
    match (there, wanted.policy()) {
        (Some(image), "IfNotPresent" | "Never") => {
            let text = format!("Container image {quoted} already present on machine and can be accessed by the pod");
            event(EventType::Normal, "Pulled", text);
            Ok(image)
        }
        (None, "Never") => {
            let text = format!("Container image {quoted} is not present with pull policy of Never");
            event(EventType::Warning, "ErrImageNeverPull", text.clone());
            event(EventType::Warning, "Failed", "Error: ErrImageNeverPull".to_owned());
            Err(trouble("ErrImageNeverPull", text, LONG))
        }
        _ => pull(ctx, &wanted, &quoted).await,
    }
}

async fn pull(ctx: &Ctx, wanted: &Wanted<'_>, quoted: &str) -> Result<Image, Trouble> {
    let runtime = &ctx.shared.config.runtime;
    let event = |kind, reason: &str, text: String| ctx.event(Some(wanted.container), kind, reason, text);
    let key = wanted.image;
    if let Some(trouble) = held_back(ctx, wanted) {
        return Err(trouble);
    }
    event(EventType::Normal, "Pulling", format!("Pulling image {quoted}"));
    let began = Instant::now();
    let auth = keyring::credentials(wanted.secrets, wanted.image).await;
    let request = PullRequest { image: wanted.image.to_owned(), auth, ..PullRequest::default() };
    let pulled = tokio::select! {
        pulled = runtime.pull_image(request, None) => pulled,
        () = ctx.cancel.cancelled() => return Err(trouble("ContainerCreating", String::new(), LONG)),
    };
    let found = match pulled {
        Ok(id) => runtime.image_status(&id).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(Some(image)) => {
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
        Ok(None) => Err(trouble("ErrImagePull", format!("image {quoted} went away"), LONG)),
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
