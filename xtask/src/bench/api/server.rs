//! The server that is measured: the API server alone, with certificates, RBAC and the admission chain, as in a cluster.

use super::Result;
use ironclad_api::UserInfo;
use ironclad_api::source::Source;
use ironclad_apiserver::{ApiServer, Config, KubeletAccess, Load, StockCodec};
use ironclad_auth::pki::{Pki, Subject, verifier};
use ironclad_auth::tokens::Tokens;
use ironclad_auth::{Authorizer, Authorizers, Bearer, Certificates, NodeAuthorizer, Rbac, Union, bootstrap};
use ironclad_store::{EtcdOptions, EtcdStore, LogStore, Options, Tls};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The user of all benches.
pub(crate) fn admin() -> UserInfo {
    UserInfo::new("bench", &["system:masters"])
}

async fn shared(url: &str) -> Result<EtcdStore> {
    let options = EtcdOptions {
        servers: vec![url.to_owned()],
        tls: Tls::default(),
        prefix: ("/registry".to_owned(), "/registry".to_owned()),
        codec: Arc::new(StockCodec::default()),
        patience: std::time::Duration::from_secs(60),
        transform: None,
        way: ironclad_remote::Way::default(),
    };
    Ok(EtcdStore::open(options).await?)
}

/// An API server over a store in `dir` or an etcd.
pub(crate) async fn start(dir: &Path, etcd: Option<&str>, pki: &Pki, token: &CancellationToken) -> Result<ApiServer> {
    let config = Config {
        store: match etcd {
            Some(url) => Arc::new(shared(url).await?),
            None => Arc::new(LogStore::open(&dir.join("store"), Options::default())?),
        },
        service_cidr: "10.96.0.0/12".parse()?,
        node_ports: (30000, 32767),
        advertise: ("192.0.2.1".parse()?, 6443),
        kubelets: KubeletAccess::default(),
        front_proxy: None,
        version: "v1.37.0".to_owned(),
        load: Load::default(),
        runtime: Default::default(),
        gates: Default::default(),
        others: Vec::new(),
        about: ironclad_apiserver::About::default(),
    };
    let prepared = ApiServer::prepare(config, token.clone()).await?;
    let reader = Arc::new(prepared.reader());
    let source: Arc<dyn Source> = reader.clone();
    let tokens = Arc::new(Tokens::new(&pki.token_key()?, "https://kubernetes.default.svc", source.clone())?);
    let rbac = Rbac::start(&*reader, token);
    let node = NodeAuthorizer::start(&*reader, token);
    rbac.synced().await;
    let authenticator =
        Arc::new(Union(vec![Arc::new(Certificates::new(verifier(pki.ca())?)), Arc::new(Bearer(vec![tokens.clone()]))]));
    let authorizer: Arc<dyn Authorizer> = Arc::new(Authorizers(vec![node, rbac]));
    let ledger = Arc::new(prepared.ledger());
    let parts = ironclad_admission::Parts { source, authorizer: authorizer.clone(), world: reader, ledger };
    let admission = ironclad_admission::default_chain(&parts);
    let server = prepared.finish(authenticator, authorizer, tokens, admission).await?;
    for (group, plural, object) in bootstrap::objects() {
        server.ensure(group, plural, object).await?;
    }
    Ok(server)
}

/// The child process: serves on loopback, says where, and ends with its standard input.
pub(crate) async fn serve(dir: &Path, etcd: Option<&str>) -> Result<()> {
    ironclad_auth::install_crypto();
    let token = CancellationToken::new();
    let pki = Pki::open_or_create(&dir.join("pki"), "bench")?;
    let serving = pki.issue("apiserver", &Subject::server("kube-apiserver", "", vec!["127.0.0.1".into()]))?;
    let server = start(dir, etcd, &pki, &token).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let tls = pki.server_tls(&serving)?;
    let serving = tokio::spawn({
        let token = token.clone();
        async move { server.serve(listener, tls, token).await }
    });
    // The parent closes it when it is done, and the kernel does when the parent dies.
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await?;
    token.cancel();
    serving.await?;
    Ok(())
}
