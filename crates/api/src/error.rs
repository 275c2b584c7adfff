//! What the API answers when it cannot do what was asked: `metav1.Status` with the stock reasons and wording.
//!
//! Every component returns [`ApiError`]; the server turns it into a `Status` body and an HTTP code.

use crate::field::FieldError;
use crate::resource::GroupResource;
use ironclad_json::{Value, json};
use std::fmt;

/// Machine-readable cause of a failure, as in `metav1.StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of metav1.StatusReason")]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// The name on the wire; `Unknown` is the empty string there.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::StoreReadError => "StorageReadError",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The HTTP status code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::BadRequest => 400,
            Self::ServiceUnavailable => 503,
            Self::ServerTimeout | Self::Timeout => 504,
            Self::Unknown | Self::StoreReadError | Self::InternalError => 500,
        }
    }
}

/// One entry of `status.details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For example `FieldValueRequired`, `FieldManagerConflict`, `DisruptionBudget`.
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// The path of the field, where there is one.
    pub field: String,
}

/// A failed request: code, reason, message and details, ready to become a `Status` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code; usually [`Reason::code`].
    pub code: u16,
    /// Machine-readable reason.
    pub reason: Reason,
    /// What a person reads.
    pub message: String,
    /// What the request was about; boxed to keep `Result`s small.
    pub details: Option<Box<Details>>,
    /// Warnings that go with it.
    pub warnings: Vec<String>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Object name.
    pub name: String,
    /// API group.
    pub group: String,
    /// Resource or kind.
    pub kind: String,
    /// Object uid.
    pub uid: String,
    /// The single causes.
    pub causes: Vec<Cause>,
    /// When to try again; 0 for never.
    pub retry_after_seconds: u32,
    /// A reason of somebody else's making, which stands in the place of ours.
    pub reason: String,
    /// With which token a list can go on all the same; it stands in the status's `metadata.continue`.
    pub next: String,
}

/// A result whose error is an [`ApiError`].
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// An error with the reason's own code and no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { code: reason.code(), reason, message: message.into(), details: None, warnings: Vec::new() }
    }

    /// The same error about `name` of `resource`.
    #[must_use]
    pub fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = resource.group.clone();
        details.kind = resource.resource.clone();
        details.name = name.to_owned();
        self
    }

    /// The same error with one more cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: impl Into<String>) -> Self {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// The same error with warnings before those that it has.
    #[must_use]
    pub fn warned(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings = warnings.into_iter().chain(self.warnings).collect();
        self
    }

    /// The same error asking the client to come back after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// The same error with a token with which a list can go on.
    #[must_use]
    pub fn with_continue(mut self, token: String) -> Self {
        self.details.get_or_insert_default().next = token;
        self
    }

    /// 404 `pods "x" not found`.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// 409 `pods "x" already exists`.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(Reason::AlreadyExists, format!("{resource} {name:?} already exists")).about(resource, name)
    }

    /// 409 `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(Reason::Conflict, message).about(resource, name)
    }

    /// 403 `pods "x" is forbidden: why`; without a name `pods is forbidden: why`; with neither `forbidden: why`.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {name:?} is forbidden: {why}")
        };
        Self::new(Reason::Forbidden, message).about(resource, name)
    }

    /// 404 for a path at which nothing is.
    pub fn no_such_path() -> Self {
        let error = Self::new(Reason::NotFound, "the server could not find the requested resource");
        Self { details: Some(Box::default()), ..error }
    }

    /// 401 with the stock message.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 500 `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {why}")).with_cause("", why.to_string(), "")
    }

    /// 410 for a resource version that history no longer holds.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 422 `Pod "x" is invalid: ...` with one cause per error; `kind` is the object's kind, not its resource.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = GroupResource::new(group, kind);
        let message = match errors {
            [] => format!("{qualified} {name:?} is invalid"),
            [one] => format!("{qualified} {name:?} is invalid: {one}"),
            many => {
                let mut seen = Vec::new();
                for text in many.iter().map(ToString::to_string) {
                    if !seen.contains(&text) {
                        seen.push(text);
                    }
                }
                match seen.as_slice() {
                    [one] => format!("{qualified} {name:?} is invalid: {one}"),
                    all => format!("{qualified} {name:?} is invalid: [{}]", all.join(", ")),
                }
            }
        };
        let mut error = Self::new(Reason::Invalid, message).about(&qualified, name);
        for e in errors {
            let path = if e.path.is_empty() { "<nil>" } else { &*e.path };
            error = error.with_cause(e.kind.cause(), e.body(), path);
        }
        error
    }

    /// The `Status` object that goes over the wire.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if self.reason != Reason::Unknown {
            status["reason"] = json!(self.reason.as_str());
        }
        if let Some(d) = &self.details {
            let mut details = ironclad_json::Map::new();
            let texts = [("name", &d.name), ("group", &d.group), ("kind", &d.kind), ("uid", &d.uid)];
            details.extend(texts.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), json!(v))));
            if !d.causes.is_empty() {
                details.insert("causes", d.causes.iter().map(Cause::to_value).collect());
            }
            if d.retry_after_seconds > 0 {
                details.insert("retryAfterSeconds", json!(d.retry_after_seconds));
            }
            if !details.is_empty() || self.reason == Reason::Forbidden || **d == Details::default() {
                status["details"] = Value::Object(details);
            }
            if !d.reason.is_empty() {
                status["reason"] = json!(d.reason);
            }
            if !d.next.is_empty() {
                status["metadata"]["continue"] = json!(d.next);
            }
        }
        status
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let fields = [("reason", &self.reason), ("message", &self.message), ("field", &self.field)];
        Value::Object(
            fields.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), json!(v))).collect(),
        )
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn invalid_lists_every_cause_in_the_stock_wording() {
        let spec = Path::new("spec");
        let errors = [
            FieldError::required(&spec.child("a"), ""),
            FieldError::invalid(&spec.child("b"), &json!(-1), "must be > 0"),
        ];
        let error = ApiError::invalid("apps", "Deployment", "web", &errors);
        assert_eq!(
            error.message,
            "Deployment.apps \"web\" is invalid: [spec.a: Required value, spec.b: Invalid value: -1: must be > 0]"
        );
        let status = error.to_status();
        assert_eq!(status["code"], 422);
        assert_eq!(status["details"]["causes"][1]["reason"], "FieldValueInvalid");
        assert_eq!(status["details"]["causes"][1]["message"], "Invalid value: -1: must be > 0");
        assert_eq!(status["details"]["kind"], "Deployment");
    }

    #[test]
    fn forbidden_names_what_it_knows() {
        let pods = GroupResource::new("", "pods");
        assert_eq!(ApiError::forbidden(&pods, "", "no").message, "pods is forbidden: no");
        assert_eq!(ApiError::forbidden(&pods, "a", "no").message, "pods \"a\" is forbidden: no");
    }
}
