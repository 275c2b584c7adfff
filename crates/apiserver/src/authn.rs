//! Who asks, and whether they may: authentication, impersonation, authorization of one request.

use crate::metrics::Step;
use crate::request::Info;
use crate::server::{Connection, Inner, user_in_process};
use futures::FutureExt;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use ironclad_api::selector::FieldSelector;
use ironclad_api::{ApiError, UserInfo};
use ironclad_auth::{
    Attributes, Credentials, Decision, Impersonated, forbidden, impersonates, remarks, strip_impersonation,
};
use std::time::{Instant, SystemTime};

impl Inner {
    /// Whose credential a request brings along, and what the client is to be warned of.
    pub(crate) async fn authenticated(
        &self,
        info: &Info,
        request: &Parts,
    ) -> (Result<UserInfo, ApiError>, Vec<String>) {
        if let Some(user) = user_in_process(request) {
            return (Ok(user.clone()), Vec::new());
        }
        let began = Instant::now();
        let (found, remarks) = remarks::scope(self.checked(request)).await;
        self.metrics.doors.step(Step::Authentication, began.elapsed());
        for (key, value) in remarks.annotations {
            info.annotations.add(key, value);
        }
        (found, remarks.warnings)
    }

    async fn checked(&self, request: &Parts) -> Result<UserInfo, ApiError> {
        let connection = request.extensions.get::<Connection>().cloned().unwrap_or_default();
        let (headers, uri) = (&request.headers, &request.uri);
        let credentials = Credentials { certificates: &connection.certificates, headers, uri };
        let (began, doors) = (Instant::now(), &self.metrics.doors);
        match self.authenticator.authenticate(credentials).await {
            Ok(Some(found)) => {
                doors.authenticated("success", began.elapsed());
                doors.user(&found.user.name);
                if let Some(until) = connection.until.filter(|_| !headers.contains_key(AUTHORIZATION)) {
                    doors.certificate(until.duration_since(SystemTime::now()).unwrap_or_default());
                }
                Ok(found.user)
            }
            Ok(None) => {
                doors.authenticated("failure", began.elapsed());
                Err(ApiError::unauthorized())
            }
            Err(error) => {
                doors.authenticated("error", began.elapsed());
                tracing::debug!(%error, "a credential was refused");
                Err(ApiError::unauthorized())
            }
        }
    }

    /// As whom a request goes on.
    pub(crate) async fn impersonated(
        &self,
        real: UserInfo,
        info: &Info,
        request: &Parts,
    ) -> Result<UserInfo, ApiError> {
        if user_in_process(request).is_some() || !impersonates(&request.headers) {
            return Ok(real);
        }
        let attributes = attributes(&real, info);
        // Boxed: most requests are their own sender's.
        let found = ironclad_auth::impersonated(&request.headers, &attributes, &*self.authorizer, &self.modes);
        let found = found.boxed().await?;
        Ok(match found {
            Some(Impersonated { user, constraint }) => {
                ironclad_audit::note(|current| current.impersonated(&user, &constraint));
                user
            }
            None => real,
        })
    }

    /// Takes everything out of a request that says who sent it: whoever it goes on to must not take it for theirs.
    pub(crate) fn forget_credentials(&self, headers: &mut HeaderMap) {
        self.authenticator.strip(headers);
        headers.remove(AUTHORIZATION);
        strip_impersonation(headers);
    }

    /// Whether a request may go on.
    pub(crate) async fn authorize(&self, user: &UserInfo, info: &Info) -> Result<(), Refused> {
        self.require(&attributes(user, info)).await
    }

    async fn require(&self, attributes: &Attributes) -> Result<(), Refused> {
        let began = Instant::now();
        let (decision, remarks) = remarks::scope(self.authorizer.authorize(attributes)).await;
        let word = match decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(_) => "denied",
            Decision::NoOpinion(_) => "no-opinion",
        };
        self.metrics.doors.decided(word, began.elapsed());
        self.metrics.doors.step(Step::Authorization, began.elapsed());
        let (word, reason) = match &decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
        };
        ironclad_audit::note(|current| {
            current.annotate("authorization.k8s.io/decision", word);
            current.annotate("authorization.k8s.io/reason", reason);
        });
        match (decision, remarks.failures.as_slice()) {
            (Decision::Allow(_), _) => Ok(()),
            (Decision::Deny(reason) | Decision::NoOpinion(reason), []) => {
                Err(Refused::Forbidden(forbidden(attributes, &reason)))
            }
            (_, [one]) => Err(Refused::Unknown(one.clone())),
            (_, many) => Err(Refused::Unknown(format!("[{}]", many.join(", ")))),
        }
    }
}

/// Why a request does not go on.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Its user may not.
    Forbidden(ApiError),
    /// Nobody allowed it, and somebody who might have could not be asked.
    Unknown(String),
}

/// What a request asks for, by whom.
fn attributes(user: &UserInfo, info: &Info) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: info.verb.clone(),
        namespace: info.namespace.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        name: selected_name(info),
        path: info.path.clone(),
        is_resource: info.is_resource,
        field_selector: info.query.get("fieldSelector").to_owned(),
        label_selector: info.query.get("labelSelector").to_owned(),
    }
}

/// The one object that a request is about: a list or watch of a single name counts as one for that name, so that who
/// may read an object may also watch it.
pub(crate) fn selected_name(info: &Info) -> String {
    if !info.name.is_empty() || !matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        return info.name.clone();
    }
    let selector = FieldSelector::parse(info.query.get("fieldSelector"));
    selector.ok().and_then(|s| s.exact("metadata.name").map(str::to_owned)).unwrap_or_default()
}
