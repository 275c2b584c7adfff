//! ImagePolicyWebhook: a program outside of the server says which images pods may use.
//!
//! Invariants: an answer is kept for as long as the configuration says, by what was asked; what cannot be asked is
//! decided by the configuration.

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::expiring::Expiring;
use ironclad_json::{Value, json};
use ironclad_remote::{Answer, Remote};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

const PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";
const ANNOTATIONS: &str = ".image-policy.k8s.io/";
/// How many answers are kept.
const ANSWERS: usize = 1024;
const ATTEMPTS: u32 = 5;
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said of a webhook that nobody named.
const UNSET: &str =
    "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    image_policy: Settings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    kube_config_file: PathBuf,
    #[serde(rename = "allowTTL", default)]
    allowed: i64,
    #[serde(rename = "denyTTL", default)]
    refused: i64,
    #[serde(default)]
    retry_backoff: i64,
    #[serde(default)]
    default_allow: bool,
}

pub(super) struct Images {
    remote: Remote,
    allowed: Duration,
    refused: Duration,
    pause: Duration,
    default_allow: bool,
    known: Expiring<String, Value>,
}

/// A number of the configuration as a time: 0 stands for the default, -1 for none at all.
fn time(
    given: i64,
    unit: Duration,
    least: Duration,
    most: Duration,
    default: Duration,
) -> std::result::Result<Duration, String> {
    let count = match given {
        -1 => return Ok(Duration::ZERO),
        0 => return Ok(default),
        other => other,
    };
    let nanos = i64::try_from(unit.as_nanos()).unwrap_or(i64::MAX);
    let got = count.saturating_mul(nanos);
    let time = u64::try_from(got).map(Duration::from_nanos).unwrap_or_default();
    match time > least && time <= most {
        true => Ok(time),
        false => {
            let go = |time: Duration| go_duration(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
            Err(format!("valid value is between {} and {}, got {}", go(least), go(most), go_duration(got)))
        }
    }
}

/// A time in the words of Go, such as `2h46m39.999s`.
fn go_duration(nanos: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let (sign, all) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    if all < SECOND {
        return format!("{sign}{:?}", Duration::from_nanos(all));
    }
    let (minutes, rest) = (all / SECOND / 60, all % (60 * SECOND));
    let seconds = format!("{:?}", Duration::from_nanos(rest));
    let seconds = if rest < SECOND { format!("{}s", rest as f64 / SECOND as f64) } else { seconds };
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

impl Images {
    pub(super) fn new(config: Option<&Value>) -> std::result::Result<Self, String> {
        let config = config.ok_or("no config specified")?;
        let File { image_policy: settings } = ironclad_json::from_value(config.clone()).map_err(|e| e.to_string())?;
        let (second, half_hour) = (Duration::from_secs(1), Duration::from_mins(30));
        let milli = Duration::from_millis(1);
        let (least, most) = (Duration::from_nanos(1), Duration::from_mins(5));
        let pause = time(settings.retry_backoff, milli, least, most, Duration::from_millis(500))?;
        let allowed = time(settings.allowed, second, second, half_hour, Duration::from_mins(5))?;
        let refused = time(settings.refused, second, second, half_hour, Duration::from_secs(30))?;
        let remote = match settings.kube_config_file.as_os_str().is_empty() {
            true => return Err(UNSET.to_owned()),
            false => Remote::from_kubeconfig(&settings.kube_config_file).map_err(|e| e.to_string())?,
        };
        Ok(Self {
            remote,
            allowed,
            refused,
            pause,
            default_allow: settings.default_allow,
            known: Expiring::new(ANSWERS),
        })
    }

    /// Asks, again after a growing pause where the webhook did not answer.
    async fn ask(&self, review: &Value) -> std::result::Result<Value, String> {
        let mut pause = self.pause;
        let mut attempt = 1;
        loop {
            let answer = self.remote.post(review.to_string(), PATIENCE).await.map_err(|e| e.to_string());
            let again = !matches!(&answer, Ok(answer) if answer.status < 500 && answer.status != 429);
            if !again || attempt == ATTEMPTS {
                return read(answer?);
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.5);
        }
    }
}

fn read(answer: Answer) -> std::result::Result<Value, String> {
    let Answer { status, body } = answer;
    if !(200..300).contains(&status) {
        return Err(crate::webhooks::refused(status, "text/plain", &body));
    }
    if body.is_empty() {
        return Err(format!("0-length response with status code: {status} and content type: application/json"));
    }
    let failed =
        |e| format!("couldn't get version/kind; json parse error: {}", ironclad_schema::json::in_go(&e, &body));
    let mut review: Value = serde_json::from_slice(&body).map_err(failed)?;
    Ok(review["status"].take())
}

/// The question about a pod: its images, and those of its annotations that are meant for the webhook.
fn review(request: &Request, pod: &Value) -> Value {
    let lists: &[&str] = match request.subresource.as_str() {
        "" => &["containers", "initContainers"],
        _ => &["ephemeralContainers"],
    };
    let containers = lists.iter().flat_map(|l| pod["spec"][*l].as_array().into_iter().flatten());
    let containers: Vec<Value> = containers.map(|c| json!({"image": c["image"]})).collect();
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let annotations: ironclad_json::Map =
        annotations.filter(|(k, _)| k.contains(ANNOTATIONS)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut spec = json!({"containers": containers, "namespace": request.namespace});
    if !annotations.is_empty() {
        spec["annotations"] = Value::Object(annotations);
    }
    let (kind, version) = ("ImageReview", "imagepolicy.k8s.io/v1alpha1");
    json!({"kind": kind, "apiVersion": version, "metadata": {}, "spec": spec, "status": {"allowed": false}})
}

impl Plugin for Images {
    fn name(&self) -> &'static str {
        "ImagePolicyWebhook"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Images {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let pods = request.resource.group.is_empty() && request.resource.resource == "pods";
        if !pods || !matches!(request.subresource.as_str(), "" | "ephemeralcontainers") {
            return Ok(());
        }
        let Some(pod) = &request.object else { return Ok(()) };
        let review = review(request, pod);
        let refuse = |why: &str| Err(request.forbidden(why));
        let key = review["spec"].to_string();
        let status = match self.known.get(&key) {
            Some(known) => known,
            None => match self.ask(&review).await {
                Ok(status) => {
                    let life = if status["allowed"] == true { self.allowed } else { self.refused };
                    self.known.put(key, status.clone(), life);
                    status
                }
                Err(why) if self.default_allow => {
                    tracing::warn!(why, "the webhook of images cannot be asked, letting the pod pass");
                    request.annotations.add(format!("{PREFIX}failed-open"), "true");
                    return Ok(());
                }
                Err(why) => return refuse(&why),
            },
        };
        for (key, value) in status["auditAnnotations"].as_object().into_iter().flatten() {
            request.annotations.add(format!("{PREFIX}{key}"), value.as_str().unwrap_or_default());
        }
        match (status["allowed"] == true, status["reason"].as_str().unwrap_or_default()) {
            (true, _) => Ok(()),
            (false, "") => refuse("one or more images rejected by webhook backend"),
            (false, why) => refuse(&format!("image policy webhook backend denied one or more images: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_default_and_bounds() {
        let read = |given| {
            let second = Duration::from_secs(1);
            time(given, second, second, Duration::from_secs(10), Duration::from_secs(5)).map(|d| d.as_secs())
        };
        assert_eq!([read(0), read(-1), read(7)], [Ok(5), Ok(0), Ok(7)]);
        assert_eq!(read(11).unwrap_err(), "valid value is between 1s and 10s, got 11s");
        assert!(read(1).is_err() && read(-2).is_err());
        let shown = [1, 5_000_000, 1_500_000_000, 60_000_000_000, 9_999_999_000_000].map(go_duration);
        assert_eq!(shown, ["1ns", "5ms", "1.5s", "1m0s", "2h46m39.999s"]);
    }
}
