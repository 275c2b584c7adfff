//! Issuers and webhooks that answer over real sockets: an OpenID provider, a token webhook, an authorization webhook.

use async_trait::async_trait;
use ironclad_api::UserInfo;
use ironclad_auth::oidc::{ALGORITHMS, AuthenticationConfiguration, Oidc};
use ironclad_auth::pki::{Pki, Subject};
use ironclad_auth::webhook::{AccessOptions, AccessWebhook, FailurePolicy, TokenWebhook};
use ironclad_auth::{Attributes, Authenticator, Authorizer, Decision};
use ironclad_json::{Value, json};
use ironclad_remote::{Remote, Target};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Answers of a server: from path and body to status and JSON.
#[async_trait]
trait Answers: Send + Sync + 'static {
    fn answer(&self, path: &str, body: &Value) -> (u16, Value);
}

impl<F: Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static> Answers for F {
    fn answer(&self, path: &str, body: &Value) -> (u16, Value) {
        self(path, body)
    }
}

struct World {
    _dir: tempfile::TempDir,
    pki: Pki,
    port: u16,
    asked: Arc<AtomicUsize>,
}

/// A server with a certificate of an authority of its own.
async fn world(answers: Arc<dyn Answers>) -> World {
    ironclad_auth::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), "provider").unwrap();
    let pair = pki.issue("s", &Subject::server("s", "", vec!["127.0.0.1".into()])).unwrap();
    let acceptor = TlsAcceptor::from(pki.server_tls(&pair).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answers, count) = (acceptor.clone(), answers.clone(), count.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut got = Vec::new();
                let mut buffer = [0; 8192];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    got.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&got).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
                    if body.len() < length {
                        continue;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let (status, value) = answers.answer(path, &serde_json::from_str(body).unwrap_or_default());
                    // A text is a token, which stands alone in a body.
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{value}", value.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    got.clear();
                }
            });
        }
    });
    World { _dir: dir, pki, port, asked }
}

impl World {
    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn remote(&self) -> Remote {
        let authorities = self.pki.ca().as_bytes().to_vec();
        Remote::new(&Target { url: format!("{}/hook", self.url()), authorities, ..Target::default() }).unwrap()
    }
}

fn token(key: &rcgen::KeyPair, id: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(id.to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap()).unwrap()
}

fn jwk(key: &rcgen::KeyPair, id: &str) -> Value {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let point = key.public_key_raw();
    json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id, "x": encode(&point[1..33]), "y": encode(&point[33..65])})
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_provider_count_by_the_keys_that_it_publishes() {
    let (key, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let issuer = Arc::new(Mutex::new(String::new()));
    let (published, told) = (jwk(&key, "k1"), issuer.clone());
    let answers = move |path: &str, _: &Value| {
        let issuer = told.lock().clone();
        match path {
            "/.well-known/openid-configuration" => {
                (200, json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
            }
            "/keys" => (200, json!({"keys": [published]})),
            _ => (404, Value::Null),
        }
    };
    let world = world(Arc::new(answers)).await;
    *issuer.lock() = world.url();
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{
            "issuer": {"url": world.url(), "audiences": ["cluster"], "certificateAuthority": world.pki.ca()},
            "claimMappings": {"username": {"claim": "sub", "prefix": "p:"}, "groups": {"expression": "claims.roles"}}}],
    });
    let configuration = AuthenticationConfiguration::parse(&configuration.to_string()).unwrap();
    let oidc = Oidc::new(&configuration.jwt[0], ALGORITHMS).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let claims = |field: &str, value: Value| {
        let mut claims = json!({"iss": world.url(), "aud": "cluster", "sub": "jane", "roles": ["devs"], "iat": now, "exp": now + 600});
        claims[field] = value;
        claims
    };
    let good = claims("nonce", json!("x"));
    let user = oidc.review(&token(&key, "k1", &good), &[]).await.unwrap().unwrap().user;
    assert_eq!((user.name.as_str(), user.groups[0].as_str()), ("p:jane", "devs"));
    let refused = [
        (token(&other, "k1", &good), "signature"),
        (token(&other, "k9", &good), "signature"),
        (token(&key, "k1", &claims("aud", json!("elsewhere"))), "audience"),
        (token(&key, "k1", &claims("exp", json!(now - 600))), "expired"),
    ];
    for (token, why) in refused {
        let error = oidc.review(&token, &[]).await.unwrap_err();
        assert!(error.code == 401 && error.message.contains(why), "{why}: {error}");
    }
    let foreign = token(&key, "k1", &claims("iss", json!("https://elsewhere")));
    assert_eq!(oidc.review(&foreign, &[]).await.unwrap(), None, "tokens of others are not looked at");
    assert_eq!(world.asked.load(Ordering::SeqCst), 2, "keys were fetched once, whatever tokens named");
}

/// What leads to the groups of a token that holds none itself.
fn leading_to(endpoint: &str) -> Value {
    json!({"endpoint": endpoint, "access_token": "open"})
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_may_stand_in_a_token_of_another_server() {
    let key = Arc::new(rcgen::KeyPair::generate().unwrap());
    let issuer = Arc::new(Mutex::new(String::new()));
    let now = jiff::Timestamp::now().as_second();
    let (published, told, signing) = (jwk(&key, "k1"), issuer.clone(), key.clone());
    let answers = move |path: &str, _: &Value| {
        let issuer = told.lock().clone();
        let groups = |field: &str, value: Value| {
            let mut claims = json!({"iss": issuer, "aud": "cluster", "exp": now + 600, "groups": ["devs", "ops"]});
            claims[field] = value;
            (200, Value::String(token(&signing, "k1", &claims).into()))
        };
        match path {
            "/.well-known/openid-configuration" => {
                (200, json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
            }
            "/keys" => (200, json!({"keys": [published]})),
            "/groups" => groups("nonce", Value::Null),
            "/elsewhere" => groups("aud", json!("elsewhere")),
            "/late" => groups("exp", json!(now - 600)),
            "/bare" => groups("groups", json!(7)),
            "/foreign" => groups("iss", json!("http://127.0.0.1:1")),
            _ => (404, Value::Null),
        }
    };
    let world = world(Arc::new(answers)).await;
    *issuer.lock() = world.url();
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{
            "issuer": {"url": world.url(), "audiences": ["cluster"], "certificateAuthority": world.pki.ca()},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": "p:"}}}],
    });
    let configuration = AuthenticationConfiguration::parse(&configuration.to_string()).unwrap();
    let oidc = Oidc::new(&configuration.jwt[0], ALGORITHMS).unwrap();
    let with = |more: Value| {
        let mut claims = json!({"iss": world.url(), "aud": "cluster", "sub": "jane", "exp": now + 600});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        token(&key, "k1", &claims)
    };
    let leading = |path: &str| {
        let sources = json!({"src1": leading_to(&format!("{}{path}", world.url()))});
        with(json!({"_claim_names": {"groups": "src1"}, "_claim_sources": sources}))
    };
    let found = oidc.review(&leading("/groups"), &[]).await.unwrap().unwrap().user;
    assert_eq!(found.groups, ["p:devs", "p:ops", "system:authenticated"]);
    let own = with(
        json!({"groups": ["mine"], "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": leading_to("https://127.0.0.1:1")}}),
    );
    assert_eq!(oidc.review(&own, &[]).await.unwrap().unwrap().user.groups[0], "p:mine", "its own claim counts");
    let refused = [
        (leading("/elsewhere"), "expected audience"),
        (leading("/late"), "expired"),
        (leading("/bare"), "neither a string nor a list"),
        (leading("/foreign"), "not reached over https"),
        (leading("/none"), "while getting distributed claim \"groups\""),
        (with(json!({"_claim_names": {"groups": "src1"}})), "no claim sources"),
        (with(json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {}})), "missing in _claims_sources"),
        (
            with(
                json!({"_claim_names": {"groups": "s"}, "_claim_sources": {"s": leading_to("http://169.254.169.254/")}}),
            ),
            "not reached over https",
        ),
    ];
    for (token, why) in refused {
        let error = oidc.review(&token, &[]).await.expect_err(why);
        assert!(error.code == 401 && error.message.contains(why), "{why}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_webhook_is_asked_once_for_a_token() {
    let answers = |_: &str, review: &Value| {
        let good = review["spec"]["token"] == "good" && review["kind"] == "TokenReview";
        (
            200,
            json!({"status": {"authenticated": good, "user": {"username": "jane", "uid": "7", "groups": ["devs"], "extra": {"a": ["b"]}}}}),
        )
    };
    let world = world(Arc::new(answers)).await;
    let hook = TokenWebhook::new(world.remote(), "v1", vec!["api".into()], Duration::from_mins(1));
    for _ in 0..3 {
        let found = hook.review("good", &[]).await.unwrap().unwrap();
        assert_eq!((found.user.name.as_str(), found.user.uid.as_str()), ("jane", "7"));
        assert_eq!((found.user.extra["a"][0].as_str(), found.audiences[0].as_str()), ("b", "api"));
    }
    assert_eq!(hook.review("bad", &[]).await.unwrap(), None);
    assert_eq!(world.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_webhook_decides_what_its_conditions_let_through() {
    let answers = |_: &str, review: &Value| {
        let spec = &review["spec"];
        let allowed = spec["user"] == "jane" && spec["resourceAttributes"]["verb"] == "get";
        let denied = spec["user"] == "mallory";
        match spec["user"] == "broken" {
            true => (400, Value::Null),
            false => (200, json!({"status": {"allowed": allowed, "denied": denied, "reason": "hook"}})),
        }
    };
    let world = world(Arc::new(answers)).await;
    let options = AccessOptions {
        failure: FailurePolicy::Deny,
        conditions: vec!["has(request.resourceAttributes) && request.resourceAttributes.namespace == 'a'".into()],
        ..AccessOptions::default()
    };
    let hook = AccessWebhook::new(world.remote(), options).unwrap();
    let ask = |user: &str, verb: &str, namespace: &str| Attributes {
        user: UserInfo::new(user, &[]),
        verb: verb.into(),
        namespace: namespace.into(),
        resource: "pods".into(),
        is_resource: true,
        ..Attributes::default()
    };
    let table = [
        (ask("jane", "get", "a"), Decision::Allow("hook".into())),
        (ask("jane", "get", "a"), Decision::Allow("hook".into())),
        (ask("jane", "list", "a"), Decision::NoOpinion("hook".into())),
        (ask("mallory", "get", "a"), Decision::Deny("hook".into())),
        (ask("broken", "get", "a"), Decision::Deny(String::new())),
        (ask("jane", "get", "b"), Decision::NoOpinion(String::new())),
    ];
    for (attributes, wanted) in table {
        assert_eq!(hook.authorize(&attributes).await, wanted, "{attributes:?}");
    }
    assert_eq!(world.asked.load(Ordering::SeqCst), 4, "an answer is kept, and the last was never asked");
}
