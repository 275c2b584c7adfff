//! Pods on a real kernel: addresses, reachability, host ports, restarts, removal.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Netns, get, nft_list, on_a_node, runtime};
use ironclad_cri::{Attachment, PodNetwork as _, PortMapping};
use ironclad_network::pod::{Config, PodNetwork, purge};

fn config(directory: &std::path::Path) -> Config {
    Config {
        cluster: "t".to_owned(),
        directory: directory.to_owned(),
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        mtu: None,
    }
}

fn attachment(id: &str, port: Option<(u16, u16)>) -> Attachment {
    let map = |(host_port, container_port)| PortMapping {
        protocol: "TCP".to_owned(),
        container_port,
        host_port,
        host_ip: String::new(),
    };
    Attachment {
        sandbox_id: id.to_owned(),
        port_mappings: port.map(map).into_iter().collect(),
        ..Attachment::default()
    }
}

#[test]
fn pods_and_host_reach_each_other_and_everything_goes_away() {
    on_a_node(|| {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("network");
        let network = PodNetwork::new(config(&state)).unwrap();
        let (a, b) = (Netns::new(), Netns::new());
        runtime().block_on(async {
            assert!(network.ready().await.is_err());
            network.set_pod_cidrs(&["10.244.0.0/24".to_owned(), "fd00:244::/64".to_owned()]).await.unwrap();
            network.ready().await.unwrap();
            let ips = network.attach(&attachment("a", Some((8080, 80))), a.path()).await.unwrap();
            assert_eq!(ips, ["10.244.0.2", "fd00:244::2"]);
            assert_eq!(network.attach(&attachment("a", Some((8080, 80))), a.path()).await.unwrap(), ips);
            assert_eq!(network.attach(&attachment("b", None), b.path()).await.unwrap()[0], "10.244.0.3");
        });
        a.serve(80, "a");
        b.serve(80, "b");
        assert_eq!(get("10.244.0.2:80").unwrap(), "a 192.0.2.1");
        assert_eq!(a.inside(|| get("10.244.0.3:80")).unwrap(), "b 10.244.0.2");
        // Host ports: from the host, by localhost, from another pod, from the pod itself.
        assert_eq!(get("192.0.2.1:8080").unwrap(), "a 192.0.2.1");
        assert!(get("127.0.0.1:8080").unwrap().starts_with("a "));
        assert_eq!(b.inside(|| get("192.0.2.1:8080")).unwrap(), "a 10.244.0.3");
        assert!(a.inside(|| get("192.0.2.1:8080")).unwrap().starts_with("a "));
        // A new process takes over what the old one made.
        drop(network);
        let network = PodNetwork::new(config(&state)).unwrap();
        assert_eq!(get("192.0.2.1:8080").unwrap(), "a 192.0.2.1");
        runtime().block_on(async {
            network.retain(&["a".to_owned()]).await.unwrap();
            assert!(get("10.244.0.3:80").is_err());
            network.detach("a").await.unwrap();
            network.detach("a").await.unwrap();
            let c = Netns::new();
            assert_eq!(network.attach(&attachment("c", None), c.path()).await.unwrap()[0], "10.244.0.4");
        });
        assert!(!nft_list().contains("8080"), "{}", nft_list());
        drop(network);
        purge("t", &state).unwrap();
        assert_eq!(nft_list(), "");
        assert!(!state.exists());
    });
}
