//! Pods that share with the node, and the rarer parts of a security context.

#![allow(missing_docs)]

mod common;

use common::{Node, log_text, shell};
use ironclad_cri::*;
use std::time::Duration;

const BUSYBOX: &[&str] = &["busybox:1.36"];

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_pod_of_the_node_sees_the_node() {
    let node = Node::new(BUSYBOX).await;
    let mut pod = node.pod();
    pod.hostname = String::new();
    pod.namespaces = NamespaceOptions { host_network: true, pid: PidMode::Node, host_ipc: true, users: None };
    let mut config = shell(
        "for n in net uts ipc pid; do readlink /proc/self/ns/$n; done; mount -t tmpfs t /tmp && echo mounted; \
        test -w /sys/fs/cgroup/memory && echo cgroup; ls /dev/kmsg; sleep 1000 & sleep 1000",
    );
    config.security = SecurityContext { privileged: true, pid: PidMode::Node, ..SecurityContext::default() };
    let sandbox = node.runtime.run_pod_sandbox(pod).await.unwrap();
    assert!(node.runtime.pod_sandbox_status(&sandbox).await.unwrap().ips.is_empty());
    let id = node.runtime.create_container(&sandbox, config).await.unwrap();
    node.runtime.start_container(&id).await.unwrap();
    let ps = node.runtime.exec_sync(&id, &["cat".into(), "/proc/1/comm".into()], None).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&ps.stdout), std::fs::read_to_string("/proc/1/comm").unwrap());
    let log = node.runtime.container_status(&id).await.unwrap().log_path;
    while !log_text(&log).contains("kmsg") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = log_text(&log);
    for name in ["net", "uts", "ipc", "pid"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(text.contains(&*own.to_string_lossy()), "{name} {text}");
    }
    assert!(text.contains("mounted\ncgroup\n/dev/kmsg\n"), "{text}");
    // Both of its processes go, though no process namespace ends with the first.
    node.runtime.stop_container(&id, Duration::from_millis(100)).await.unwrap();
    assert_eq!(node.runtime.pod_sandbox_stats(Some(&sandbox)).await.unwrap()[0].process_count, 0);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_even_a_privileged_container_reaches_the_runtimes_program() {
    let node = Node::new(BUSYBOX).await;
    let mut pod = node.pod();
    pod.namespaces.pid = PidMode::Pod;
    let mut config = shell("chmod 755 /proc/1/exe; echo broken >> /proc/1/exe; echo tried");
    config.security = SecurityContext { privileged: true, pid: PidMode::Pod, ..SecurityContext::default() };
    let sandbox = node.runtime.run_pod_sandbox(pod).await.unwrap();
    let id = node.runtime.create_container(&sandbox, config).await.unwrap();
    node.runtime.start_container(&id).await.unwrap();
    let text = log_text(&node.exited(&id).await.log_path);
    assert!(text.contains("/proc/1/exe: Read-only file system") && text.contains("tried"), "{text}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sysctls_profiles_and_recursive_read_only_mounts() {
    let node = Node::new(BUSYBOX).await;
    let dir = node.dir.path().join("tree");
    std::fs::create_dir_all(dir.join("below")).unwrap();
    let below = dir.join("below");
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "below"]).arg(&below).status().unwrap();
    assert!(mounted.success());
    let profile = node.dir.path().join("profile.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#,
    )
    .unwrap();
    let mut pod = node.pod();
    pod.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "81".into());
    pod.sysctls.insert("kernel.msgmax".into(), "9000".into());
    let mut config = shell(
        "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/msgmax net/ipv4/ping_group_range; cd /; \
        mkdir /x; touch /rro/below/f; \
        touch /ro/below/f && echo fine; ls /images/bin/busybox",
    );
    config.security.seccomp = Seccomp::Localhost(profile.to_string_lossy().into_owned());
    let mount = |inside: &str, recursive_read_only| Mount {
        container_path: inside.into(),
        host_path: dir.to_string_lossy().into_owned(),
        readonly: true,
        recursive_read_only,
        ..Mount::default()
    };
    let image = ("test.local/busybox:1.36".to_owned(), String::new());
    config.mounts = vec![
        mount("/rro", true),
        mount("/ro", false),
        Mount { container_path: "/images".into(), image: Some(image), ..Mount::default() },
    ];
    let sandbox = node.runtime.run_pod_sandbox(pod).await.unwrap();
    let id = node.runtime.create_container(&sandbox, config).await.unwrap();
    node.runtime.start_container(&id).await.unwrap();
    let status = node.exited(&id).await;
    assert!(std::process::Command::new("umount").arg(&below).status().unwrap().success());
    let text = log_text(&status.log_path);
    assert!(text.starts_with("81\n9000\n0\t2147483647\n"), "{text}");
    assert!(text.contains("mkdir: can't create directory '/x': Operation not supported"), "{text}");
    assert!(
        text.contains("touch: /rro/below/f: Read-only file system") && text.contains("fine\n/images/bin/busybox\n"),
        "{text}"
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_at_once_come_and_go_without_a_trace() {
    let node = Node::new(BUSYBOX).await;
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let pods = (0..40).map(|i| {
        let node = &node;
        async move {
            let mut pod = node.pod();
            pod.uid = format!("uid-{i}");
            pod.cgroup_parent = format!("/kubepods/pod{i}");
            let sandbox = node.runtime.run_pod_sandbox(pod).await.unwrap();
            let config = ContainerConfig { log_path: format!("{i}.log"), ..shell("echo up; exec sleep 1000") };
            let id = node.runtime.create_container(&sandbox, config).await.unwrap();
            node.runtime.start_container(&id).await.unwrap();
            for n in 0..10 {
                let out = node.runtime.exec_sync(&id, &["echo".into(), n.to_string()], None).await.unwrap();
                assert_eq!(out.stdout, format!("{n}\n").as_bytes());
            }
            node.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
            node.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
        }
    });
    futures::future::join_all(pods).await;
    assert!(node.runtime.list_containers(None).await.unwrap().is_empty());
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after <= before + 4, "{before} descriptors before, {after} after");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_before_anything_is_made() {
    let node = Node::new(BUSYBOX).await;
    let sandbox = node.runtime.run_pod_sandbox(node.pod()).await.unwrap();
    let create = async |config| node.runtime.create_container(&sandbox, config).await.unwrap_err();
    let unknown = create(ContainerConfig { image: "nothing:1".into(), ..shell("") }).await;
    assert!(matches!(unknown, Error::NotFound(_)), "{unknown}");
    let mut config = shell("");
    config.security.add_capabilities = vec!["FLY".into()];
    assert!(create(config).await.to_string().contains("CAP_FLY"));
    let mut config = shell("");
    config.security.run_as_username = "ghost".into();
    assert!(create(config).await.to_string().contains("unable to find user ghost"));
    assert_eq!(std::fs::read_dir(node.dir.path().join("data/containers")).unwrap().count(), 0);
    let error = node.runtime.run_pod_sandbox(SandboxConfig {
        sysctls: [("kernel.no_such".to_owned(), "1".to_owned())].into(),
        ..node.pod()
    });
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("failed to create pod sandbox") && error.contains("kernel.no_such"), "{error}");
    assert_eq!(node.runtime.list_pod_sandboxes(None).await.unwrap().len(), 1);
    assert!(node.runtime.stop_pod_sandbox("none").await.is_ok() && node.runtime.remove_container("none").await.is_ok());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_pod_are_others_on_the_node() {
    use std::os::unix::fs::MetadataExt;
    let node = Node::new(BUSYBOX).await;
    let volume = node.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("old"), "").unwrap();
    let mut pod = node.pod();
    pod.namespaces.users = Some(UserMapping { host_id: 1_000_000, length: 65_536 });
    let script = "cat /proc/self/uid_map; ls -lnd / /etc/passwd /v /v/old /dev/null | awk '{print $3, $4}'; \
        touch /v/new /root/new; chown 7:7 /v/new; echo again > /dev/stdout; mount -t tmpfs t /tmp && echo mounted; \
        hostname other && echo named; cat /sys/class/net/lo/address; sysctl -w net.ipv4.ip_forward=1; \
        echo 3 > /proc/sys/vm/drop_caches; mknod /x c 1 3; sleep 1000";
    let mut config = shell(script);
    config.mounts = vec![Mount {
        container_path: "/v".into(),
        host_path: volume.to_string_lossy().into_owned(),
        ..Mount::default()
    }];
    config.security.add_capabilities = vec!["SYS_ADMIN".into(), "NET_ADMIN".into()];
    let sandbox = node.runtime.run_pod_sandbox(pod).await.unwrap();
    let id = node.runtime.create_container(&sandbox, config).await.unwrap();
    node.runtime.start_container(&id).await.unwrap();
    let log = node.runtime.container_status(&id).await.unwrap().log_path;
    while !log_text(&log).contains("mknod") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = log_text(&log);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.starts_with("0 1000000 65536 0 0 0 0 0 0 0 0 0 0 again mounted named"), "{text}");
    assert!(text.contains("net.ipv4.ip_forward = 1"), "{text}");
    assert!(text.contains("drop_caches: Permission denied") && text.contains("mknod: /x: Operation not"), "{text}");
    // On the disk a volume has the pod's numbers; the process has the node's.
    assert_eq!(std::fs::metadata(volume.join("new")).unwrap().uid(), 7);
    let ps = node.runtime.exec_sync(&id, &["sh".into(), "-c".into(), "id -u; touch /v/by-exec".into()], None).await;
    assert_eq!(String::from_utf8_lossy(&ps.unwrap().stdout), "0\n");
    assert_eq!(std::fs::metadata(volume.join("by-exec")).unwrap().uid(), 0);
    let owned = |entry: &std::fs::DirEntry| entry.metadata().is_ok_and(|m| m.uid() == 1_000_000);
    assert!(std::fs::read_dir("/proc").unwrap().flatten().any(|e| owned(&e)));
    node.end().await;
}
