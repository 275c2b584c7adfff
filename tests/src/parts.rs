//! Parts of a control plane in processes of their own, for tests that end and restart them.

use ironclad_auth::kubeconfig;
use ironclad_auth::pki::{Pki, Subject};
use ironclad_testkit::cluster::{Output, eventually, program, run};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that ends with the test, without warning.
#[derive(Debug)]
pub struct Part(Child);

impl Part {
    /// Starts the program with these arguments; what it says goes to `log`.
    pub fn start(log: &Path, args: &[String]) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        let mut command = Command::new(program().unwrap_or_else(|e| panic!("{e}")));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("the part starts"))
    }

    /// Ends it as a service manager does, and waits until it has.
    pub fn end(mut self) {
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
pub struct Place {
    dir: tempfile::TempDir,
    pki: Pki,
    /// Where the two API servers listen.
    pub ports: [u16; 2],
}

impl Place {
    /// Free ports, an authority and a key for tokens in a directory of their own.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::open_or_create(&dir.path().join("pki"), "parts").expect("an authority");
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned).to_vec();
        pki.issue("apiserver", &Subject::server("kube-apiserver", "", names)).expect("a certificate");
        pki.token_key().expect("a key");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        Self { ports: [free(), free()], dir, pki }
    }

    /// A file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A kubeconfig for a user towards one of the API servers.
    pub fn kubeconfig(&self, user: &str, group: &str, server: usize) -> PathBuf {
        let path = self.path(&format!("{}-{server}.kubeconfig", user.replace(':', "-")));
        let pair = self.pki.issue(&user.replace(':', "-"), &Subject::client(user, group)).expect("a certificate");
        let url = format!("https://127.0.0.1:{}", self.ports[server]);
        kubeconfig::save(&path, &kubeconfig::build("parts", &url, self.pki.ca(), &pair)).expect("a kubeconfig");
        path
    }

    /// Starts the program; what it says goes to the file `log`.
    pub fn part(&self, log: &str, args: &[&str]) -> Part {
        Part::start(&self.path(log), &args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    /// The first or the second API server over an etcd.
    pub fn apiserver(&self, etcd: &str, server: usize) -> Part {
        let file = |name: &str| self.path("pki").join(name).display().to_string();
        let args = [
            "apiserver".to_owned(),
            format!("--data-dir={}", self.path(&format!("api-{server}")).display()),
            format!("--etcd-servers={etcd}"),
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

    /// A controller manager; the next one asks the other API server.
    pub fn controllers(&self, number: usize) -> Part {
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

    /// Asks one of the API servers as administrator.
    pub fn kubectl(&self, server: usize, args: &[&str]) -> Output {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig("admin", "system:masters", server)).args(args);
        run(command)
    }

    /// Waits until an API server says that it is ready.
    pub fn ready(&self, server: usize) {
        eventually(Duration::from_secs(30), || {
            let answer = self.kubectl(server, &["get", "--raw", "/readyz"]);
            if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
        });
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}
