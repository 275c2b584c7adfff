//! Tokens of OpenID providers and of other issuers of JWTs: checked with the keys that the issuer publishes, turned into
//! users as the configuration maps their claims.
//!
//! Invariants: a token of another issuer is not looked at; keys are fetched when one is missing, and not more often than
//! every few seconds; a claim that is missing or of a wrong type never becomes a part of a user.

mod config;
mod distributed;
mod issuer;
mod mapping;

pub use config::{
    AnonymousConfiguration, AuthenticationConfiguration, ClaimMappings, ClaimOrExpression, ClaimValidationRule, Extra,
    Issuer, Jwt, PrefixedClaim, UserValidationRule,
};

use crate::{Authenticated, Authenticator, Credentials, metrics};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use distributed::Distributed;
use ironclad_api::ApiError;
use ironclad_json::Value;
use ironclad_remote::{Egress, Way};
use issuer::Keys;
use jsonwebtoken::{Algorithm, Validation};
use mapping::Mapping;
use std::time::Instant;

/// Clocks may differ by this many seconds.
const LEEWAY: u64 = 10;

/// Every way of signing that counts where the configuration does not choose.
pub const ALGORITHMS: &[&str] = &["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512"];

/// What is checked of every token, the user's own and those that hold claims of theirs.
struct Check {
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
}

/// The authenticator of one issuer.
pub struct Oidc {
    issuer: String,
    check: Check,
    keys: Keys,
    mapping: Mapping,
    distributed: Option<Distributed>,
}

impl Oidc {
    /// From a configuration that was checked; `algorithms` are the ways of signing that count.
    pub fn new(jwt: &Jwt, algorithms: &[&str]) -> Result<Self, String> {
        Self::by(jwt, algorithms, None)
    }

    /// The same, reached in the way that the configuration chooses.
    pub fn by(jwt: &Jwt, algorithms: &[&str], egress: Option<&Egress>) -> Result<Self, String> {
        let parse =
            |name: &&str| name.parse::<Algorithm>().map_err(|_| format!("the signing algorithm {name:?} is not known"));
        let way = match (jwt.issuer.egress_selector_type.as_deref(), egress) {
            (None | Some(""), _) => Way::default(),
            (Some(selector), None) => {
                return Err(format!("oidc: egress lookup required with egress selector type {selector:?}"));
            }
            (Some("cluster"), Some(egress)) => egress.cluster.clone(),
            (Some(_), Some(egress)) => egress.control_plane.clone(),
        };
        // Groups alone may stand elsewhere, and only where a claim is named for them.
        let groups = Some(jwt.claim_mappings.groups.claim.as_str()).filter(|c| !c.is_empty());
        Ok(Self {
            issuer: jwt.issuer.url.clone(),
            check: Check {
                audiences: jwt.issuer.audiences.clone(),
                algorithms: algorithms.iter().map(parse).collect::<Result<_, _>>()?,
            },
            keys: Keys::new(&jwt.issuer, &way)?,
            mapping: Mapping::new(jwt)?,
            distributed: groups.map(|claim| Distributed::new(claim, &jwt.issuer, &way)).transpose()?,
        })
    }

    async fn claims(&self, token: &str) -> Result<Value, String> {
        let mut claims = self.check.claims(&self.keys, token).await?;
        if let Some(distributed) = &self.distributed {
            distributed.expand(&mut claims, &self.check).await?;
        }
        Ok(claims)
    }
}

impl Check {
    /// The claims of a token that one of the keys has signed, for one of the audiences and for now.
    async fn claims(&self, keys: &Keys, token: &str) -> Result<Value, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| format!("malformed jwt: {e}"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("id token signed with unsupported algorithm, got {:?}", header.alg));
        }
        let mut validation = Validation::new(header.alg);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let mut why = "failed to verify id token signature".to_owned();
        for key in keys.find(header.kid.as_deref()).await? {
            match jsonwebtoken::decode::<Value>(token, &key, &validation) {
                Ok(decoded) => return self.audience(decoded.claims),
                Err(error) => {
                    if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::ExpiredSignature) {
                        why = "token is expired".to_owned();
                    }
                }
            }
        }
        Err(why)
    }

    fn audience(&self, claims: Value) -> Result<Value, String> {
        let mine = |text: &str| self.audiences.iter().any(|a| a == text);
        let fits = match &claims["aud"] {
            Value::String(one) => mine(one),
            Value::Array(many) => many.iter().filter_map(Value::as_str).any(mine),
            _ => false,
        };
        match fits {
            true => Ok(claims),
            false => Err(format!("expected audience in {:?} got {}", self.audiences, claims["aud"])),
        }
    }
}

/// Who a token says has made it, before anything is known of its truth.
fn untrusted_issuer(token: &str) -> Option<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts.as_slice() else { return None };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims["iss"].as_str().map(|issuer| match issuer {
        // One issuer left out the scheme before it was asked for.
        "accounts.google.com" => "https://accounts.google.com".to_owned(),
        other => other.to_owned(),
    })
}

#[async_trait]
impl Authenticator for Oidc {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, _: &[String]) -> Result<Option<Authenticated>, ApiError> {
        if untrusted_issuer(token).as_deref() != Some(self.issuer.as_str()) {
            return Ok(None);
        }
        let refused = |why: String| ApiError { message: format!("oidc: {why}"), ..ApiError::unauthorized() };
        let began = Instant::now();
        let user = match self.claims(token).await {
            Ok(claims) => self.mapping.user(&claims),
            Err(why) => Err(why),
        };
        let result = if user.is_ok() { "success" } else { "failure" };
        let labels = [("jwt_issuer_hash", &*metrics::hash(self.issuer.as_bytes())), ("result", result)];
        metrics::JWT_TIMES.took(&labels, began.elapsed());
        Ok(Some(Authenticated { user: user.map_err(refused)?, audiences: Vec::new() }))
    }
}
