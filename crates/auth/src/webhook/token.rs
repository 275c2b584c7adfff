//! Whose a token is, by a webhook (`--authentication-token-webhook-config-file`).

use super::{MOST, post};
use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use ironclad_api::expiring::Expiring;
use ironclad_api::{ApiError, UserInfo};
use ironclad_json::{Value, json};
use ironclad_remote::Remote;
use sha2::{Digest, Sha256};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The authenticator.
pub struct TokenWebhook {
    remote: Remote,
    version: String,
    /// The audiences of the API itself.
    own: Vec<String>,
    life: Duration,
    known: Expiring<[u8; 32], Option<Authenticated>>,
}

impl TokenWebhook {
    /// Asks `remote` in this version of `authentication.k8s.io`; answers are kept for `life`.
    pub fn new(remote: Remote, version: &str, own: Vec<String>, life: Duration) -> Self {
        Self { remote, version: version.to_owned(), own, life, known: Expiring::new(MOST) }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// What an answer says; an error when the webhook says that something is wrong.
fn understood(answer: &Value, wanted: &[String]) -> Result<Option<Authenticated>, String> {
    let status = &answer["status"];
    if status["authenticated"] != true {
        let why = status["error"].as_str().unwrap_or_default();
        return if why.is_empty() { Ok(None) } else { Err(why.to_owned()) };
    }
    let user = &status["user"];
    let groups = texts(&user["groups"]);
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let mut found = UserInfo::new(user["username"].as_str().unwrap_or_default(), &groups);
    found.uid = user["uid"].as_str().unwrap_or_default().to_owned();
    found.extra = ironclad_json::from_value(user["extra"].clone()).unwrap_or_default();
    // A webhook that knows nothing of audiences speaks for the API.
    let told = texts(&status["audiences"]);
    let audiences: Vec<String> = match told.is_empty() {
        true => wanted.to_vec(),
        false => told.into_iter().filter(|a| wanted.contains(a)).collect(),
    };
    Ok((!audiences.is_empty()).then_some(Authenticated { user: found, audiences }))
}

#[async_trait]
impl Authenticator for TokenWebhook {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        let wanted = if audiences.is_empty() { &self.own } else { audiences };
        let mut hash = Sha256::new();
        for text in wanted.iter().map(String::as_str).chain([token]) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let key: [u8; 32] = hash.finalize().into();
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let review = json!({
            "kind": "TokenReview", "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "metadata": {}, "spec": {"token": token, "audiences": wanted},
        });
        let refused = |why: String| ApiError { message: why, ..ApiError::unauthorized() };
        let answer = post(&self.remote, &review, PATIENCE).await.map_err(|why| {
            tracing::warn!(why, "the authentication webhook gives no answer");
            refused(why)
        })?;
        let found = understood(&answer, wanted).map_err(refused)?;
        self.known.put(key, found.clone(), self.life);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_speaks_for_its_audiences() {
        let wanted = ["api".to_owned(), "x".to_owned()];
        let yes = |audiences: Value| {
            let answer = json!({"status": {"authenticated": true, "user": {"username": "jane", "groups": ["devs"]}, "audiences": audiences}});
            understood(&answer, &wanted).unwrap().map(|a| a.audiences)
        };
        assert_eq!(yes(Value::Null), Some(wanted.to_vec()));
        assert_eq!(yes(json!(["x", "other"])), Some(vec!["x".to_owned()]));
        assert_eq!(yes(json!(["other"])), None);
        assert_eq!(understood(&json!({"status": {}}), &wanted), Ok(None));
        assert!(understood(&json!({"status": {"error": "no"}}), &wanted).is_err());
    }
}
