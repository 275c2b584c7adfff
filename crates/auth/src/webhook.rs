//! Authentication and authorization by another server: a `TokenReview` or a `SubjectAccessReview` is posted to it, its
//! answer is kept for a while.

mod access;
mod token;

pub use access::{AccessOptions, AccessWebhook, FailurePolicy};
pub use token::TokenWebhook;

use ironclad_json::Value;
use ironclad_remote::Remote;
use std::time::Duration;

/// Pauses between attempts; stock's back-off.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_millis(750), Duration::from_millis(1125), Duration::from_millis(1687)];
/// Answers that are kept at once.
const MOST: usize = 8192;

/// Posts a review until there is an answer, or until there have been enough failures.
async fn post(remote: &Remote, review: &Value, patience: Duration) -> Result<Value, String> {
    let body = review.to_string();
    let mut pauses = PAUSES.iter();
    loop {
        let why = match remote.post(body.clone(), patience).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                return serde_json::from_slice(&answer.body)
                    .map_err(|e| format!("the webhook's answer is no review: {e}"));
            }
            Ok(answer) => {
                let why = format!("status code {}", answer.status);
                if answer.status < 500 && answer.status != 429 {
                    return Err(why);
                }
                why
            }
            Err(ironclad_remote::Error::Call { url, why, .. }) => {
                let patience =
                    ironclad_api::time::show_duration(i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX));
                format!("Post \"{url}?timeout={patience}\": {why}")
            }
            Err(error) => error.to_string(),
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => return Err(why),
        }
    }
}

/// A user as reviews hold one.
fn user_value(user: &ironclad_api::UserInfo, name: &str) -> ironclad_json::Map {
    let mut out = ironclad_json::Map::new();
    out.insert(name.to_owned(), user.name.clone().into());
    if !user.uid.is_empty() {
        out.insert("uid".to_owned(), user.uid.clone().into());
    }
    out.insert("groups".to_owned(), user.groups.clone().into());
    if !user.extra.is_empty() {
        out.insert("extra".to_owned(), ironclad_json::json!(user.extra));
    }
    out
}
