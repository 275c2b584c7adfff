//! A node in a network namespace of its own: the test's thread and all it starts live there, and nothing leaks.
#![allow(dead_code, missing_docs, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// Runs a test on a thread in a fresh network namespace.
pub(crate) fn on_a_node(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip(&["link", "set", "lo", "up"]);
        // An uplink: its peer is never up, but routes over it exist.
        ip(&["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        ip(&["addr", "add", "192.0.2.1/24", "dev", "up0"]);
        ip(&["link", "set", "up0", "up"]);
        ip(&["link", "set", "up1", "up"]);
        ip(&["route", "add", "default", "via", "192.0.2.254"]);
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn ip(arguments: &[&str]) {
    let output = std::process::Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn nft_list() -> String {
    let output = std::process::Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{:?} {complaints}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A network namespace without a name: it lives as long as the thread that holds it.
pub(crate) struct Netns {
    path: PathBuf,
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Netns {
    pub(crate) fn new() -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let tid = nix::unistd::gettid();
            ready.send(PathBuf::from(format!("/proc/{}/task/{tid}/ns/net", std::process::id()))).unwrap();
            let _ = stopped.recv();
        });
        Self { path: started.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Runs something inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(&self.path).unwrap();
        std::thread::scope(|scope| {
            let enter = || {
                nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            };
            scope.spawn(enter).join().unwrap()
        })
    }

    /// Serves `name` and the client's address on a TCP port until the process ends.
    pub(crate) fn serve(&self, port: u16, name: &'static str) {
        let listener = self.inside(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        serve(listener, name);
    }
}

pub(crate) fn serve(listener: TcpListener, name: &'static str) {
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let _ = stream.write_all(format!("{name} {}", from.ip()).as_bytes());
        }
    });
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// What a server says, or the error.
pub(crate) fn get(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
