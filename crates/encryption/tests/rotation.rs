//! The whole way: keys in a file, values sealed under stock's prefixes, keys replaced, a plugin that keeps the key.

use ironclad_encryption::{Configuration, Encryption, Keyring, Resources};
use ironclad_store::Transform;
use std::os::unix::fs::PermissionsExt;

fn resources() -> Resources {
    let pairs = [("/registry/secrets/", "secrets"), ("/registry/pods/", "pods")];
    Resources::new(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())))
}

const KEY: &str = "/registry/secrets/default/a";

#[test]
fn a_cluster_seals_secrets_by_default_and_its_key_rotates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pki/encryption.yaml");
    let ring = Keyring::new(&path);
    let encryption = Encryption::new(&ring.open_or_create().unwrap(), resources()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(encryption.seals(KEY) && !encryption.seals("/registry/pods/default/a"));

    let sealed = encryption.seal(KEY, b"{\"data\":1}").unwrap();
    assert!(sealed.starts_with(b"k8s:enc:secretbox:v1:key1:"));
    let opened = encryption.open(KEY, &sealed).unwrap();
    assert_eq!((opened.plain.as_slice(), opened.stale), (&b"{\"data\":1}"[..], false));
    let before = encryption.open(KEY, b"{}").unwrap();
    assert_eq!((before.plain.as_slice(), before.stale), (&b"{}"[..], true), "written before there was a key");

    assert_eq!(ring.rotate().unwrap(), "key2");
    encryption.replace(&Configuration::read(&path).unwrap()).unwrap();
    assert!(encryption.open(KEY, &sealed).unwrap().stale);
    let newer = encryption.seal(KEY, b"x").unwrap();
    assert!(newer.starts_with(b"k8s:enc:secretbox:v1:key2:"));

    assert!(ring.prune().is_err(), "older keys may still be needed");
    ring.note_sealed(&Configuration::read(&path).unwrap()).unwrap();
    ring.prune().unwrap();
    encryption.replace(&Configuration::read(&path).unwrap()).unwrap();
    assert!(encryption.open(KEY, &sealed).is_err(), "the old key is gone");
    assert_eq!(encryption.open(KEY, &newer).unwrap().plain, b"x");
    assert!(
        encryption.open("/registry/pods/default/a", &newer).is_err(),
        "sealed bytes are never taken for plain ones"
    );
}

mod kms {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use ironclad_encryption::Pace;
    use prost::Message;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    #[derive(Clone, PartialEq, Message)]
    struct Status {
        #[prost(string, tag = "1")]
        version: String,
        #[prost(string, tag = "2")]
        healthz: String,
        #[prost(string, tag = "3")]
        key_id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Blob {
        #[prost(bytes = "vec", tag = "1")]
        bytes: Vec<u8>,
        #[prost(string, tag = "2")]
        key_id: String,
    }

    /// What the plugin says of itself.
    struct Says {
        key: String,
        health: String,
    }

    type Told = Arc<Mutex<Says>>;

    fn says(key: &str, health: &str) -> Told {
        Arc::new(Mutex::new(Says { key: key.to_owned(), health: health.to_owned() }))
    }

    fn serve(socket: &std::path::Path, told: &Told) {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let told = told.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                let service = hyper::service::service_fn(move |request| answer(told.clone(), request));
                tokio::spawn(async move {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                });
            }
        });
    }

    fn configuration(socket: &std::path::Path) -> Configuration {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: ['*.']\n  providers: [{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}'}}}}, {{identity: {{}}}}]\n",
            socket.display()
        );
        Configuration::parse(&text).unwrap()
    }

    /// A plugin whose key is to flip every bit.
    async fn answer(
        told: Told,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (key, health) = {
            let told = told.lock().unwrap();
            (told.key.clone(), told.health.clone())
        };
        let flip = |bytes: &[u8]| bytes.iter().map(|b| !b).collect::<Vec<u8>>();
        let message = match path.as_str() {
            "/v2.KeyManagementService/Status" => {
                Status { version: "v2".into(), healthz: health, key_id: key }.encode_to_vec()
            }
            _ => {
                let blob = Blob::decode(&body[5..]).unwrap();
                Blob { bytes: flip(&blob.bytes), key_id: if path.ends_with("Encrypt") { key } else { String::new() } }
                    .encode_to_vec()
            }
        };
        let mut out = BytesMut::new();
        out.put_u8(0);
        out.put_u32(message.len() as u32);
        out.extend_from_slice(&message);
        let trailers =
            async { Some(Ok(http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))) };
        let body = Full::new(out.freeze()).with_trailers(trailers).boxed();
        Ok(http::Response::builder().header("content-type", "application/grpc").body(body).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plugin_keeps_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("kms.sock");
        serve(&socket, &says("k", "ok"));
        let configuration = configuration(&socket);
        let make = move || Encryption::new(&configuration, resources()).unwrap();
        let (one, two) = tokio::task::spawn_blocking(move || (make(), make())).await.unwrap();
        let sealed = one.seal(KEY, b"secret").unwrap();
        assert!(sealed.starts_with(b"k8s:enc:kms:v2:vault:") && !sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(one.open(KEY, &sealed).unwrap().plain, b"secret");
        let opened = tokio::task::spawn_blocking(move || two.open(KEY, &sealed)).await.unwrap().unwrap();
        assert_eq!(
            (opened.plain.as_slice(), opened.stale),
            (&b"secret"[..], false),
            "another process opens it through the plugin"
        );
    }

    fn until(what: &str, mut good: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !good() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plugin_changes_its_key_falls_ill_and_gets_well() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("kms.sock");
        let told = says("one", "ok");
        serve(&socket, &told);
        let configuration = configuration(&socket);
        let check = move || {
            let quick = Duration::from_millis(20);
            let pace = Pace { good: quick, bad: quick, trust: Duration::from_millis(300) };
            let encryption = Encryption::paced(&configuration, resources(), pace).unwrap();
            let old = encryption.seal(KEY, b"secret").unwrap();
            assert!(!encryption.open(KEY, &old).unwrap().stale);
            assert_eq!(encryption.plugins(), [None]);
            told.lock().unwrap().key = "two".to_owned();
            until("what the old key sealed is stale", || encryption.open(KEY, &old).unwrap().stale);
            assert_eq!(encryption.open(KEY, &old).unwrap().plain, b"secret");
            let new = encryption.seal(KEY, b"other").unwrap();
            assert!(!encryption.open(KEY, &new).unwrap().stale && new.windows(3).any(|w| w == b"two"));

            told.lock().unwrap().health = "the vault is sealed".to_owned();
            until("its illness is told", || encryption.plugins()[0].is_some());
            assert_eq!(encryption.plugins()[0].as_deref(), Some("got unexpected healthz status: the vault is sealed"));
            until("nothing new is written with a key that may be gone", || encryption.ready(KEY).is_err());
            assert!(encryption.ready("/registry/nothing").is_ok());
            assert_eq!(encryption.open(KEY, &new).unwrap().plain, b"other", "it is still read");
            assert!(encryption.seal(KEY, b"other").is_ok(), "what is there can be written anew");
            told.lock().unwrap().health = "ok".to_owned();
            until("it is well again", || encryption.ready(KEY).is_ok() && encryption.plugins() == [None]);
            assert!(!encryption.open(KEY, &new).unwrap().stale, "the key is the same");
        };
        tokio::task::spawn_blocking(check).await.unwrap();
    }

    #[test]
    fn a_plugin_that_is_not_there_is_named() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: vault, endpoint: 'unix:///nowhere.sock', timeout: 1s}}]\n";
        let error = Encryption::new(&Configuration::parse(text).unwrap(), resources()).err().unwrap().to_string();
        assert!(error.contains("\"vault\"") && error.contains("/nowhere.sock"), "{error}");
    }
}
