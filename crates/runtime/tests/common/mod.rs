//! A runtime of its own for each test, which leaves nothing behind, also when the test fails.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use ironclad_cri::*;
use ironclad_runtime::{Config, Embedded, RegistryConfig};
use ironclad_testkit::Images;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Gives no addresses: these tests look at containers.
pub struct NoNetwork;

#[async_trait]
impl PodNetwork for NoNetwork {
    async fn ready(&self) -> Result<()> {
        Ok(())
    }
    async fn set_pod_cidrs(&self, _: &[String]) -> Result<()> {
        Ok(())
    }
    async fn attach(&self, _: &Attachment, netns: &Path) -> Result<Vec<String>> {
        assert!(netns.exists());
        Ok(vec!["10.0.0.1".into()])
    }
    async fn detach(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn retain(&self, _: &[String]) -> Result<()> {
        Ok(())
    }
}

pub struct Node {
    pub runtime: Embedded,
    pub dir: tempfile::TempDir,
    pub cluster: String,
}

impl Node {
    pub async fn new(images: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = format!("test-{}", dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.'));
        let runtime = Embedded::open(config(dir.path(), &cluster)).await.unwrap();
        let node = Self { runtime, dir, cluster };
        let kit = Images::build().await.unwrap();
        for image in images {
            let path = node.dir.path().join("image.tar");
            kit.archive(image, &format!("test.local/{image}"), &path).unwrap();
            let names = node.runtime.import(std::fs::File::open(&path).unwrap()).await.unwrap();
            assert_eq!(names, [format!("test.local/{image}")]);
        }
        node
    }

    /// As after a restart of the process.
    pub async fn reopened(&self) -> Embedded {
        Embedded::open(config(self.dir.path(), &self.cluster)).await.unwrap()
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    pub fn pod(&self) -> SandboxConfig {
        SandboxConfig {
            name: "pod".into(),
            namespace: "default".into(),
            uid: "uid-1".into(),
            hostname: "pod".into(),
            log_directory: self.logs().to_string_lossy().into_owned(),
            cgroup_parent: "/kubepods/besteffort/pod-uid-1".into(),
            dns: Some(DnsConfig {
                servers: vec!["10.96.0.10".into()],
                searches: vec!["a.local".into()],
                options: vec![],
            }),
            ..SandboxConfig::default()
        }
    }

    /// Creates and starts a container of a new sandbox.
    pub async fn run(&self, config: ContainerConfig) -> (String, String) {
        let sandbox = self.runtime.run_pod_sandbox(self.pod()).await.unwrap();
        let id = self.runtime.create_container(&sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        (sandbox, id)
    }

    pub async fn exited(&self, id: &str) -> ContainerStatus {
        wait_exited(&self.runtime, id).await
    }

    pub async fn end(self) {
        let cluster = self.cluster.clone();
        self.runtime.clone().purge().await.unwrap();
        assert_nothing_left(&cluster, self.dir.path());
    }
}

pub fn assert_nothing_left(cluster: &str, dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*dir.to_string_lossy()), "mounts are left");
    for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(
            !entry.path().join(format!("ironclad-{cluster}")).exists(),
            "cgroup is left in {}",
            entry.path().display()
        );
    }
}

pub async fn wait_exited(runtime: &Embedded, id: &str) -> ContainerStatus {
    let mut events = runtime.events();
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let status = runtime.container_status(id).await.unwrap();
            if status.state == ContainerState::Exited {
                return status;
            }
            events.recv().await.unwrap();
        }
    })
    .await
    .expect("the container ends")
}

impl Drop for Node {
    fn drop(&mut self) {
        // A failed test has not ended its node: the directory must not go while shims live in it.
        let (runtime, panicking) = (self.runtime.clone(), std::thread::panicking());
        if panicking {
            std::thread::spawn(move || {
                let tokio = tokio::runtime::Runtime::new().unwrap();
                drop(tokio.block_on(runtime.purge()));
            })
            .join()
            .ok();
        }
    }
}

pub fn config(dir: &Path, cluster: &str) -> Config {
    Config {
        cluster: cluster.into(),
        data_dir: dir.join("data"),
        run_dir: dir.join("run"),
        shim: env!("CARGO_BIN_EXE_ironclad-shim").into(),
        network: Arc::new(NoNetwork),
        registries: RegistryConfig::default(),
    }
}

pub fn shell(script: &str) -> ContainerConfig {
    ContainerConfig {
        name: "main".into(),
        image: "test.local/busybox:1.36".into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        log_path: "main/0.log".into(),
        ..ContainerConfig::default()
    }
}

/// The text of log records without their heads.
pub fn log_text(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
}
