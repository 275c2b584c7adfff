//! Tokens of service accounts (KEP-1205): signed, bound to what they were made for, checked against what still exists.

mod check;
mod keys;

use crate::{Authenticated, Authenticator, Credentials, remarks};
use async_trait::async_trait;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, FieldError, GroupResource, Path, UserInfo, object, time};
use ironclad_json::{Value, json};
use jsonwebtoken::Header;
use keys::{Known, Signer};
use std::sync::Arc;

const GROUP: &str = "authentication.k8s.io";
const HOUR: i64 = 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// What kubelets ask for on behalf of programs that may not know that tokens end.
const EXTENDED_FROM: i64 = 3607;
const EXTENDED_TO: i64 = 365 * 24 * HOUR;
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// Called when the token of a Secret was used: namespace, name, the Secret.
pub type Used = Arc<dyn Fn(&str, &str, &Value) + Send + Sync>;

/// How tokens are made and which ones count.
#[derive(Clone)]
pub struct Options {
    /// The first issues, all of them count.
    pub issuers: Vec<String>,
    /// The audiences of the API itself.
    pub audiences: Vec<String>,
    /// The key that signs, as PEM.
    pub signing_key: String,
    /// Further keys whose signatures count, as PEM.
    pub keys: Vec<String>,
    /// The longest life of a token, in seconds; none for stock's limit.
    pub max_expiration: Option<i64>,
    /// Whether tokens of pods last a year, with a warning behind the time that was asked for.
    pub extend: bool,
    /// Where the keys are published, if not below the issuer.
    pub jwks_uri: Option<String>,
    /// Told of the use of Secrets' tokens.
    pub used: Option<Used>,
}

/// Makes and checks tokens.
pub struct Tokens {
    signer: Signer,
    known: Vec<Known>,
    options: Options,
    source: Arc<dyn Source>,
}

impl Tokens {
    /// From a signing key as PEM; `issuer` is also the audience of tokens for the API.
    pub fn new(key: &str, issuer: &str, source: Arc<dyn Source>) -> Result<Self, String> {
        let options = Options {
            issuers: vec![issuer.to_owned()],
            audiences: vec![issuer.to_owned()],
            signing_key: key.to_owned(),
            keys: Vec::new(),
            max_expiration: None,
            extend: true,
            jwks_uri: None,
            used: None,
        };
        Self::with(options, source)
    }

    /// From options, of which at least one issuer and one audience.
    pub fn with(options: Options, source: Arc<dyn Source>) -> Result<Self, String> {
        if options.issuers.is_empty() || options.audiences.is_empty() {
            return Err("there is no issuer or no audience".to_owned());
        }
        let (signer, own) = keys::signer(&options.signing_key)?;
        let mut known = vec![own];
        for text in &options.keys {
            for key in keys::public(text)? {
                if !known.iter().any(|k| k.id == key.id) {
                    known.push(key);
                }
            }
        }
        Ok(Self { signer, known, options, source })
    }

    /// The audiences of the API itself.
    pub fn audiences(&self) -> &[String] {
        &self.options.audiences
    }

    /// Whose tokens count.
    pub fn issuers(&self) -> &[String] {
        &self.options.issuers
    }

    fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        let mut header = Header::new(self.signer.algorithm);
        header.kid = Some(self.signer.id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, claims, &self.signer.encoding).map_err(ApiError::internal)
    }

    /// How long a token lives that asks for so many seconds.
    fn life(&self, seconds: Option<i64>) -> Result<i64, ApiError> {
        let seconds = seconds.unwrap_or(HOUR);
        let why = match seconds {
            ..SHORTEST => Some("may not specify a duration less than 10 minutes"),
            s if s > LONGEST => Some("may not specify a duration larger than 2^32 seconds"),
            _ => None,
        };
        if let Some(why) = why {
            let error = FieldError::invalid(&Path::new("spec").child("expirationSeconds"), &json!(seconds), why);
            return Err(ApiError::invalid(GROUP, "TokenRequest", "", &[error]));
        }
        Ok(seconds)
    }

    /// What is left of a life by this server's limit; whoever asked for more is told.
    fn shortened(&self, seconds: i64) -> i64 {
        let Some(most) = self.options.max_expiration.filter(|most| (1..seconds).contains(most)) else { return seconds };
        remarks::warn(&format!("requested expiration of {seconds} seconds shortened to {most} seconds"));
        most
    }

    /// Answers a `TokenRequest`.
    pub fn issue(&self, namespace: &str, name: &str, request: &Value) -> Result<Value, ApiError> {
        let account = self.asked_of(namespace, name, request)?;
        let spec = &request["spec"];
        let seconds = self.life(spec["expirationSeconds"].as_i64())?;
        let mut audiences: Vec<Value> = spec["audiences"].as_array().cloned().unwrap_or_default();
        if audiences.is_empty() {
            audiences = self.options.audiences.iter().map(|a| json!(a)).collect();
        }
        let mut bound = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": object::uid(&account)}});
        self.bind(namespace, name, &spec["boundObjectRef"], &mut bound)?;
        let seconds = self.shortened(seconds);
        let now = jiff::Timestamp::now().as_second();
        let own = audiences.iter().all(|a| self.options.audiences.iter().any(|o| a == o.as_str()));
        let mut end = now + seconds;
        if self.options.extend && seconds == EXTENDED_FROM && own && bound["pod"].is_object() {
            bound["warnafter"] = json!(end);
            end = now + self.options.max_expiration.map_or(EXTENDED_TO, |most| EXTENDED_TO.min(most));
        }
        let claims = json!({
            "iss": self.options.issuers[0], "sub": account_user(namespace, name, "").name, "aud": audiences,
            "iat": now, "nbf": now, "exp": end, "jti": uuid::Uuid::new_v4().to_string(), "kubernetes.io": bound,
        });
        let token = self.sign(&claims)?;
        let expires = jiff::Timestamp::from_second(now + seconds).map(time::rfc3339).unwrap_or_default();
        let mut answer = request.clone();
        answer["kind"] = json!("TokenRequest");
        answer["apiVersion"] = json!("authentication.k8s.io/v1");
        for (field, value) in [
            ("name", name),
            ("namespace", namespace),
            ("uid", object::uid(&account)),
            ("creationTimestamp", &*time::now()),
        ] {
            answer["metadata"][field] = json!(value);
        }
        answer["spec"]["audiences"] = Value::Array(audiences.into());
        answer["spec"]["expirationSeconds"] = json!(seconds);
        // Written also when it is not there.
        answer["spec"]["boundObjectRef"] = spec["boundObjectRef"].clone();
        answer["status"] = json!({"token": token, "expirationTimestamp": expires});
        Ok(answer)
    }

    /// The account that a request is about, if what the request says of itself fits.
    fn asked_of(&self, namespace: &str, name: &str, request: &Value) -> Result<Value, ApiError> {
        let meta = |field: &str| object::text(request, &["metadata", field]).to_owned();
        for (field, wanted) in [("name", name), ("namespace", namespace)] {
            let given = meta(field);
            if !given.is_empty() && given != wanted {
                let why = format!("must match the service account {field} if specified");
                let error = FieldError::invalid_str(&Path::new("metadata").child(field), &given, why);
                return Err(ApiError::invalid(GROUP, "TokenRequest", name, &[error]));
            }
        }
        let accounts = GroupResource::new("", "serviceaccounts");
        let account =
            self.source.get(&accounts, namespace, name).ok_or_else(|| ApiError::not_found(&accounts, name))?;
        let (asked, uid) = (meta("uid"), object::uid(&account));
        if !asked.is_empty() && asked != uid {
            let why =
                format!("the UID in the token request ({asked}) does not match the UID of the service account ({uid})");
            return Err(ApiError::conflict(&GroupResource::new(GROUP, "TokenRequest"), name, why));
        }
        Ok((*account).clone())
    }

    /// Binds claims to the pod, secret or node that a token is for.
    fn bind(&self, namespace: &str, account: &str, reference: &Value, bound: &mut Value) -> Result<(), ApiError> {
        if !reference.is_object() {
            return Ok(());
        }
        let of = |field: &str| object::text(reference, &[field]);
        let (name, kind) = (of("name"), of("kind"));
        let (group, version) = of("apiVersion").split_once('/').unwrap_or(("", of("apiVersion")));
        let (plural, claim, place) = match (group, kind) {
            ("", "Pod") => ("pods", "pod", namespace),
            ("", "Secret") => ("secrets", "secret", namespace),
            ("", "Node") => ("nodes", "node", ""),
            _ => {
                let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
                return Err(ApiError::bad_request(why));
            }
        };
        if name.is_empty() {
            return Err(ApiError::bad_request("Name parameter required."));
        }
        let resource = GroupResource::new("", plural);
        let found = self.source.get(&resource, place, name).ok_or_else(|| ApiError::not_found(&resource, name))?;
        if kind == "Pod" {
            if object::text(&found, &["spec", "serviceAccountName"]) != account {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = object::text(&found, &["spec", "nodeName"]);
            let known = self.source.get(&GroupResource::new("", "nodes"), "", node);
            match known {
                Some(known) => bound["node"] = json!({"name": node, "uid": object::uid(&known)}),
                // The name alone still says where the pod is to run.
                None if !node.is_empty() => bound["node"] = json!({"name": node}),
                None => {}
            }
        }
        let uid = of("uid");
        if !uid.is_empty() && uid != object::uid(&found) {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict(&GroupResource::new("", kind), name, why));
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
            "iss": LEGACY_ISSUER, "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account,
            "kubernetes.io/serviceaccount/service-account.uid": account_uid,
        }))
    }

    /// The OpenID configuration and the public keys.
    pub fn documents(&self) -> (Value, Value) {
        let issuer = &self.options.issuers[0];
        let uri =
            self.options.jwks_uri.clone().unwrap_or_else(|| format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')));
        let mut algorithms: Vec<&Value> = self.known.iter().map(|k| &k.published["alg"]).collect();
        algorithms.dedup();
        let configuration = json!({
            "issuer": issuer, "jwks_uri": uri,
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        let keys: Vec<&Value> = self.known.iter().map(|k| &k.published).collect();
        (configuration, json!({"keys": keys}))
    }
}

fn quoted(texts: &[String]) -> String {
    texts.iter().map(|t| format!("{t:?}")).collect::<Vec<_>>().join(" ")
}

/// The user that a service account is.
fn account_user(namespace: &str, name: &str, uid: &str) -> UserInfo {
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    let mut user = UserInfo::new(&format!("system:serviceaccount:{namespace}:{name}"), &[&groups[0], &groups[1]]);
    uid.clone_into(&mut user.uid);
    user
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        self.check(token, if audiences.is_empty() { &self.options.audiences } else { audiences })
    }
}
