//! Pods on the real pod network.

#![allow(missing_docs)]

mod common;

use common::{assert_nothing_left, config};
use ironclad_cri::*;
use ironclad_network::pod::{Config as NetworkConfig, PodNetwork as RealNetwork, purge};
use ironclad_runtime::Embedded;
use ironclad_testkit::Images;
use std::path::PathBuf;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn pods_answer_the_node_and_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = format!("tn{}", std::process::id());
    let cidr = "10.253.77.0/24";
    let network = NetworkConfig {
        cluster: cluster.clone(),
        directory: dir.path().join("network"),
        cluster_cidrs: vec![cidr.parse().unwrap()],
        mtu: None,
    };
    let mut with = config(dir.path(), &cluster);
    with.network = Arc::new(RealNetwork::new(network.clone()).unwrap());
    let runtime = Embedded::open(with).await.unwrap();
    runtime.update_pod_cidr(&[cidr.into()]).await.unwrap();
    // In a task of its own: what it leaves is removed also when it fails.
    let seen = tokio::spawn(look(runtime.clone(), dir.path().join("image.tar"))).await;
    runtime.purge().await.unwrap();
    purge(&cluster, &network.directory).unwrap();
    seen.unwrap();
    assert_nothing_left(&cluster, dir.path());
}

async fn look(runtime: Embedded, archive: PathBuf) {
    let kit = Images::build().await.unwrap();
    for image in ["nginx:1.27", "tool:1"] {
        kit.archive(image, &format!("test.local/{image}"), &archive).unwrap();
        runtime.import(std::fs::File::open(&archive).unwrap()).await.unwrap();
    }
    let mut pods = Vec::new();
    for (name, image) in [("web", "nginx:1.27"), ("tool", "tool:1")] {
        let pod = SandboxConfig {
            name: name.into(),
            namespace: "default".into(),
            uid: name.into(),
            hostname: name.into(),
            cgroup_parent: format!("/kubepods/pod{name}"),
            ..SandboxConfig::default()
        };
        let sandbox = runtime.run_pod_sandbox(pod).await.unwrap();
        let spec =
            ContainerConfig { name: name.into(), image: format!("test.local/{image}"), ..ContainerConfig::default() };
        let id = runtime.create_container(&sandbox, spec).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        pods.push((runtime.pod_sandbox_status(&sandbox).await.unwrap(), id));
    }
    let ip = pods[0].0.ips[0].clone();
    assert!(ip.starts_with("10.253.77."), "{ip}");
    let fetch = format!("curl -sS --retry 20 --retry-connrefused --retry-delay 0 --retry-max-time 5 http://{ip}/");
    let from_pod = runtime.exec_sync(&pods[1].1, &["sh".into(), "-c".into(), fetch.clone()], None).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&from_pod.stdout), "Welcome to nginx 1.27 on web\n", "{from_pod:?}");
    let from_node = std::process::Command::new("sh").args(["-c", &fetch]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&from_node.stdout), "Welcome to nginx 1.27 on web\n");
    let stats = runtime.pod_sandbox_stats(Some(&pods[0].0.id)).await.unwrap();
    assert!(stats[0].network.as_ref().is_some_and(|n| n.rx_bytes > 0 && n.tx_bytes > 0), "{stats:?}");
    drop(runtime.port_forward(&pods[0].0.id, 80).await.unwrap());
}
