//! How a kubelet gets its certificates from the cluster (KEP-43, "TLS bootstrapping"): the first to show to the API server
//! by a bootstrap token, later ones by the one that it has, and the one that it serves with.
//!
//! Invariants: a certificate and its key lie in one file, of mode 0600, written whole or not at all; the newest is
//! `<name>-current.pem`; a key never leaves the machine.

use crate::failure::{Context, Failure, Id, Result};
use ironclad_auth::pki::{self, Pair, Subject};
use ironclad_client::informer::Filter;
use ironclad_client::{Client, Informers};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long the cluster may take to sign; asked anew afterwards.
const SIGNING: Duration = Duration::from_mins(15);
/// Between two tries that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// The certificates of one purpose.
#[derive(Clone)]
pub(super) struct Purpose {
    /// With what its files begin: `kubelet-client`.
    file: &'static str,
    signer: &'static str,
    usage: &'static str,
    subject: Subject,
    dir: PathBuf,
}

impl Purpose {
    /// To show to the API server.
    pub(super) fn client(dir: &Path, node: &str) -> Self {
        let subject = Subject::client(&format!("system:node:{node}"), "system:nodes");
        let signer = "kubernetes.io/kube-apiserver-client-kubelet";
        Self { file: "kubelet-client", signer, usage: "client auth", subject, dir: dir.to_owned() }
    }

    /// To show to those who ask the kubelet.
    pub(super) fn serving(dir: &Path, node: &str, names: Vec<String>) -> Self {
        let subject = Subject::server(&format!("system:node:{node}"), "system:nodes", names);
        let signer = "kubernetes.io/kubelet-serving";
        Self { file: "kubelet-server", signer, usage: "server auth", subject, dir: dir.to_owned() }
    }

    pub(super) fn current(&self) -> PathBuf {
        self.dir.join(format!("{}-current.pem", self.file))
    }

    /// The newest one, when it is good still.
    pub(super) fn kept(&self) -> Option<Pair> {
        let pair = pki::read_pair(&self.current(), &self.current()).ok()?;
        pki::validity(&pair.certificate).filter(|(_, end)| *end > SystemTime::now()).map(|_| pair)
    }

    /// Asks for a certificate and waits until it is there.
    async fn ask(&self, client: &Client) -> Result<Pair> {
        let (request, key) = pki::request(&self.subject).context("cannot make a certificate request")?;
        let mut asked = CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.into_bytes()),
                signer_name: self.signer.to_owned(),
                usages: Some(vec!["digital signature".to_owned(), self.usage.to_owned()]),
                ..CertificateSigningRequestSpec::default()
            },
            ..CertificateSigningRequest::default()
        };
        asked.metadata.generate_name = Some("csr-".to_owned());
        let api: Api<CertificateSigningRequest> = Api::all(client.clone());
        let made = api.create(&PostParams::default(), &asked).await;
        let made = made.context("cannot create certificate signing request")?;
        let name = made.metadata.name.unwrap_or_default();
        tracing::info!(request = name, signer = self.signer, "waiting for a certificate");
        let certificate = tokio::time::timeout(SIGNING, signed(client, &name)).await;
        let certificate = certificate
            .map_err(|_| Failure::internal("no certificate was issued", format!("request {name} timed out")))??;
        Ok(Pair { certificate, key })
    }

    /// Keeps a certificate with its key, as the newest.
    fn keep(&self, pair: &Pair) -> Result<()> {
        std::fs::create_dir_all(&self.dir).context("cannot make the directory of certificates")?;
        let text = format!("{}{}", pair.certificate, pair.key);
        let stamp = jiff::Zoned::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let file = format!("{}-{stamp}.pem", self.file);
        pki::write(&self.dir.join(&file), &text).context("cannot keep a certificate")?;
        let link = self.dir.join(format!("{}-current.new", self.file));
        match std::fs::remove_file(&link) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("cannot keep a certificate"),
            _ => {}
        }
        std::os::unix::fs::symlink(&file, &link).context("cannot keep a certificate")?;
        std::fs::rename(&link, self.current()).context("cannot keep a certificate")
    }

    /// Asks until there is one, and keeps it.
    async fn obtain(&self, client: &Client) -> Pair {
        loop {
            let asked = self.ask(client).await;
            match asked.and_then(|pair| self.keep(&pair).map(|()| pair)) {
                Ok(pair) => return pair,
                Err(failure) => tracing::warn!(signer = self.signer, cause = failure.cause, "no certificate yet"),
            }
            tokio::time::sleep(AGAIN.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Gets a new certificate whenever the present one nears its end, until `token` is cancelled.
    pub(super) async fn renew(
        self,
        client: Client,
        mut present: Option<Pair>,
        taken: impl Fn(&Pair) + Send,
        token: CancellationToken,
    ) {
        loop {
            let due = present
                .as_ref()
                .and_then(|p| pki::validity(&p.certificate))
                .map_or(Duration::ZERO, |life| renewal(life, SystemTime::now(), 0.7 + fastrand::f64() * 0.2));
            let next = async {
                tokio::time::sleep(due).await;
                self.obtain(&client).await
            };
            let pair = tokio::select! {
                () = token.cancelled() => return,
                pair = next => pair,
            };
            taken(&pair);
            present = Some(pair);
        }
    }
}

/// How long until a certificate is renewed: when `part` of its life is over.
fn renewal((begin, end): (SystemTime, SystemTime), now: SystemTime, part: f64) -> Duration {
    let life = end.duration_since(begin).unwrap_or_default();
    (begin + life.mul_f64(part)).duration_since(now).unwrap_or_default()
}

/// The certificate of a request once it is there.
async fn signed(client: &Client, name: &str) -> Result<String> {
    let token = CancellationToken::new();
    let _ended = token.clone().drop_guard();
    let informers = Informers::new(client.clone(), token);
    let filter = Filter { fields: format!("metadata.name={name}"), ..Filter::default() };
    let requests = informers.filtered::<CertificateSigningRequest>(filter);
    let changed = Arc::new(Notify::new());
    let wake = changed.clone();
    requests.on_change(move |_| wake.notify_one());
    requests.synced().await;
    loop {
        let request = requests.get("", name);
        let status = request.as_ref().and_then(|r| r.status.clone()).unwrap_or_default();
        if let Some(ByteString(pem)) = status.certificate.filter(|c| !c.0.is_empty()) {
            return String::from_utf8(pem).context("the certificate is no PEM");
        }
        for condition in status.conditions.into_iter().flatten() {
            let why = || {
                let (reason, message) = (condition.reason.clone(), condition.message.clone());
                format!("reason: {}, message: {}", reason.unwrap_or_default(), message.unwrap_or_default())
            };
            match condition.type_.as_str() {
                "Denied" => return Err(Failure::internal("certificate signing request is denied", why())),
                "Failed" => return Err(Failure::internal("certificate signing request failed", why())),
                _ => {}
            }
        }
        changed.notified().await;
    }
}

/// The client of a kubelet: by its kubeconfig, which is made by way of `bootstrap` where there is none that is good. With
/// `rotate` its certificate is renewed as long as `token` lasts.
pub(super) async fn client(
    kubeconfig: &Path,
    bootstrap: Option<&Path>,
    purpose: Purpose,
    rotate: bool,
    token: &CancellationToken,
) -> Result<Client> {
    if let Some(bootstrap) = bootstrap.filter(|_| !usable(kubeconfig)) {
        tracing::info!("Bootstrapping: asking for a client certificate");
        let client = connect(bootstrap).await?;
        tokio::select! {
            () = token.cancelled() => return Err(Failure::internal("cannot start", "ended while waiting for a certificate")),
            _ = purpose.obtain(&client) => {}
        }
        write_kubeconfig(bootstrap, kubeconfig, &purpose.current())?;
    }
    let first = connect(kubeconfig).await?;
    // Certificates of others are theirs to renew.
    let Some(pair) = purpose.kept().filter(|_| rotate && names(kubeconfig, &purpose.current())) else {
        return Ok(first);
    };
    let current = Arc::new(Mutex::new(first));
    let client = ironclad_client::exchangeable(current.clone());
    let (path, handle) = (kubeconfig.to_owned(), tokio::runtime::Handle::current());
    let taken = move |_: &Pair| {
        let (current, path) = (current.clone(), path.clone());
        handle.spawn(async move {
            match connect(&path).await {
                Ok(next) => {
                    *current.lock() = next;
                    tracing::info!("the client certificate was renewed");
                }
                Err(failure) => tracing::error!(cause = failure.cause, "a renewed certificate cannot be used"),
            }
        });
    };
    tokio::spawn(purpose.renew(client.clone(), Some(pair), taken, token.clone()));
    Ok(client)
}

async fn connect(kubeconfig: &Path) -> Result<Client> {
    let made = ironclad_client::from_kubeconfig(kubeconfig).await;
    made.map_err(|e| Failure::new(Id::Kubeconfig, e.to_string(), "Give the file with --kubeconfig."))
}

/// Whether a kubeconfig can be read and its certificate is good still.
fn usable(path: &Path) -> bool {
    let Ok(file) = Kubeconfig::read_from(path) else { return false };
    let certificates = file.auth_infos.iter().filter_map(|a| a.auth_info.as_ref()?.client_certificate.clone());
    let good = |file: String| {
        let text = std::fs::read_to_string(path.parent().unwrap_or(Path::new(".")).join(file)).unwrap_or_default();
        pki::validity(&text).is_some_and(|(_, end)| end > SystemTime::now())
    };
    certificates.into_iter().all(good)
}

/// Whether a kubeconfig's user shows the certificate in `certificate`.
fn names(path: &Path, certificate: &Path) -> bool {
    let Ok(file) = Kubeconfig::read_from(path) else { return false };
    file.auth_infos.iter().any(|a| {
        a.auth_info.as_ref().and_then(|i| i.client_certificate.as_deref()).is_some_and(|c| Path::new(c) == certificate)
    })
}

/// Writes the kubeconfig of a node: the cluster of `bootstrap`, the certificate in `certificate`.
fn write_kubeconfig(bootstrap: &Path, path: &Path, certificate: &Path) -> Result<()> {
    let failed = "cannot make the kubeconfig";
    let mut file = Kubeconfig::read_from(bootstrap).context(failed)?;
    let current = file.current_context.clone().unwrap_or_default();
    let named = file.contexts.iter().find(|c| c.name == current).and_then(|c| c.context.clone());
    let cluster = named.map(|c| c.cluster).unwrap_or_default();
    file.clusters.retain(|c| c.name == cluster);
    let value = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "default-context",
        "clusters": file.clusters.iter().map(|c| serde_json::json!({"name": "default-cluster", "cluster": c.cluster})).collect::<Vec<_>>(),
        "contexts": [{"name": "default-context", "context": {
            "cluster": "default-cluster", "namespace": "default", "user": "default-auth"}}],
        "users": [{"name": "default-auth", "user": {"client-certificate": certificate, "client-key": certificate}}],
    });
    let text = ironclad_api::yaml::write(&value).context(failed)?;
    pki::write(path, &text).context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_when_most_of_their_life_is_over() {
        let begin = SystemTime::UNIX_EPOCH;
        let life = (begin, begin + Duration::from_secs(1000));
        assert_eq!(renewal(life, begin, 0.8), Duration::from_secs(800));
        assert_eq!(renewal(life, begin + Duration::from_secs(900), 0.8), Duration::ZERO);
    }

    #[test]
    fn the_newest_certificate_is_kept_under_the_same_name_and_the_kubeconfig_points_there() {
        ironclad_auth::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let purpose = Purpose::client(&dir.path().join("pki"), "n");
        assert!(purpose.kept().is_none());
        let pair = pki::Pki::alone(&Subject::client("system:node:n", "system:nodes")).unwrap();
        purpose.keep(&pair).unwrap();
        purpose.keep(&pair).unwrap();
        assert!(purpose.kept().unwrap().certificate.starts_with(&pair.certificate));
        let (bootstrap, kubeconfig) = (dir.path().join("boot"), dir.path().join("kubelet.conf"));
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{name: c, cluster: {server: 'https://h:1', certificate-authority: /ca}}]\nusers: [{name: u, user: {token: a.b}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n";
        std::fs::write(&bootstrap, text).unwrap();
        assert!(!usable(&kubeconfig));
        write_kubeconfig(&bootstrap, &kubeconfig, &purpose.current()).unwrap();
        assert!(usable(&kubeconfig) && names(&kubeconfig, &purpose.current()));
        let made = std::fs::read_to_string(&kubeconfig).unwrap();
        assert!(made.contains("https://h:1") && made.contains("/ca") && !made.contains("a.b"), "{made}");
    }
}
