//! Service account tokens of pods: asked for when they are needed, and again long before they expire.

use super::Around;
use super::content::Failure;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// No token is kept longer, however long it is valid.
const OLDEST: Duration = Duration::from_hours(24);

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(10);

struct Token {
    text: String,
    renew: Instant,
}

/// The tokens of a pod by volume and path.
#[derive(Default)]
pub(super) struct Tokens(HashMap<(String, String), Token>);

impl Tokens {
    /// When the first of them must be renewed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|t| t.renew).min()
    }

    /// A token that is good for a while; `ask` is only polled when one is needed, and tells how long it is valid.
    pub(super) async fn get(
        &mut self,
        volume: &str,
        path: &str,
        ask: impl Future<Output = Result<(String, Duration), Failure>>,
    ) -> Result<String, Failure> {
        let key = (volume.to_owned(), path.to_owned());
        let now = Instant::now();
        let old = self.0.get(&key).map(|t| (t.text.clone(), t.renew));
        if let Some((text, renew)) = &old
            && *renew > now
        {
            return Ok(text.clone());
        }
        match ask.await {
            Ok((text, valid)) => {
                let renew = now + valid.mul_f64(0.8).min(OLDEST);
                self.0.insert(key, Token { text: text.clone(), renew });
                Ok(text)
            }
            Err(error) => {
                let Some((text, _)) = old else { return Err(error) };
                tracing::warn!(volume, error.text, "cannot renew a token, will try again");
                self.0.insert(key, Token { text: text.clone(), renew: now + AGAIN });
                Ok(text)
            }
        }
    }
}

/// Asks the API server for a token of the pod's account; tells for how long it is valid.
pub(super) async fn request(
    around: &Around<'_>,
    part: &ServiceAccountTokenProjection,
) -> Result<(String, Duration), Failure> {
    let plan = around.plan;
    let account = plan.spec.service_account_name.clone().unwrap_or_else(|| "default".into());
    let audiences: Vec<&String> = part.audience.iter().filter(|a| !a.is_empty()).collect();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": {
        "audiences": audiences, "expirationSeconds": part.expiration_seconds.unwrap_or(3600),
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": plan.name, "uid": plan.uid}}});
    let api: Api<ServiceAccount> = Api::namespaced(around.config.client.clone(), &plan.namespace);
    let mut wait = Duration::from_millis(5);
    let answer: Result<TokenRequest, _> = loop {
        let answer = api.create_subresource("token", &account, &PostParams::default(), &request).await;
        match answer {
            // The server may hear of a new pod, and so of what its node may ask, a moment after the node.
            Err(kube::Error::Api(status)) if status.code == 403 && wait < Duration::from_millis(500) => {
                tokio::time::sleep(wait).await;
                wait *= 3;
            }
            other => break other,
        }
    };
    let failed = |e: kube::Error| match e {
        kube::Error::Api(status) => Failure { text: format!("failed to fetch token: {}", status.message), away: false },
        other => Failure { text: format!("failed to fetch token: {other}"), away: true },
    };
    let status = answer.map_err(failed)?.status.ok_or_else(|| "failed to fetch token: empty answer".to_owned())?;
    let text = status.token.filter(|t| !t.is_empty());
    let text = text.ok_or_else(|| "failed to fetch token: empty answer".to_owned())?;
    let valid = status.expiration_timestamp.map(|t| t.0.duration_since(Timestamp::now()));
    let valid = valid.and_then(|v| Duration::try_from(v).ok());
    Ok((text, valid.unwrap_or(Duration::from_mins(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn tokens_are_renewed_before_they_expire_and_kept_when_that_fails() {
        let (mut tokens, count) = (Tokens::default(), Cell::new(0));
        let valid = Duration::from_millis(500);
        let ask = || async {
            count.set(count.get() + 1);
            Ok((format!("token-{}", count.get()), valid))
        };
        assert_eq!(tokens.get("v", "token", ask()).await.unwrap(), "token-1");
        assert_eq!(tokens.get("v", "token", ask()).await.unwrap(), "token-1");
        assert_eq!(tokens.get("v", "other", ask()).await.unwrap(), "token-2");
        let due = tokens.due().unwrap();
        assert!(due < Instant::now() + valid);
        tokio::time::sleep_until(due.into()).await;
        assert_eq!(tokens.get("v", "token", ask()).await.unwrap(), "token-3");
        tokio::time::sleep(valid).await;
        let away = || async { Err(Failure { text: "away".to_owned(), away: true }) };
        assert_eq!(tokens.get("v", "token", away()).await.unwrap(), "token-3");
        assert!(tokens.get("w", "token", away()).await.is_err());
    }
}
