//! Tokens of service accounts (KEP-1205): signed, bound to what they were made for, checked against what still exists.

use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, FieldError, GroupResource, Path, UserInfo, object, time};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

const HOUR: i64 = 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

/// Makes and checks tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    /// The public key's coordinates, for the published keys.
    point: (String, String),
    issuer: String,
    audience: String,
    source: Arc<dyn Source>,
}

impl Tokens {
    /// From a signing key as PEM; `issuer` is also the audience of tokens for the API.
    pub fn new(key: &str, issuer: &str, source: Arc<dyn Source>) -> Result<Self, String> {
        let pair = rcgen::KeyPair::from_pem(key).map_err(|e| e.to_string())?;
        let public = pair.public_key_raw().to_vec();
        let (x, y) = public.get(1..33).zip(public.get(33..65)).ok_or("the key is none of the curve P-256")?;
        let point = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self {
            encoding: EncodingKey::from_ec_pem(key.as_bytes()).map_err(|e| e.to_string())?,
            decoding: DecodingKey::from_ec_components(&point.0, &point.1).map_err(|e| e.to_string())?,
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(&public)),
            point,
            issuer: issuer.to_owned(),
            audience: issuer.to_owned(),
            source,
        })
    }

    fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(ApiError::internal)
    }

    /// Answers a `TokenRequest`.
    pub fn issue(&self, namespace: &str, name: &str, request: &Value) -> Result<Value, ApiError> {
        let accounts = GroupResource::new("", "serviceaccounts");
        let account =
            self.source.get(&accounts, namespace, name).ok_or_else(|| ApiError::not_found(&accounts, name))?;
        let spec = &request["spec"];
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(HOUR);
        let path = Path::new("spec").child("expirationSeconds");
        let why = match seconds {
            ..SHORTEST => Some("may not specify a duration less than 10 minutes"),
            s if s > LONGEST => Some("may not specify a duration larger than 2^32 seconds"),
            _ => None,
        };
        if let Some(why) = why {
            let error = FieldError::invalid(&path, &json!(seconds), why);
            return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", name, &[error]));
        }
        let mut audiences: Vec<Value> = spec["audiences"].as_array().cloned().unwrap_or_default();
        if audiences.is_empty() {
            audiences.push(json!(self.audience));
        }
        let mut bound = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": object::uid(&account)}});
        self.bind(namespace, name, &spec["boundObjectRef"], &mut bound)?;
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "iss": self.issuer, "sub": format!("system:serviceaccount:{namespace}:{name}"), "aud": audiences,
            "iat": now, "nbf": now, "exp": now + seconds, "jti": uuid::Uuid::new_v4().to_string(), "kubernetes.io": bound,
        });
        let token = self.sign(&claims)?;
        let expires = jiff::Timestamp::from_second(now + seconds).map(time::rfc3339).unwrap_or_default();
        let mut answer = request.clone();
        answer["kind"] = json!("TokenRequest");
        answer["apiVersion"] = json!("authentication.k8s.io/v1");
        answer["metadata"] = json!({"name": name, "namespace": namespace, "creationTimestamp": time::now()});
        answer["spec"]["audiences"] = Value::Array(audiences);
        answer["spec"]["expirationSeconds"] = json!(seconds);
        answer["status"] = json!({"token": token, "expirationTimestamp": expires});
        Ok(answer)
    }

    /// Binds claims to the pod, secret or node that a token is for.
    fn bind(&self, namespace: &str, account: &str, reference: &Value, bound: &mut Value) -> Result<(), ApiError> {
        let Some(kind) = reference["kind"].as_str() else { return Ok(()) };
        let name = object::text(reference, &["name"]);
        let (plural, claim, place) = match kind {
            "Pod" => ("pods", "pod", namespace),
            "Secret" => ("secrets", "secret", namespace),
            "Node" => ("nodes", "node", ""),
            other => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to object of kind {other:?}"
                )));
            }
        };
        let resource = GroupResource::new("", plural);
        let found = self.source.get(&resource, place, name).ok_or_else(|| ApiError::not_found(&resource, name))?;
        let uid = object::text(reference, &["uid"]);
        if !uid.is_empty() && uid != object::uid(&found) {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict(&resource, name, why));
        }
        if kind == "Pod" {
            let of = object::text(&found, &["spec", "serviceAccountName"]);
            if of != account {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = object::text(&found, &["spec", "nodeName"]);
            if let Some(node) = self.source.get(&GroupResource::new("", "nodes"), "", node) {
                bound["node"] = json!({"name": object::name(&node), "uid": object::uid(&node)});
            }
        }
        bound[claim] = json!({"name": name, "uid": object::uid(&found)});
        Ok(())
    }

    /// A token without end for a Secret of type `kubernetes.io/service-account-token`.
    pub fn for_secret(
        &self,
        namespace: &str,
        account: &str,
        account_uid: &str,
        secret: &str,
    ) -> Result<String, ApiError> {
        self.sign(&json!({
            "iss": "kubernetes/serviceaccount", "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account,
            "kubernetes.io/serviceaccount/service-account.uid": account_uid,
        }))
    }

    /// The OpenID configuration and the public keys.
    pub fn documents(&self) -> (Value, Value) {
        let configuration = json!({
            "issuer": self.issuer, "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let key = json!({"use": "sig", "kty": "EC", "kid": self.key_id, "alg": "ES256", "crv": "P-256", "x": self.point.0, "y": self.point.1});
        (configuration, json!({"keys": [key]}))
    }

    /// The token's owner, if it is good for one of `wanted`; tokens for others are none.
    fn good_for(&self, token: &str, wanted: &[String]) -> Result<Authenticated, ApiError> {
        let mut found = self.check(token)?.ok_or_else(ApiError::unauthorized)?;
        found.audiences.retain(|a| wanted.contains(a));
        if found.audiences.is_empty() { Err(ApiError::unauthorized()) } else { Ok(found) }
    }

    fn check(&self, token: &str) -> Result<Option<Authenticated>, ApiError> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = 10;
        validation.required_spec_claims.clear();
        let Ok(decoded) = jsonwebtoken::decode::<Value>(token, &self.decoding, &validation) else { return Ok(None) };
        let claims = decoded.claims;
        let refused = || Err(ApiError::unauthorized());
        let (namespace, account, uid, bound) = if claims["iss"] == "kubernetes/serviceaccount" {
            let text = |key: &str| {
                claims[&format!("kubernetes.io/serviceaccount/{key}")].as_str().unwrap_or_default().to_owned()
            };
            let bound = json!({"secret": {"name": text("secret.name")}});
            (text("namespace"), text("service-account.name"), text("service-account.uid"), bound)
        } else {
            if claims["iss"] != self.issuer || claims["exp"].is_null() {
                return refused();
            }
            let bound = claims["kubernetes.io"].clone();
            let text = |path: &[&str]| object::text(&bound, path).to_owned();
            (text(&["namespace"]), text(&["serviceaccount", "name"]), text(&["serviceaccount", "uid"]), bound)
        };
        let Some(found) = self.source.get(&GroupResource::new("", "serviceaccounts"), &namespace, &account) else {
            return refused();
        };
        if object::uid(&found) != uid || long_gone(&found) || !self.still_there(&namespace, &bound) {
            return refused();
        }
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let mut user =
            UserInfo::new(&format!("system:serviceaccount:{namespace}:{account}"), &[&groups[0], &groups[1]]);
        user.uid = uid;
        for claim in ["pod", "node"] {
            for part in ["name", "uid"] {
                if let Some(value) = bound[claim][part].as_str() {
                    user.extra.insert(format!("authentication.kubernetes.io/{claim}-{part}"), vec![value.to_owned()]);
                }
            }
        }
        if let Some(id) = claims["jti"].as_str() {
            user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={id}")]);
        }
        let audiences: Vec<String> = match &claims["aud"] {
            Value::Array(list) => list.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect(),
            Value::String(one) => vec![one.clone()],
            _ => vec![self.audience.clone()],
        };
        Ok(Some(Authenticated { user, audiences }))
    }

    /// Whether what a token is bound to exists, and is what it was. The node of a pod is told, not checked.
    fn still_there(&self, namespace: &str, bound: &Value) -> bool {
        let to = [("pod", "pods", namespace), ("secret", "secrets", namespace), ("node", "nodes", "")];
        let Some((claim, plural, place)) = to.into_iter().find(|(claim, ..)| bound[*claim]["name"].is_string()) else {
            return true;
        };
        let found = self.source.get(&GroupResource::new("", plural), place, object::text(bound, &[claim, "name"]));
        found.is_some_and(|found| {
            !long_gone(&found) && bound[claim]["uid"].as_str().is_none_or(|uid| uid == object::uid(&found))
        })
    }
}

/// Whether an object's deletion began more than a minute before: until then its last words are still heard.
fn long_gone(object: &Value) -> bool {
    let at = object::text(object, &["metadata", "deletionTimestamp"]).parse::<jiff::Timestamp>();
    at.is_ok_and(|at| at.as_second() + 60 < jiff::Timestamp::now().as_second())
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        let own = std::slice::from_ref(&self.audience);
        self.good_for(token, if audiences.is_empty() { own } else { audiences }).map(Some)
    }
}
