//! A real etcd (Debian's `etcd-server`) for tests: members in temporary directories, on free ports of loopback.
//! The variable `ETCD` names another program than the one on PATH, to try another version.

use crate::{Error, Result};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running member; dropping it ends it and removes its data.
pub struct Etcd {
    process: Option<Child>,
    data: tempfile::TempDir,
    client: u16,
    peer: u16,
    name: String,
    /// All members, as each of them is told.
    members: String,
    tls: Option<Files>,
}

/// Files of a member that speaks TLS and asks its clients for certificates.
#[derive(Clone)]
pub struct Files {
    /// The authority of clients' certificates.
    pub ca: std::path::PathBuf,
    /// The member's certificate.
    pub certificate: std::path::PathBuf,
    /// Its key.
    pub key: std::path::PathBuf,
}

impl Etcd {
    /// Starts a member and waits until it accepts connections.
    pub fn start() -> Result<Self> {
        let mut etcd = Self::new("test", None)?;
        etcd.members = format!("test={}", etcd.peer_url());
        etcd.run()?;
        Ok(etcd)
    }

    /// The same with TLS.
    pub fn with_tls(files: Files) -> Result<Self> {
        let mut etcd = Self::new("test", Some(files))?;
        etcd.members = format!("test={}", etcd.peer_url());
        etcd.run()?;
        Ok(etcd)
    }

    /// Starts three members of one cluster.
    pub fn cluster() -> Result<Vec<Self>> {
        let mut members: Vec<Self> =
            ["a", "b", "c"].into_iter().map(|name| Self::new(name, None)).collect::<Result<_>>()?;
        let all: Vec<String> = members.iter().map(|m| format!("{}={}", m.name, m.peer_url())).collect();
        for member in &mut members {
            member.members = all.join(",");
            member.run()?;
        }
        Ok(members)
    }

    fn new(name: &str, tls: Option<Files>) -> Result<Self> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| Error::Io { what, source }
        };
        let data = tempfile::tempdir().map_err(io("cannot make a directory for etcd"))?;
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| Ok(l.local_addr()?.port()));
        let client = free().map_err(io("no free port"))?;
        let peer = free().map_err(io("no free port"))?;
        Ok(Self { process: None, data, client, peer, name: name.to_owned(), members: String::new(), tls })
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client)
    }

    /// The port of [`Etcd::url`].
    pub fn port(&self) -> u16 {
        self.client
    }

    /// Where its data lies.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Starts it again with the same data and ports.
    pub fn run(&mut self) -> Result<()> {
        let (client, peer) = (self.url(), self.peer_url());
        let mut command = Command::new(std::env::var_os("ETCD").unwrap_or_else(|| "etcd".into()));
        command
            .args(["--name", &self.name, "--logger", "zap", "--log-level", "error", "--auto-compaction-retention", "0"])
            .arg("--data-dir")
            .arg(self.data.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.members])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(tls) = &self.tls {
            command.arg("--cert-file").arg(&tls.certificate).arg("--key-file").arg(&tls.key);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
        }
        let started = command.spawn().map_err(|source| Error::Io { what: "cannot start etcd".to_owned(), source })?;
        self.process = Some(started);
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.client)).is_err() {
            if Instant::now() > end {
                let output = "it does not listen".to_owned();
                return Err(Error::Command { command: "etcd".to_owned(), output });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
