//! Each part of the control plane in a process of its own, as stock's parts run: two API servers on one etcd with
//! certificates that they are given, two controller managers of which one leads, a scheduler.

use ironclad_auth::kubeconfig;
use ironclad_auth::pki::{Pki, Subject};
use ironclad_testkit::Etcd;
use ironclad_testkit::cluster::{Output, eventually, program, run};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that ends with the test.
struct Part(Child);

impl Part {
    fn start(log: &Path, args: &[String]) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        let mut command = Command::new(program().unwrap_or_else(|e| panic!("{e}")));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("the part starts"))
    }

    /// Ends it as a service manager does, and waits until it has.
    fn end(mut self) {
        let mut kill = Command::new("kill");
        kill.arg(self.0.id().to_string());
        run(kill).ok();
        assert!(self.0.wait().expect("it ends").success(), "the part failed at its end");
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The files that all parts share.
struct Place {
    dir: tempfile::TempDir,
    pki: Pki,
    ports: [u16; 2],
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::open_or_create(&dir.path().join("pki"), "parts").expect("an authority");
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned).to_vec();
        pki.issue("apiserver", &Subject::server("kube-apiserver", "", names)).expect("a certificate");
        pki.token_key().expect("a key");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        Self { ports: [free(), free()], dir, pki }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A kubeconfig for a user towards one of the API servers.
    fn kubeconfig(&self, user: &str, group: &str, server: usize) -> PathBuf {
        let path = self.path(&format!("{}-{server}.kubeconfig", user.replace(':', "-")));
        let pair = self.pki.issue(&user.replace(':', "-"), &Subject::client(user, group)).expect("a certificate");
        let url = format!("https://127.0.0.1:{}", self.ports[server]);
        kubeconfig::save(&path, &kubeconfig::build("parts", &url, self.pki.ca(), &pair)).expect("a kubeconfig");
        path
    }

    fn part(&self, log: &str, args: &[&str]) -> Part {
        Part::start(&self.path(log), &args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    fn apiserver(&self, etcd: &Etcd, server: usize) -> Part {
        let file = |name: &str| self.path("pki").join(name).display().to_string();
        let args = [
            "apiserver".to_owned(),
            format!("--data-dir={}", self.path(&format!("api-{server}")).display()),
            format!("--etcd-servers={}", etcd.url()),
            format!("--secure-port={}", self.ports[server]),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--advertise-address=192.0.2.{}", server + 1),
            "--service-cluster-ip-range=10.111.0.0/16".to_owned(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        Part::start(&self.path(&format!("api-{server}.log")), &args)
    }

    fn controllers(&self, number: usize) -> Part {
        let config = self.kubeconfig("system:kube-controller-manager", "", number % 2);
        let file = |name: &str| self.path("pki").join(name).display().to_string();
        let args = [
            "controller-manager".to_owned(),
            format!("--kubeconfig={}", config.display()),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
            "--secure-port=0".to_owned(),
            "--leader-elect-retry-period=200ms".to_owned(),
        ];
        Part::start(&self.path(&format!("controllers-{number}.log")), &args)
    }

    fn kubectl(&self, server: usize, args: &[&str]) -> Output {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig("admin", "system:masters", server)).args(args);
        run(command)
    }
}

/// A node of which nobody but this test knows anything.
const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "paper"},
    "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
    "conditions": [{"type": "Ready", "status": "True"}]}}"#;

fn ready(place: &Place, server: usize) {
    eventually(Duration::from_secs(30), || {
        let answer = place.kubectl(server, &["get", "--raw", "/readyz"]);
        if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
    });
}

fn until(place: &Place, server: usize, args: &[&str], want: &str) {
    eventually(Duration::from_secs(30), || {
        let answer = place.kubectl(server, args);
        if answer.stdout == want { Ok(()) } else { Err(format!("{} {}", answer.stdout, answer.stderr)) }
    });
}

#[test]
fn parts_of_the_control_plane_run_alone_and_replace_each_other() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    ironclad_auth::install_crypto();
    let etcd = Etcd::start().unwrap_or_else(|e| panic!("{e}"));
    let place = Place::new();
    let servers = [place.apiserver(&etcd, 0), place.apiserver(&etcd, 1)];
    ready(&place, 0);
    ready(&place, 1);
    let endpoints = ["get", "endpointslice", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[0]}"];
    until(&place, 0, &endpoints, "192.0.2.1 192.0.2.2");

    let first = place.controllers(0);
    until(&place, 1, &["get", "sa", "default", "-o", "name"], "serviceaccount/default\n");
    let holder =
        ["get", "lease", "-n", "kube-system", "kube-controller-manager", "-o", "jsonpath={.spec.holderIdentity}"];
    let leader = place.kubectl(0, &holder).ok();
    let second = place.controllers(1);
    let scheduler = place.kubeconfig("system:kube-scheduler", "", 0);
    let scheduler = scheduler.display().to_string();
    let _scheduler = place.part("scheduler.log", &["scheduler", "--kubeconfig", &scheduler, "--secure-port=0"]);

    let mut node = Command::new("kubectl");
    node.arg("--kubeconfig").arg(place.kubeconfig("admin", "system:masters", 0)).args(["create", "-f", "-"]);
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kubectl runs");
    node.stdin.take().expect("its input").write_all(NODE.as_bytes()).expect("it reads");
    assert!(node.wait().expect("it ends").success());
    place.kubectl(1, &["create", "deployment", "web", "--image=nginx", "--replicas=2"]).ok();
    let nodes = ["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"];
    until(&place, 0, &nodes, "paper paper");
    let token = place.kubectl(0, &["create", "token", "default"]).ok();
    let who = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", "--token", token.trim()];
    // What one server signs the other one takes, for they share the key.
    let mut whoami = Command::new("kubectl");
    let (ca, url) = (place.path("pki").join("ca.crt"), format!("https://127.0.0.1:{}", place.ports[1]));
    whoami.args(["--kubeconfig=/dev/null", "--server", &url, "--certificate-authority"]).arg(ca).args(who);
    assert_eq!(run(whoami).ok(), "system:serviceaccount:default:default");

    // The leader goes: the other one has its lease at once, and goes on where it stopped.
    first.end();
    eventually(Duration::from_secs(10), || {
        let now = place.kubectl(1, &holder).stdout;
        if !now.is_empty() && now != leader { Ok(()) } else { Err(now) }
    });
    place.kubectl(1, &["scale", "deployment", "web", "--replicas=3"]).ok();
    until(&place, 1, &nodes, "paper paper paper");

    // A server goes: its address does as well.
    let [one, other] = servers;
    other.end();
    until(&place, 0, &endpoints, "192.0.2.1");
    drop((one, second));
}
