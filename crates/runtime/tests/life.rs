//! The life of containers against the real kernel.

#![allow(missing_docs)]

mod common;

use common::{Node, log_text, shell};
use ironclad_cri::*;
use std::time::Duration;

const BUSYBOX: &[&str] = &["busybox:1.36"];

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_logs_and_ends() {
    let node = Node::new(BUSYBOX).await;
    let mut events = node.runtime.events();
    let (sandbox, id) =
        node.run(shell("echo out; echo err >&2; hostname; cat /etc/resolv.conf; printf part; exit 3")).await;
    let status = node.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at > status.created_at && status.finished_at >= status.started_at);
    let raw = std::fs::read_to_string(&status.log_path).unwrap();
    assert!(raw.contains(" stderr F err\n") && raw.contains(" stdout F out\n"), "{raw}");
    let text = log_text(&status.log_path);
    assert!(text.contains("pod\n") && text.contains("nameserver 10.96.0.10\n") && text.ends_with("part\n"), "{text}");
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.push((event.id == id, event.kind));
    }
    use ContainerEventKind::*;
    let expected = [(false, Created), (false, Started), (true, Created), (true, Started), (true, Stopped)];
    assert_eq!(kinds, expected);
    node.runtime.remove_container(&id).await.unwrap();
    assert!(matches!(node.runtime.container_status(&id).await, Err(Error::NotFound(_))));
    node.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    assert!(node.runtime.list_pod_sandboxes(None).await.unwrap().is_empty());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_a_start_error() {
    let node = Node::new(BUSYBOX).await;
    let sandbox = node.runtime.run_pod_sandbox(node.pod()).await.unwrap();
    for (command, want) in [
        ("no-such-thing", "exec: \"no-such-thing\": executable file not found in $PATH: unknown"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory: unknown"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied: unknown"),
    ] {
        let config = ContainerConfig { command: vec![command.into()], ..shell("") };
        let id = node.runtime.create_container(&sandbox, config).await.unwrap();
        let error = node.runtime.start_container(&id).await.unwrap_err().to_string();
        assert!(error.ends_with(want), "{error}");
        let status = node.exited(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_asks_first_and_kills_after_the_grace() {
    let node = Node::new(BUSYBOX).await;
    let (_, polite) = node.run(shell("trap 'exit 7' TERM; while true; do sleep 0.05; done")).await;
    // The shell must have set its trap.
    node.runtime.exec_sync(&polite, &["true".into()], None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.runtime.stop_container(&polite, Duration::from_secs(10)).await.unwrap();
    assert_eq!(node.exited(&polite).await.exit_code, 7);
    let (_, deaf) = node.run(shell("trap '' TERM; sleep 100")).await;
    let before = std::time::Instant::now();
    node.runtime.stop_container(&deaf, Duration::from_millis(300)).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(300) && before.elapsed() < Duration::from_secs(5));
    assert_eq!(node.exited(&deaf).await.exit_code, 137);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_kills_for_memory() {
    let node = Node::new(BUSYBOX).await;
    let mut config = shell("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}");
    config.resources.memory_limit = Some(32 << 20);
    let (_, id) = node.run(config).await;
    let status = node.exited(&id).await;
    assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 137));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_users_and_capabilities_hold() {
    let node = Node::new(BUSYBOX).await;
    let mut config = shell(
        "id; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /sys/fs/cgroup/memory/memory.limit_in_bytes; \
        cat /proc/self/oom_score_adj; touch /x; mount -t tmpfs t /mnt; ls /proc/1/fd | wc -l; pwd",
    );
    config.resources = LinuxResources {
        memory_limit: Some(64 << 20),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        cpu_shares: Some(512),
        pids_limit: Some(100),
        oom_score_adj: Some(-998),
        ..LinuxResources::default()
    };
    config.working_dir = "/made/for/it".into();
    config.security = SecurityContext {
        run_as_username: "app".into(),
        readonly_rootfs: true,
        no_new_privs: true,
        drop_capabilities: vec!["ALL".into()],
        seccomp: Seccomp::RuntimeDefault,
        ..SecurityContext::default()
    };
    config.working_dir = "/tmp".into();
    let (_, id) = node.run(config).await;
    let status = node.exited(&id).await;
    let text = log_text(&status.log_path);
    for want in [
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "67108864\n",
        "touch: /x: Read-only file system",
        "mount: permission denied",
        "/tmp\n",
    ] {
        assert!(text.contains(want), "{want:?} is not in\n{text}");
    }
    assert_eq!(status.user, Some((1000, 1000, vec![1000, 2000])));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_devices_and_shared_processes() {
    let node = Node::new(BUSYBOX).await;
    let host = node.dir.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "content\n").unwrap();
    let mount = |inside: &str, sub: &str, readonly| Mount {
        container_path: inside.into(),
        host_path: host.join(sub).to_string_lossy().into_owned(),
        readonly,
        ..Mount::default()
    };
    let mut config = shell(
        "cat /v/file /single; echo new > /v/made; echo no > /ro/x; ls -d /made-dir; echo data > /dev/shm/f; \
        exec 3<>/dev/null; ls -l /dev/null /dev/tty /dev/ptmx; ps -o pid,comm; sleep 100",
    );
    config.mounts = vec![
        mount("/v", "", false),
        mount("/ro", "", true),
        mount("/single", "file", true),
        mount("/made-dir", "fresh", false),
    ];
    config.security.pid = PidMode::Pod;
    let mut pod = node.pod();
    pod.namespaces.pid = PidMode::Pod;
    let sandbox = node.runtime.run_pod_sandbox(pod).await.unwrap();
    let id = node.runtime.create_container(&sandbox, config).await.unwrap();
    node.runtime.start_container(&id).await.unwrap();
    let mut other = shell("cat /dev/shm/f; ps -o comm | grep -c sleep; sleep 0.1");
    other.name = "other".into();
    other.log_path = "other/0.log".into();
    other.security.pid = PidMode::Pod;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = node.runtime.create_container(&sandbox, other).await.unwrap();
    node.runtime.start_container(&second).await.unwrap();
    let seen = log_text(&node.exited(&second).await.log_path);
    assert!(seen.starts_with("data\n1\n") || seen.starts_with("data\n2\n"), "{seen}");
    let text = log_text(&node.runtime.container_status(&id).await.unwrap().log_path);
    assert!(text.starts_with("content\ncontent\n") && text.contains("pause") && text.contains("/made-dir"), "{text}");
    assert!(text.contains("can't create /ro/x: Read-only file system"), "{text}");
    assert_eq!(std::fs::read_to_string(host.join("made")).unwrap(), "new\n");
    node.end().await;
}
