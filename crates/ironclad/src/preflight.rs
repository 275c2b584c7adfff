//! What must be true of the machine before a cluster starts, each with what helps where it is not.

use crate::cluster::Cluster;
use crate::failure::{Failure, Id, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// Only root can make namespaces, mounts and network devices.
pub(crate) fn root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Err(Failure::new(
        Id::NotRoot,
        "a cluster needs root to make namespaces, mounts and network devices",
        format!("Try: sudo {command}"),
    ))
}

/// The kernel can do what containers, Services and pod networks need.
pub(crate) fn kernel() -> Result<()> {
    let missing =
        |what: &str, help: &str| Err(Failure::new(Id::KernelFeature, format!("this kernel has no {what}"), help));
    // Asking for the file system makes the kernel load its module, where it is one.
    if rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).is_err() {
        return missing("overlayfs", "Try: modprobe overlay");
    }
    for (namespace, what) in
        [("net", "network"), ("pid", "process"), ("mnt", "mount"), ("uts", "host name"), ("ipc", "IPC")]
    {
        if !Path::new("/proc/self/ns").join(namespace).exists() {
            return missing(&format!("{what} namespaces"), "Use a kernel built with CONFIG_NAMESPACES and its parts.");
        }
    }
    const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v2 = CONTROLLERS.iter().all(|c| v2.split_whitespace().any(|has| has == *c));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let v1 = CONTROLLERS.iter().all(|c| {
        mounts.lines().any(|l| {
            l.split_whitespace().nth(2) == Some("cgroup")
                && l.split_whitespace().nth(3).is_some_and(|o| o.split(',').any(|x| x == *c))
        })
    });
    if !v1 && !v2 {
        return missing(
            "usable cgroups (memory, cpu, pids)",
            "Mount the cgroup hierarchies, v2 at /sys/fs/cgroup or v1 below it.",
        );
    }
    Ok(())
}

/// The port can be listened on; 0 is replaced by a free one.
pub(crate) fn port(ip: IpAddr, port: &mut u16, what: &str, flag: &str) -> Result<()> {
    match TcpListener::bind(SocketAddr::new(ip, *port)).and_then(|l| l.local_addr()) {
        Ok(address) => {
            *port = address.port();
            Ok(())
        }
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            let cause = format!("port {port}, which {what} needs, is in use{}", holder(*port));
            Err(Failure::new(
                Id::PortInUse,
                cause,
                format!("Stop what uses it, or choose another with {flag} (0 takes a free one)."),
            ))
        }
        Err(e) => {
            let cause = format!("{what} cannot listen on {ip}:{port}: {e}");
            Err(Failure::new(Id::PortInUse, cause, format!("Choose another address, or another port with {flag}.")))
        }
    }
}

/// Every port that the cluster listens on is free.
pub(crate) fn ports(cluster: &mut Cluster) -> Result<()> {
    let node = IpAddr::V4(cluster.node_ip);
    port(cluster.bind_address, &mut cluster.api_port, "the API server", "--api-port")?;
    port(IpAddr::V4(Ipv4Addr::UNSPECIFIED), &mut cluster.kubelet_port, "the kubelet", "--kubelet-port")?;
    port(node, &mut cluster.dns_port, "the DNS server", "--dns-port")
}

/// Which program listens on a TCP port, where the kernel tells.
fn holder(port: u16) -> String {
    let find = || {
        let tables = [procfs::net::tcp().ok()?, procfs::net::tcp6().unwrap_or_default()];
        let listening =
            |e: &&procfs::net::TcpNetEntry| e.local_address.port() == port && e.state == procfs::net::TcpState::Listen;
        let inode = tables.iter().flatten().find(listening)?.inode;
        let owns = |p: &procfs::process::Process| {
            p.fd().is_ok_and(|fds| fds.flatten().any(|fd| fd.target == procfs::process::FDTarget::Socket(inode)))
        };
        let process = procfs::process::all_processes().ok()?.flatten().find(owns)?;
        Some(format!(" by {} (pid {})", process.stat().ok()?.comm, process.pid))
    };
    find().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_its_holder_and_what_helps() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut number = taken.local_addr().unwrap().port();
        let failure = port(Ipv4Addr::LOCALHOST.into(), &mut number, "the API server", "--api-port").unwrap_err();
        assert_eq!(failure.id, Id::PortInUse);
        assert!(failure.cause.contains(&format!("(pid {})", std::process::id())), "{}", failure.cause);
        assert!(failure.help.contains("--api-port"));
    }

    #[test]
    fn port_zero_takes_a_free_one() {
        let mut number = 0;
        port(Ipv4Addr::LOCALHOST.into(), &mut number, "x", "--x").unwrap();
        assert_ne!(number, 0);
    }
}
