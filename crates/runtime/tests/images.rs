//! Pulling, importing and removing images.

#![allow(missing_docs)]

mod common;

use common::{Node, config, log_text, shell};
use ironclad_cri::*;
use ironclad_runtime::{Embedded, ImageStore, RegistryConfig};
use ironclad_testkit::{Credentials, Images, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn request(image: &str) -> PullRequest {
    PullRequest { image: image.into(), ..PullRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_once_and_shared() {
    let node = Node::new(&[]).await;
    let kit = Images::build().await.unwrap();
    let registry = Registry::serve(&kit).await.unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let tell = seen.clone();
    let progress: PullProgress = Some(Arc::new(move |done, total| {
        assert!(done <= total);
        tell.store(done, Ordering::Relaxed);
    }));
    let name = registry.image("nginx:1.27");
    let pulls = (0..4).map(|_| node.runtime.pull_image(request(&name), progress.clone()));
    let ids = futures::future::try_join_all(pulls).await.unwrap();
    assert!(ids.iter().all(|i| *i == kit.get("nginx:1.27").unwrap().id));
    assert!(seen.load(Ordering::Relaxed) > 1_000_000);
    let before = registry.blobs_served();
    node.runtime.pull_image(request(&registry.image("nginx:1.28")), None).await.unwrap();
    assert_eq!(registry.blobs_served() - before, 2, "only the configuration and the layer that differs");
    let image = node.runtime.image_status(&name).await.unwrap().unwrap();
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    assert!(image.repo_digests[0].contains("@sha256:") && image.size > 1_000_000);
    let by_digest = node.runtime.image_status(&image.repo_digests[0]).await.unwrap();
    assert_eq!(by_digest.unwrap().id, image.id);
    let same = node.runtime.pull_image(request(&image.repo_digests[0]), None).await.unwrap();
    assert_eq!(same, image.id);

    let shell =
        ContainerConfig { image: ids[0].clone(), ..shell("nginx -v 2>&1; cat /usr/share/nginx/html/index.html") };
    let (_, id) = node.run(shell).await;
    let text = log_text(&node.exited(&id).await.log_path);
    assert!(text.contains("nginx version") && text.contains("Welcome to nginx 1.27"), "{text}");

    let layers = || std::fs::read_dir(node.dir.path().join("data/images/l")).unwrap().count();
    assert_eq!(layers(), 4);
    node.runtime.remove_image(&registry.image("nginx:1.28")).await.unwrap();
    assert_eq!(layers(), 3);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_errors_say_what_is_wrong() {
    let node = Node::new(&[]).await;
    let kit = Images::build().await.unwrap();
    let registry = Registry::serve(&kit).await.unwrap();
    let name = registry.image("nothing:1");
    let error = node.runtime.pull_image(request(&name), None).await.unwrap_err();
    let want = format!(
        "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
    );
    assert_eq!(error, Error::NotFound(want));
    let error = node.runtime.pull_image(request("UPPER case"), None).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    let dead = format!("127.0.0.1:{}/x:1", 1);
    let error = node.runtime.pull_image(request(&dead), None).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");

    let credentials = Credentials { username: "me".into(), password: "secret".into() };
    let private = Registry::serve_private(&kit, &credentials).await.unwrap();
    let name = private.image("busybox:1.36");
    let error = node.runtime.pull_image(request(&name), None).await.unwrap_err();
    assert!(matches!(&error, Error::PermissionDenied(t) if t.contains("pull access denied")), "{error}");
    let auth =
        |password: &str| AuthConfig { username: "me".into(), password: password.into(), ..AuthConfig::default() };
    let with = PullRequest { image: name, auth: vec![auth("wrong"), auth("secret")], ..PullRequest::default() };
    node.runtime.pull_image(with, None).await.unwrap();
    node.end().await;
}

/// Between a client and a registry: passes on some bytes of each answer, then holds the rest until it is let go.
async fn stalling(registry: String, bytes: usize) -> (String, Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (host, open) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicBool::new(false)));
    let free = open.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (registry, free) = (registry.clone(), free.clone());
            tokio::spawn(async move {
                let server = tokio::net::TcpStream::connect(registry).await.unwrap();
                let ((mut from, mut to), (mut answer, mut ask)) = (client.into_split(), server.into_split());
                let asking = tokio::spawn(async move { tokio::io::copy(&mut from, &mut ask).await });
                let most = if free.load(Ordering::Relaxed) { u64::MAX } else { bytes as u64 };
                drop(tokio::io::copy(&mut tokio::io::AsyncReadExt::take(&mut answer, most), &mut to).await);
                if most < u64::MAX {
                    std::future::pending::<()>().await;
                }
                drop(asking.await);
            });
        }
    });
    (host, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stalls_is_given_up_and_tried_again() {
    let kit = Images::build().await.unwrap();
    let registry = Registry::serve(&kit).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), "test-stall");
    config.registries.patience = Some(std::time::Duration::from_millis(300));
    let runtime = Embedded::open(config).await.unwrap();
    // At once; and in the midst of a layer.
    for bytes in [0, 200_000] {
        let (host, open) = stalling(registry.host(), bytes).await;
        let name = format!("{host}/nginx:1.27");
        let pull = || runtime.pull_image(request(&name), None);
        let error = tokio::time::timeout(std::time::Duration::from_secs(20), pull()).await.unwrap().unwrap_err();
        assert!(error.to_string().starts_with("failed to pull and unpack image"), "{error}");
        assert!(error.to_string().contains("timed out"), "{error}");
        open.store(true, Ordering::Relaxed);
        let id = pull().await.unwrap();
        runtime.remove_image(&id).await.unwrap();
        let left = std::fs::read_dir(dir.path().join("data/images/tmp")).unwrap().count();
        assert_eq!(left, 0, "an aborted pull left files");
    }
    runtime.purge().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_stand_in_for_a_registry_and_images_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let kit = Images::build().await.unwrap();
    let registry = Registry::serve(&kit).await.unwrap();
    let mut config = config(dir.path(), "test-mirror");
    config.registries.mirrors.insert("registry.test".into(), vec![registry.host()]);
    let runtime = Embedded::open(config.clone()).await.unwrap();
    let id = runtime.pull_image(request("registry.test/busybox:1.36"), None).await.unwrap();
    drop(runtime);
    let again = Embedded::open(config).await.unwrap();
    assert_eq!(again.image_status("registry.test/busybox:1.36").await.unwrap().unwrap().id, id);
    assert!(again.image_fs_info().await.unwrap().used_bytes > 1_000_000);
    again.purge().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_layers_stay_in_their_directory() {
    let node = Node::new(&[]).await;
    let outside = node.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, link: &str, body: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(7);
        header.set_size(body.len() as u64);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        layer.append(&header, body).unwrap();
    };
    add(tar::EntryType::Symlink, "up", "../../../..", b"");
    add(tar::EntryType::Regular, "up/tmp/ironclad-test-hostile", "", b"inside");
    add(tar::EntryType::Regular, "setuid", "", b"x");
    add(tar::EntryType::Link, "hard", "setuid", b"");
    add(tar::EntryType::Regular, ".wh.gone", "", b"");
    let layer = layer.into_inner().unwrap();
    let archive = docker_archive(&[layer]);
    node.runtime.import(std::io::Cursor::new(archive)).await.unwrap();
    assert!(!std::path::Path::new("/tmp/ironclad-test-hostile").exists());
    let layers = std::fs::read_dir(node.dir.path().join("data/images/l")).unwrap();
    let dir = layers.flatten().next().unwrap().path();
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(dir.join("hard")).unwrap();
    assert_eq!((meta.nlink(), meta.mode() & 0o7777, meta.uid()), (2, 0o4755, 7));
    let whiteout = std::fs::symlink_metadata(dir.join("gone")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);

    let mut escape = tar::Builder::new(Vec::new());
    for (kind, name) in [(tar::EntryType::Symlink, "escape"), (tar::EntryType::Regular, "escape/file")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        if kind.is_symlink() {
            header.set_link_name_literal(&*outside.to_string_lossy()).unwrap();
        }
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        escape.append(&header, std::io::empty()).unwrap();
    }
    let refused = node.runtime.import(std::io::Cursor::new(docker_archive(&[escape.into_inner().unwrap()]))).await;
    assert!(refused.is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);

    let mut climbing = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../../bad");
    header.set_cksum();
    climbing.append(&header, std::io::empty()).unwrap();
    let error = node.runtime.import(std::io::Cursor::new(docker_archive(&[climbing.into_inner().unwrap()]))).await;
    assert!(error.unwrap_err().to_string().contains("bad path"));
    node.end().await;
}

/// What `docker save` writes, for layers that are plain tars.
fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    use sha2::Digest;
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let digests: Vec<String> =
        layers.iter().map(|l| format!("sha256:{}", hex::encode(sha2::Sha256::digest(l)))).collect();
    let config = format!("{{\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":{digests:?}}}}}");
    add("config.json", config.as_bytes());
    let mut names = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        names.push(format!("{i}/layer.tar"));
        add(&names[i], layer);
    }
    let manifest = format!("[{{\"Config\":\"config.json\",\"RepoTags\":[\"hostile:1\"],\"Layers\":{names:?}}}]");
    add("manifest.json", manifest.as_bytes());
    tar.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_of_the_test_kit_does_its_work() {
    let all = ["nginx:1.27", "redis:7", "tool:1", "guestbook:1", "nonroot:1"];
    let node = Node::new(&all).await;
    let sandbox = node.runtime.run_pod_sandbox(node.pod()).await.unwrap();
    let start = async |name: &str, envs: Vec<(String, String)>| {
        let config = ContainerConfig {
            name: name.into(),
            image: format!("test.local/{name}"),
            log_path: format!("{name}.log"),
            envs,
            ..ContainerConfig::default()
        };
        let id = node.runtime.create_container(&sandbox, config).await.unwrap();
        node.runtime.start_container(&id).await.unwrap();
        id
    };
    let own = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
    start("nginx:1.27", vec![]).await;
    let redis = start("redis:7", vec![]).await;
    let tool = start("tool:1", vec![]).await;
    let fetch = own("curl -sS --retry 20 --retry-connrefused --retry-delay 0 --retry-max-time 5 http://127.0.0.1/");
    let page = node.runtime.exec_sync(&tool, &fetch, None).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&page.stdout), "Welcome to nginx 1.27 on pod\n", "{page:?}");
    // The line comes when the answer is gone already.
    while !log_text(&node.logs().join("nginx:1.27.log").to_string_lossy()).contains("GET / HTTP/1.1") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let pong = node.runtime.exec_sync(&redis, &own("redis-cli set a b"), None).await.unwrap();
    assert_eq!(pong.stdout, b"OK\n");
    let version = node.runtime.exec_sync(&tool, &own("dig -v"), None).await.unwrap();
    assert!(
        String::from_utf8_lossy(&version.stderr).contains("DiG")
            || String::from_utf8_lossy(&version.stdout).contains("DiG")
    );
    let plain = start("nonroot:1", vec![]).await;
    node.runtime.exec_sync(&plain, &own("true"), None).await.unwrap();
    let said = || log_text(&node.logs().join("nonroot:1.log").to_string_lossy());
    while !said().contains("hello") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(said().starts_with("uid=1000(app) gid=1000(app)") && said().contains("/srv/new\nhello\n"), "{}", said());
    let status = node.runtime.container_stats(Some(&sandbox)).await.unwrap();
    assert!(status.len() == 4 && status.iter().all(|s| s.memory_usage > 0 && s.cpu_usage_nanos > 0), "{status:?}");
    assert!(node.runtime.pod_sandbox_stats(Some(&sandbox)).await.unwrap()[0].process_count >= 4);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guestbook_keeps_what_is_written() {
    let node = Node::new(&["redis:7", "tool:1", "guestbook:1"]).await;
    let sandbox = node.runtime.run_pod_sandbox(node.pod()).await.unwrap();
    let mut ids = Vec::new();
    for name in ["redis:7", "guestbook:1", "tool:1"] {
        let envs = vec![("REDIS_HOST".into(), "127.0.0.1".into())];
        let config = ContainerConfig {
            name: name.into(),
            image: format!("test.local/{name}"),
            envs,
            ..ContainerConfig::default()
        };
        let id = node.runtime.create_container(&sandbox, config).await.unwrap();
        node.runtime.start_container(&id).await.unwrap();
        ids.push(id);
    }
    let script = "until redis-cli ping; do sleep 0.05; done";
    node.runtime.exec_sync(&ids[0], &["sh".into(), "-c".into(), script.into()], None).await.unwrap();
    let get = "curl -sS http://127.0.0.1/cgi-bin/add?hello && curl -sS http://127.0.0.1/cgi-bin/list";
    let out = node.runtime.exec_sync(&ids[2], &["sh".into(), "-c".into(), get.into()], None).await.unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("guestbook on pod") && text.contains("hello"), "{text} {out:?}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_the_node_shares_its_images() {
    let node = Node::new(&["busybox:1.36"]).await;
    let kit = Images::build().await.unwrap();
    let store = ImageStore::open(&node.dir.path().join("data"), RegistryConfig::default()).unwrap();
    assert_eq!(store.list_images().await.unwrap().len(), 1);
    let archive = node.dir.path().join("other.tar");
    kit.archive("tool:1", "test.local/tool:1", &archive).unwrap();
    store.import(std::fs::File::open(&archive).unwrap()).await.unwrap();
    assert!(node.runtime.image_status("test.local/tool:1").await.unwrap().is_some());
    let config =
        ContainerConfig { image: "test.local/tool:1".into(), ..shell("curl --version | head -n 1; sleep 1000") };
    let (_, id) = node.run(config).await;
    store.remove_image("test.local/tool:1").await.unwrap();
    assert!(node.runtime.image_status("test.local/tool:1").await.unwrap().is_none());
    let out = node.runtime.exec_sync(&id, &["curl".into(), "--version".into()], None).await.unwrap();
    assert_eq!(out.exit_code, 0, "layers of a running container stay");
    let layers = || std::fs::read_dir(node.dir.path().join("data/images/l")).unwrap().count();
    assert_eq!(layers(), 2);
    node.runtime.remove_container(&id).await.unwrap();
    store.remove_image("nothing").await.unwrap();
    assert_eq!(layers(), 1);
    node.end().await;
}
