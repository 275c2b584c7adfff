//! Identities that somebody tries to bring along without having them: each class of known attacks has its test.

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Uri};
use ironclad_api::{ApiError, UserInfo};
use ironclad_auth::pki::{Pki, Subject, verifier};
use ironclad_auth::{
    Anonymous, Attributes, Authenticator, Authorizer, Bearer, Certificates, Credentials, Decision, FrontProxy,
    LastModes, OrElse, RemoteHeaders, Rules, Union, impersonated, strip_impersonation,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;

struct World {
    _dir: tempfile::TempDir,
    pki: Pki,
    authenticator: OrElse,
}

fn world() -> World {
    ironclad_auth::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), "test").unwrap();
    let (front, _) = pki.front_proxy().unwrap();
    let allowed = vec!["front-proxy-client".to_owned()];
    let all: Vec<Arc<dyn Authenticator>> = vec![
        Arc::new(FrontProxy::new(verifier(&front).unwrap(), allowed, RemoteHeaders::default())),
        Arc::new(Certificates::new(verifier(pki.ca()).unwrap())),
        Arc::new(Bearer(Vec::new())),
    ];
    let authenticator = OrElse { known: Arc::new(Union(all)), otherwise: Arc::new(Anonymous::default()) };
    World { _dir: dir, pki, authenticator }
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (key, value) in list {
        map.append(*key, HeaderValue::from_str(value).unwrap());
    }
    map
}

impl World {
    async fn who(&self, certificate: Option<&str>, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.unwrap_or_default().as_bytes()).flatten().collect();
        let credentials = Credentials { certificates: &chain, headers, uri: &Uri::from_static("/") };
        self.authenticator.authenticate(credentials).await.map(|found| found.unwrap().user)
    }
}

#[tokio::test]
async fn front_proxy_headers_count_only_from_a_front_proxy() {
    let world = world();
    let smuggled = headers(&[
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-uid", "7"),
        ("x-remote-extra-acme.com%2fproject", "x"),
    ]);
    assert_eq!(world.who(None, &smuggled).await.unwrap().name, "system:anonymous");

    let bob = world.pki.issue("bob", &Subject::client("bob", "devs")).unwrap();
    let found = world.who(Some(&bob.certificate), &smuggled).await.unwrap();
    assert_eq!((found.name.as_str(), found.is_in("system:masters")), ("bob", false));

    // The name of the front proxy, signed by the wrong authority.
    let fake = world.pki.issue("fake", &Subject::client("front-proxy-client", "")).unwrap();
    assert_eq!(world.who(Some(&fake.certificate), &smuggled).await.unwrap().name, "front-proxy-client");

    let (_, proxy) = world.pki.front_proxy().unwrap();
    let admin = world.who(Some(&proxy.certificate), &smuggled).await.unwrap();
    assert_eq!((admin.name.as_str(), admin.uid.as_str()), ("admin", "7"));
    assert_eq!(admin.groups, ["system:masters", "system:authenticated"]);
    assert_eq!(admin.extra["acme.com/project"], ["x"]);
}

#[tokio::test]
async fn a_front_proxy_is_no_user_by_itself() {
    let world = world();
    let (_, proxy) = world.pki.front_proxy().unwrap();
    let error = world.who(Some(&proxy.certificate), &HeaderMap::new()).await.unwrap_err();
    assert_eq!(error.code, 401, "its authority signs no users");
}

#[tokio::test]
async fn a_certificate_of_a_stranger_is_a_bad_credential_and_not_none() {
    let world = world();
    let dir = tempfile::tempdir().unwrap();
    let stranger = Pki::open_or_create(dir.path(), "other").unwrap();
    let admin = stranger.issue("a", &Subject::client("admin", "system:masters")).unwrap();
    assert_eq!(world.who(Some(&admin.certificate), &HeaderMap::new()).await.unwrap_err().code, 401);
    let server = world.pki.issue("s", &Subject::server("admin", "system:masters", vec!["x".into()])).unwrap();
    assert_eq!(
        world.who(Some(&server.certificate), &HeaderMap::new()).await.unwrap_err().code,
        401,
        "for servers only"
    );
    let bad = headers(&[("authorization", "Bearer nonsense")]);
    assert_eq!(world.who(None, &bad).await.unwrap_err().code, 401);
    let certificate = world.pki.issue("bob", &Subject::client("bob", "")).unwrap().certificate;
    let bob = world.who(Some(&certificate), &HeaderMap::new()).await.unwrap();
    assert!(bob.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
}

/// Lets users impersonate names of users and nothing else.
struct NamesOnly;

#[async_trait]
impl Authorizer for NamesOnly {
    async fn authorize(&self, a: &Attributes) -> Decision {
        match a.resource.as_str() {
            "uids" | "groups" | "userextras" => Decision::NoOpinion(String::new()),
            _ => Decision::Allow(String::new()),
        }
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

#[tokio::test]
async fn impersonating_a_uid_a_group_or_an_extra_needs_a_permission_of_its_own() {
    let asked = Attributes { user: UserInfo::new("bob", &[]), verb: "get".into(), ..Attributes::default() };
    let jane = ("impersonate-user", "jane");
    let found = impersonated(&headers(&[jane]), &asked, &NamesOnly, &LastModes::default()).await.unwrap().unwrap();
    assert_eq!((found.user.name.as_str(), found.constraint.as_str()), ("jane", "impersonate:user-info"));
    let table = [
        (("impersonate-uid", "7"), "uids.authentication.k8s.io \"7\" is forbidden"),
        (("impersonate-group", "system:masters"), "groups.authentication.k8s.io \"system:masters\" is forbidden"),
        (("impersonate-extra-acme.com%2fscopes", "all"), "userextras.authentication.k8s.io \"all\" is forbidden"),
    ];
    for (header, message) in table {
        let error =
            impersonated(&headers(&[jane, header]), &asked, &NamesOnly, &LastModes::default()).await.unwrap_err();
        assert!(error.code == 403 && error.message.contains(message), "{error}");
    }
}

#[test]
fn nothing_behind_the_server_sees_who_sent_a_request() {
    let mut smuggled = headers(&[
        ("authorization", "Bearer secret"),
        ("x-remote-user", "admin"),
        ("x-remote-uid", "7"),
        ("x-remote-extra-a", "b"),
        ("impersonate-user", "jane"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-a", "b"),
        ("x-remote_group", "system:masters"),
        ("impersonate_user", "jane"),
        ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
        ("accept", "*/*"),
    ]);
    world().authenticator.strip(&mut smuggled);
    strip_impersonation(&mut smuggled);
    let mut left: Vec<_> = smuggled.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap())).collect();
    left.sort();
    assert_eq!(left, ["accept: */*", "sec-websocket-protocol: v5.channel.k8s.io"]);
}
