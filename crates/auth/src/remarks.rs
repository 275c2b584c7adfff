//! What a check has to say besides who it is or what they may do: warnings for the client, annotations for the audit,
//! failures of webhooks.
//!
//! Invariant: a remark reaches only the request within whose [`scope`] it was made; without one it is dropped.

use parking_lot::Mutex;
use std::future::Future;

tokio::task_local! {
    static CURRENT: Mutex<Remarks>;
}

/// Remarks of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit: key and value.
    pub annotations: Vec<(String, String)>,
    /// Why an authorizer could not say what it would have said.
    pub failures: Vec<String>,
}

/// Runs a check and gathers what it remarks.
pub async fn scope<F: Future>(check: F) -> (F::Output, Remarks) {
    CURRENT
        .scope(Mutex::default(), async {
            let found = check.await;
            (found, CURRENT.with(|remarks| std::mem::take(&mut *remarks.lock())))
        })
        .await
}

/// Warns the client.
pub(crate) fn warn(text: &str) {
    // Nobody listens outside of a scope.
    let _ = CURRENT.try_with(|remarks| remarks.lock().warnings.push(text.to_owned()));
}

/// Tells that an authorizer got no answer.
pub(crate) fn fail(why: &str) {
    // Nobody listens outside of a scope.
    let _ = CURRENT.try_with(|remarks| remarks.lock().failures.push(why.to_owned()));
}

/// Annotates the request.
pub(crate) fn annotate(key: &str, value: String) {
    // Nobody listens outside of a scope.
    let _ = CURRENT.try_with(|remarks| remarks.lock().annotations.push((key.to_owned(), value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn remarks_stay_within_their_scope() {
        warn("lost");
        let (answer, remarks) = scope(async {
            warn("a");
            annotate("k", "v".to_owned());
            7
        })
        .await;
        assert_eq!((answer, remarks.warnings), (7, vec!["a".to_owned()]));
        assert_eq!(remarks.annotations, [("k".to_owned(), "v".to_owned())]);
        assert_eq!(scope(async {}).await.1, Remarks::default());
    }
}
