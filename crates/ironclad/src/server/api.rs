//! The store, the certificates and the API server.

use super::authentication::{Authentication, Makings};
use super::authorization::Own;
use super::{audit, authentication, authorization, election, legacy, reloads, store};
use crate::cli::api::{ApiFlags, AuthenticationFlags};
use crate::cli::parts::ServerCertificates;
use crate::cluster::Cluster;
use crate::failure::{Context, Result};
use crate::files::Files;
use crate::steps::Steps;
use ironclad_admission::{Manifests, Reload};
use ironclad_api::UserInfo;
use ironclad_api::features::{self, FeatureGates};
use ironclad_api::source::Source;
use ironclad_apiserver::{About, ApiServer, Config, KubeletAccess, Load, Part};
use ironclad_auth::pki::{self, Pair, Pki, Subject};
use ironclad_auth::tokens::Tokens;
use ironclad_auth::{NodeAuthorizer, Rbac, bootstrap, kubeconfig};
use ironclad_client::Client;
use ironclad_json::{Value, json};
use ironclad_remote::Egress;
use ironclad_store::Store;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The version that the API server and the node show.
pub(crate) const VERSION: &str = concat!("v1.37.0+ironclad.", env!("CARGO_PKG_VERSION_MINOR"));
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The running API server and what its clients need.
pub(crate) struct Api {
    server: ApiServer,
    /// Ends when every connection is drained.
    serving: JoinHandle<()>,
    /// Keeps caches and authorizers going until then.
    life: CancellationToken,
    pub(crate) pki: Arc<Pki>,
    pub(crate) tokens: Arc<Tokens>,
    /// Who else of the control plane runs in this process.
    pub(crate) neighbours: Neighbours,
    /// Leaders among several servers are chosen by an elector.
    pub(crate) coordinates: bool,
}

/// The other parts of the control plane, whose health the API tells: whether they run in this process.
#[derive(Clone, Default)]
pub(crate) struct Neighbours {
    pub(crate) controllers: Arc<AtomicBool>,
    pub(crate) scheduler: Arc<AtomicBool>,
}

impl Neighbours {
    /// Where their health is asked: here, or at the ports that they have by default.
    fn parts(&self, here: bool) -> Vec<(&'static str, Part)> {
        let of = |runs: &Arc<AtomicBool>, port| match here {
            true => Part::Here(runs.clone()),
            false => Part::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        };
        vec![
            ("controller-manager", of(&self.controllers, crate::parts::CONTROLLERS_PORT)),
            ("scheduler", of(&self.scheduler, crate::parts::SCHEDULER_PORT)),
        ]
    }
}

/// Says that a part runs for as long as it is held.
pub(crate) struct Runs(Arc<AtomicBool>);

impl Runs {
    pub(crate) fn begin(runs: &Arc<AtomicBool>) -> Self {
        runs.store(true, Ordering::Release);
        Self(runs.clone())
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Api {
    /// Waits until connections are drained, then lets go of the store.
    pub(crate) async fn stop(self) {
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener of the API failed");
        }
        self.life.cancel();
    }

    /// What makes clients in process that act as service accounts of kube-system, for controllers.
    pub(crate) fn identities(&self) -> impl Fn(&str) -> Client + Send + Sync + use<> {
        let server = self.server.clone();
        move |name| {
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
            let user = UserInfo::new(&format!("system:serviceaccount:kube-system:{name}"), &groups);
            ironclad_client::in_process(server.clone(), user)
        }
    }

    /// A client in process with the identity of a component.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Client {
        ironclad_client::in_process(self.server.clone(), UserInfo::new(user, groups))
    }
}

fn server_names(cluster: &Cluster) -> Vec<String> {
    let mut names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
    ]
    .map(str::to_owned)
    .into();
    names.push(cluster.node_name.clone());
    names.push(cluster.node_ip.to_string());
    names.push(cluster.service_ip(1).to_string());
    if !cluster.bind_address.is_unspecified() {
        names.push(cluster.bind_address.to_string());
    }
    names
}

/// What everybody may know: the authorities of clients, where the cluster is, and since when uses of tokens are noted.
fn published(
    cluster: &Cluster,
    flags: &AuthenticationFlags,
    pki: &Pki,
    Authorities { clients, proxies, whole }: Authorities<'_>,
) -> Result<Vec<Value>> {
    let info = kubeconfig::public(&cluster.api_url(), pki.ca()).context("cannot encode where the cluster is")?;
    let since = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let map = |namespace: &str, name: &str, key: &str, value: String| json!({"metadata": {"name": name, "namespace": namespace}, "data": {key: value}});
    let mut all = vec![
        authentication::published(flags, clients, proxies),
        map("kube-system", "kube-apiserver-legacy-service-account-token-tracking", "since", since),
    ];
    if whole {
        all.push(map("kube-public", "cluster-info", "kubeconfig", info));
    }
    Ok(all)
}

/// What clients are told of.
struct Authorities<'a> {
    clients: &'a str,
    proxies: &'a str,
    /// Whether the server is part of a cluster that was made here; else who made it tells where it is.
    whole: bool,
}

/// The server's certificates: those that were given, else its own.
struct Certificates {
    serving: Pair,
    front_proxy: Pair,
    kubelets: KubeletAccess,
}

impl Certificates {
    fn of(cluster: &Cluster, given: Option<&ServerCertificates>, pki: &Pki) -> Result<Self> {
        let made = |file: &str, subject: Subject| pki.issue(file, &subject).context("cannot make certificates");
        let whole = given.is_none();
        let given = given.cloned().unwrap_or_default();
        let file = |certificate: Option<PathBuf>, key: Option<PathBuf>| {
            certificate.zip(key).map(|(c, k)| pki::read_pair(&c, &k).context("cannot use a certificate")).transpose()
        };
        let serving = match file(given.tls_cert_file, given.tls_private_key_file)? {
            Some(pair) => pair,
            None => made("apiserver", Subject::server("kube-apiserver", "", server_names(cluster)))?,
        };
        let front_proxy = match file(given.proxy_client_cert_file, given.proxy_client_key_file)? {
            Some(pair) => pair,
            None => pki.front_proxy().context("cannot make certificates")?.1,
        };
        let client = match file(given.kubelet_client_certificate, given.kubelet_client_key)? {
            Some(pair) => pair,
            None => made("apiserver-kubelet-client", Subject::client("kube-apiserver-kubelet-client", ""))?,
        };
        let kubelets = match given.kubelet_certificate_authority {
            Some(path) => pki::client_tls(&client, Some(&authentication::read(&path)?)),
            None if whole => pki.client_tls(&client),
            None => pki::client_tls(&client, None),
        };
        let unverified = pki::client_tls(&client, None).context("cannot set up TLS")?;
        let kubelets =
            KubeletAccess { tls: Some(kubelets.context("cannot set up TLS")?), unverified: Some(unverified) };
        Ok(Self { serving, front_proxy, kubelets })
    }
}

/// What the server is made from.
fn config(
    cluster: &Cluster,
    flags: &ApiFlags,
    store: Arc<dyn Store>,
    own: &Certificates,
    parts: Vec<(&'static str, Part)>,
) -> Config {
    Config {
        store,
        service_cidr: cluster.service_cidr,
        node_ports: cluster.node_ports,
        advertise: (cluster.node_ip, cluster.api_port),
        kubelets: own.kubelets.clone(),
        front_proxy: Some(own.front_proxy.clone()),
        version: VERSION.to_owned(),
        // An etcd has its own keeper of history.
        load: match cluster.etcd {
            Some(_) => Load { compaction_interval: Duration::ZERO, ..flags.load.load() },
            None => flags.load.load(),
        },
        runtime: flags.served.runtime_config.clone().unwrap_or_default(),
        gates: gates(flags),
        others: vec![
            ironclad_client::queue::metrics::render,
            ironclad_auth::metrics::render,
            ironclad_admission::metrics::render,
            ironclad_cel::metrics::render,
            ironclad_encryption::metrics::render,
            ironclad_client::metrics::leads,
            ironclad_remote::metrics,
            reloads::render,
        ],
        about: about(cluster, parts),
    }
}

/// What the server tells of itself.
fn about(cluster: &Cluster, parts: Vec<(&'static str, Part)>) -> About {
    let flags = crate::kept::in_force(std::env::args_os(), &cluster.flags);
    let profiling = flags.get("profiling").is_none_or(|on| on != "false");
    let logs = flags.get("enable-logs-handler").is_some_and(|on| on == "true");
    About { flags, profiling, logs, verbosity: Some(super::verbosity), parts }
}

/// Which features are on. Gates that change nothing are taken, as stock's manifests name them, and told in the log.
fn gates(flags: &ApiFlags) -> FeatureGates {
    let gates = flags.served.feature_gates.clone().unwrap_or_default();
    for (gate, on) in gates.idle() {
        tracing::warn!(gate, on, "the feature gate is known, but changes nothing here");
    }
    gates
}

/// Whether a feature is on.
fn has(flags: &ApiFlags, feature: &str) -> bool {
    flags.served.feature_gates.clone().unwrap_or_default().enabled(feature)
}

/// Gives a cluster what it begins with: the bootstrap policy and what everybody may know.
async fn furnish(server: &ApiServer, published: Vec<Value>) -> Result<()> {
    // Together, so that they share the store's syncs.
    let policy = bootstrap::objects().into_iter().map(|(group, plural, object)| server.ensure(group, plural, object));
    futures::future::try_join_all(policy).await.context("cannot make the bootstrap policy")?;
    let maps = published.into_iter().map(|map| server.ensure("", "configmaps", map));
    futures::future::try_join_all(maps).await.map(drop).context("cannot publish what clients must know")
}

/// Lets the administrator in who can read the data directory.
fn write_kubeconfig(cluster: &Cluster, pki: &Pki) -> Result<()> {
    let subject = Subject::client("kubernetes-admin", "system:masters");
    let admin = pki.issue("admin", &subject).context("cannot make certificates")?;
    let file = kubeconfig::build(&cluster.name, &cluster.api_url(), pki.ca(), &admin);
    kubeconfig::save(&cluster.admin_kubeconfig(), &file).context("cannot write the kubeconfig")
}

/// Reads a directory of manifests anew when something in it changes.
fn follow(Reload { plugin, dir, hash, mut act }: Reload, files: &mut Files) {
    reloads::MANIFESTS.used(plugin, &hash);
    let shown = dir.display().to_string();
    files.on_change_in(&dir, move || match act() {
        Ok(None) => {}
        Ok(Some(hash)) => {
            reloads::MANIFESTS.done(plugin, Some(&hash));
            tracing::info!(plugin, dir = shown, "new manifests are in force");
        }
        Err(error) => {
            reloads::MANIFESTS.done(plugin, None);
            tracing::error!(error, plugin, dir = shown, "the new manifests are not used");
        }
    });
}

/// Starts the API server; returns when it answers. Alone, it is `given` certificates.
pub(crate) async fn start(
    cluster: &Cluster,
    flags: &ApiFlags,
    given: Option<&ServerCertificates>,
    steps: &Steps,
    token: &CancellationToken,
) -> Result<Api> {
    let step = steps.begin("Starting the API server");
    let (stop, life) = (token.clone(), CancellationToken::new());
    let token = &life;
    let mut files = Files::default();
    let configured = flags.egress_selector_config_file.as_deref().map(Egress::read).transpose();
    let configured = configured.context("cannot use --egress-selector-config-file")?;
    let egress = configured.clone().unwrap_or_default();
    let (store, checks) = store::open(cluster, flags, &egress.etcd, &mut files, token).await?;
    let pki = Pki::open_or_create(&cluster.pki_dir(), &cluster.name).context("cannot make certificates")?;
    let own = Certificates::of(cluster, given, &pki)?;
    let neighbours = Neighbours::default();
    let config = config(cluster, flags, store, &own, neighbours.parts(given.is_none()));
    let prepared = ApiServer::prepare(config, token.clone()).await.context("cannot load the cluster's state")?;
    let audit = audit::auditor(&flags.audit, &egress.control_plane)?;
    let prepared = prepared.audited(audit).checked(checks).reaching(egress.clone());
    let reader = Arc::new(prepared.reader());
    let source: Arc<dyn Source> = reader.clone();
    let (used, uses) = legacy::hook();
    let options = authentication::tokens(&flags.authentication, &pki, ISSUER, used)?;
    let tokens = Arc::new(Tokens::with(options, source.clone()).context("cannot use the keys of tokens")?);
    let rbac = Rbac::start(&*reader, token);
    let node = NodeAuthorizer::start(&*reader, token);
    rbac.synced().await;
    let makings = Makings {
        flags: &flags.authentication,
        pki: &pki,
        source: source.clone(),
        tokens: tokens.clone(),
        egress: configured,
    };
    let Authentication { authenticator, clients, proxies } = authentication::start(&makings, &mut files)?;
    let authorizer = authorization::authorizer(
        &flags.authorization,
        &Own { node, rbac, way: egress.control_plane.clone() },
        &mut files,
    )?;
    let parts = ironclad_admission::Parts {
        source: source.clone(),
        authorizer: authorizer.clone(),
        world: reader.clone(),
        ledger: Arc::new(prepared.ledger()),
    };
    let manifests = Manifests::new(has(flags, features::MANIFEST_BASED_ADMISSION));
    let choice = flags.admission.choice(egress.clone(), manifests.clone());
    let admission = ironclad_admission::chain(&parts, &choice).context("cannot set up admission")?;
    manifests.followed().into_iter().for_each(|reload| follow(reload, &mut files));
    files.watch(token.clone())?;
    let (issuer, address) = (tokens.clone(), SocketAddr::new(cluster.bind_address, cluster.api_port));
    let server =
        prepared.finish(authenticator, authorizer, issuer, admission).await.context("cannot prepare the cluster")?;
    let told = Authorities { clients: &clients, proxies: &proxies, whole: given.is_none() };
    furnish(&server, published(cluster, &flags.authentication, &pki, told)?).await?;
    let labels = ironclad_client::in_process(server.clone(), UserInfo::new("system:apiserver", &["system:masters"]));
    tokio::spawn(legacy::run(labels, uses));
    let listener = TcpListener::bind(address).await.context("cannot listen for the API")?;
    let hints = format!("{clients}{proxies}");
    let tls = pki::api_tls(&own.serving, &hints).context("cannot set up TLS")?;
    let (served, ending) = (server.clone(), stop.clone());
    let serving = tokio::spawn(async move { served.serve(listener, tls, stop).await });
    if given.is_none_or(|g| g.tls_cert_file.is_none()) {
        write_kubeconfig(cluster, &pki)?;
    }
    let coordinates = has(flags, features::COORDINATED_LEADER_ELECTION);
    let api = Api { server, serving, life, pki: Arc::new(pki), tokens, neighbours, coordinates };
    election::start(&api, &flags.election, &ending)?;
    step.done("API server ready");
    Ok(api)
}
