//! `ironclad up`: starts the server in the background, waits until it is ready, and tells what to type next.

use crate::cli::Up;
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use crate::{kept, preflight, process, steps};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) fn run(args: Up) -> Result<()> {
    preflight::root()?;
    let mut cluster = Cluster::plan(&args.which, &args.layout)?;
    if let Some((pid, _)) = process::find(&cluster) {
        // As it runs, not as it would run with what is given now.
        cluster = loaded(&args)?;
        eprintln!(" ✓ Cluster {:?} is up already (pid {pid})", cluster.name);
        let ignored = kept::ignored(&args.given, &cluster.flags);
        if !ignored.is_empty() {
            let flags = ignored.join(" ");
            eprintln!(" ! It runs without {flags}: give that again after `ironclad down`");
        }
        connect(&mut cluster, args.kubeconfig.as_deref())?;
        next_command(&cluster, args.kubeconfig.as_deref());
        return Ok(());
    }
    eprintln!("Starting cluster {:?} ...", cluster.name);
    start(&args, &cluster)?;
    // The server chose what was left open, ports for example.
    cluster = loaded(&args)?;
    connect(&mut cluster, args.kubeconfig.as_deref())?;
    next_command(&cluster, args.kubeconfig.as_deref());
    Ok(())
}

fn loaded(args: &Up) -> Result<Cluster> {
    let dir = &args.which.data_dir;
    Cluster::load(dir)?.ok_or_else(|| Failure::internal("cannot find the cluster again", dir.display()))
}

/// Starts the server as a process of its own session and follows its steps.
fn start(args: &Up, cluster: &Cluster) -> Result<()> {
    std::fs::create_dir_all(&cluster.dir).map_err(|e| {
        let help = "Give a directory on a local disk that root can write, with --data-dir.";
        Failure::new(Id::DataDirUnusable, format!("cannot make {}: {e}", cluster.dir.display()), help)
    })?;
    let (reader, writer) = rustix::pipe::pipe().context("cannot make a pipe")?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let log = File::options().create(true).append(true).open(cluster.log_file()).context("cannot open the log")?;
    let mut command = Command::new(program);
    command.arg("server").args(forwarded()).arg("--steps-fd").arg(writer.as_raw_fd().to_string());
    command.stdin(Stdio::null()).stdout(log.try_clone().context("cannot open the log")?).stderr(log);
    // A process group of its own: Ctrl-C at the terminal does not reach it. The server makes its session itself.
    command.process_group(0);
    let mut child = command.spawn().context("cannot start the server")?;
    drop(writer);
    let followed = follow_for(reader, Duration::from_secs(args.timeout));
    match followed {
        Some(Ok(())) => Ok(()),
        Some(Err(Some(failure))) => Err(failure),
        Some(Err(None)) => {
            let status = child.wait().context("cannot wait for the server")?;
            let cause = format!("the server ended before it was ready ({status})");
            Err(Failure::new(
                Id::NotReady,
                cause,
                format!("The last lines of {} say why.", cluster.log_file().display()),
            ))
        }
        None => {
            let cause = format!("the cluster is not ready after {} s; it goes on starting", args.timeout);
            let help = format!("See `ironclad status` and {}.", cluster.log_file().display());
            Err(Failure::new(Id::NotReady, cause, help))
        }
    }
}

/// What the server is told: this command's own arguments, without those that only concern `up`.
fn forwarded() -> Vec<std::ffi::OsString> {
    let mut out = Vec::new();
    let mut args = std::env::args_os().skip(2);
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if matches!(&*text, "--kubeconfig" | "--timeout") {
            args.next();
        } else if !text.starts_with("--kubeconfig=") && !text.starts_with("--timeout=") {
            out.push(arg);
        }
    }
    out
}

fn follow_for(reader: OwnedFd, patience: Duration) -> Option<std::result::Result<(), Option<Failure>>> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Nobody waits any more after the patience is over.
        let _ = tell.send(steps::follow(File::from(reader)));
    });
    told.recv_timeout(patience).ok()
}

/// Makes the cluster reachable for kubectl.
fn connect(cluster: &mut Cluster, file: Option<&Path>) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(
            Id::Kubeconfig,
            format!("cannot write the kubeconfig: {e}"),
            "Give another file with --kubeconfig.",
        )
    };
    let admin = cluster.admin_kubeconfig();
    if let Some(file) = file {
        let text = std::fs::read(&admin).map_err(|e| failed(&e))?;
        write_private(file, &text).map_err(|e| failed(&e))?;
        return Ok(());
    }
    let target = ironclad_auth::kubeconfig::default_path();
    ironclad_auth::kubeconfig::merge(&admin, &target, &cluster.name).map_err(|e| failed(&e))?;
    if cluster.kubeconfig.as_ref() != Some(&target) {
        cluster.kubeconfig = Some(target);
        cluster.save()?;
    }
    Ok(())
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text)
}

fn next_command(cluster: &Cluster, file: Option<&Path>) {
    let kubectl: PathBuf = "kubectl".into();
    let config = file.map(|f| format!(" --kubeconfig {}", f.display())).unwrap_or_default();
    eprintln!(
        "\nCluster {:?} is ready: {}\nNow type:  {}{config} get nodes",
        cluster.name,
        cluster.api_url(),
        kubectl.display()
    );
}
