//! Throw-away clusters of the real `ironclad` program, driven by the stock kubectl.
//!
//! Invariant: a cluster holds the lock of its place (a number that gives its name, networks and ports) as long as it
//! lives. Whoever takes a place purges first what a killed test left in it, so nothing piles up on the machine.

use crate::{Error, Images, Registry, Result, io};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PLACES: u8 = 50;
/// No kubectl command of a test may take longer, in seconds.
const PATIENCE: &str = "120";

/// A running cluster; gone with everything it made when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    dir: PathBuf,
    program: PathBuf,
    place: u8,
    /// Options of `up` that only this cluster has.
    options: Vec<String>,
    registry: Registry,
    // After the registry: its task ends in this runtime.
    _runtime: tokio::runtime::Runtime,
    _lock: File,
}

/// What a command wrote and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 after a signal.
    pub code: i32,
    command: String,
}

/// One namespace of a cluster, the stage of one scenario.
#[derive(Clone, Copy, Debug)]
pub struct Namespace<'a> {
    /// Where it is.
    pub cluster: &'a Cluster,
    /// Its name.
    pub name: &'a str,
}

/// A command that goes on writing lines until it is dropped.
#[derive(Debug)]
pub struct Stream {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Iterator for Stream {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.lines.next()?.ok()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Cluster {
    /// Builds or finds the images, serves them, and starts a cluster that pulls from there in place of `docker.io`.
    pub fn start() -> Result<Self> {
        Self::start_program(program()?)
    }

    /// Like [`Cluster::start`] with these options of `up`.
    pub fn start_with(options: &[&str]) -> Result<Self> {
        Self::start_so(program()?, options)
    }

    /// Like [`Cluster::start`] with this program.
    pub fn start_program(program: PathBuf) -> Result<Self> {
        Self::start_so(program, &[])
    }

    fn start_so(program: PathBuf, options: &[&str]) -> Result<Self> {
        let (place, lock) = place()?;
        let name = format!("test-{place}");
        let dir = std::env::temp_dir().join(format!("ironclad-{name}"));
        purge(&program, &name, &dir);
        fs::create_dir_all(dir.join("home")).map_err(io(format!("create {}", dir.display())))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(io("start the registry's runtime"))?;
        let images = Images::build_blocking()?;
        let registry = runtime.block_on(Registry::serve(&images))?;
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        let cluster = Self { name, dir, program, place, options, registry, _runtime: runtime, _lock: lock };
        cluster.up()?;
        Ok(cluster)
    }

    /// Starts the server of this cluster again, for example after it was killed.
    pub fn up(&self) -> Result<()> {
        let (first, last) = self.node_ports();
        let options = [
            ("--api-port", "0".to_owned()),
            ("--kubelet-port", "0".to_owned()),
            ("--dns-port", "0".to_owned()),
            ("--pod-cidr", format!("10.{}.0.0/16", 100 + u16::from(self.place))),
            ("--service-cidr", format!("10.{}.0.0/16", 200 + u16::from(self.place))),
            ("--node-ports", format!("{first}-{last}")),
            ("--registry-mirror", format!("docker.io=http://{}", self.registry.host())),
        ];
        let mut command = self.ironclad(&["up"]);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(&self.options);
        for (option, value) in options {
            command.args([option, &value]);
        }
        run(command).checked().map(drop)
    }

    /// The program with this cluster's name and data directory, ready to run.
    pub fn ironclad(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).args(["--name", &self.name, "--data-dir"]).arg(self.data_dir());
        command
    }

    /// The first and the last port that Services may have on the node.
    pub fn node_ports(&self) -> (u16, u16) {
        let first = 30_000 + u16::from(self.place) * 50;
        (first, first + 49)
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the server keeps its state.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// An empty directory for files of tests, gone with the cluster.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// A kubectl command that talks to this cluster.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "1", PATIENCE, "kubectl"]).args(args);
        self.at_home(command)
    }

    fn at_home(&self, mut command: Command) -> Command {
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.scratch()).current_dir(self.scratch());
        command
    }

    /// Runs kubectl.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        run(self.kubectl_command(args))
    }

    /// Makes a namespace.
    pub fn namespace<'a>(&'a self, name: &'a str) -> Namespace<'a> {
        self.kubectl(&["create", "namespace", name]).ok();
        let namespace = Namespace { cluster: self, name };
        // Pods can be made once there is the account that they run as.
        namespace.ok(&["wait", "--for=create", "serviceaccount/default", "--timeout=30s"]);
        namespace
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the server's log:\n{}", tail(&self.data_dir().join("ironclad.log"), 20));
        }
        purge(&self.program, &self.name, &self.dir);
    }
}

impl Namespace<'_> {
    /// Runs kubectl in this namespace.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        run(self.command(args))
    }

    /// Runs kubectl in this namespace and returns what it printed; it must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        self.kubectl(args).ok()
    }

    /// A kubectl command in this namespace.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.cluster.kubectl_command(&["-n", self.name]);
        command.args(args);
        command
    }

    /// Runs kubectl in this namespace with a file on standard input.
    pub fn with_input(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let text = format!("{command:?}");
        let mut child = spawn(command);
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).unwrap_or_else(|e| panic!("write to {text}: {e}"));
        drop(stdin);
        finish(child, text)
    }

    /// Runs kubectl in this namespace as long as its lines are read.
    pub fn stream(&self, args: &[&str]) -> Stream {
        let mut command = Command::new("kubectl");
        command.args(["-n", self.name]).args(args).stdin(Stdio::null());
        let mut child = spawn(self.cluster.at_home(command));
        let lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
        Stream { child, lines }
    }

    /// Applies manifests.
    pub fn apply(&self, yaml: &str) -> String {
        self.with_input(&["apply", "-f", "-"], yaml).ok()
    }

    /// A field of an object by its JSON path, without the braces.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.ok(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Waits for a condition with `kubectl wait`.
    pub fn wait(&self, object: &str, condition: &str) {
        self.ok(&["wait", object, &format!("--for={condition}"), "--timeout=60s"]);
    }

    /// Runs kubectl until what it prints passes the check.
    pub fn until(&self, args: &[&str], good: impl Fn(&str) -> bool) -> String {
        eventually(Duration::from_secs(60), || {
            let output = self.kubectl(args);
            if output.code == 0 && good(&output.stdout) { Ok(output.stdout) } else { Err(format!("{output:?}")) }
        })
    }
}

impl Output {
    /// Standard output; panics with everything else when the command failed.
    pub fn ok(self) -> String {
        self.checked().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Standard error of a command that must fail.
    pub fn err(self) -> String {
        assert_ne!(self.code, 0, "`{}` succeeded: {}", self.command, self.stdout);
        self.stderr
    }

    fn checked(self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        Err(Error::Command { command: self.command, output: format!("{}{}", self.stdout, self.stderr) })
    }
}

/// Tries until it succeeds; panics with the last complaint when the time is over.
pub fn eventually<T>(patience: Duration, mut attempt: impl FnMut() -> std::result::Result<T, String>) -> T {
    let end = Instant::now() + patience;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < end, "not within {patience:?}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let text = format!("{command:?}");
    finish(spawn(command), text)
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}

fn finish(child: Child, command: String) -> Output {
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("cannot wait for {command}: {e}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Output { stdout: text(output.stdout), stderr: without_races(&text(output.stderr)), code, command }
}

/// What a client said, without its complaint of a server that greeted it before it had made its streams: whether kubectl
/// says so depends on which of its own threads is the faster.
fn without_races(said: &str) -> String {
    let lines = said.split_inclusive('\n');
    lines.filter(|l| !(l.contains("] Unknown stream id ") && l.contains(", discarding message"))).collect()
}

/// The program under test: named by the environment, else beside the test's own directory.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("IRONCLAD_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe().map_err(io("find this test's program"))?;
    let profile = test.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let program = profile.join("ironclad");
    if program.exists() { Ok(program) } else { Err(Error::NoProgram(program.display().to_string())) }
}

fn place() -> Result<(u8, File)> {
    for place in 1..=PLACES {
        let path = std::env::temp_dir().join(format!("ironclad-test-{place}.lock"));
        let lock = File::create(&path).map_err(io(format!("create {}", path.display())))?;
        if lock.try_lock().is_ok() {
            return Ok((place, lock));
        }
    }
    Err(Error::NoPlace(PLACES))
}

/// Removes a cluster and its directory. Called in drop, so what fails is only told.
fn purge(program: &Path, name: &str, dir: &Path) {
    if !dir.exists() {
        return;
    }
    let mut command = Command::new(program);
    command.args(["down", "--purge", "--name", name, "--data-dir"]).arg(dir.join("data"));
    if let Err(e) = run(command).checked() {
        eprintln!("{e}");
    }
    if let Err(e) = fs::remove_dir_all(dir) {
        eprintln!("cannot remove {}: {e}", dir.display());
    }
}

fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
