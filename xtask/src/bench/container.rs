//! Containers through the runtime's own interface, with an image that is there already.

use async_trait::async_trait;
use ironclad_cri::*;
use ironclad_runtime::{Config, Embedded, RegistryConfig};
use ironclad_testkit::Images;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct NoNetwork;

#[async_trait]
impl PodNetwork for NoNetwork {
    async fn ready(&self) -> Result<()> {
        Ok(())
    }
    async fn set_pod_cidrs(&self, _: &[String]) -> Result<()> {
        Ok(())
    }
    async fn attach(&self, _: &Attachment, _: &Path) -> Result<Vec<String>> {
        Ok(vec![])
    }
    async fn detach(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn retain(&self, _: &[String]) -> Result<()> {
        Ok(())
    }
}

pub(crate) async fn run(count: usize) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = Embedded::open(Config {
        cluster: format!("bench-{}", std::process::id()),
        data_dir: dir.path().join("data"),
        run_dir: dir.path().join("run"),
        shim: "/proc/self/exe".into(),
        network: Arc::new(NoNetwork),
        registries: RegistryConfig::default(),
    })
    .await?;
    let measured = measure(&runtime, dir.path(), count).await;
    runtime.purge().await?;
    measured?;
    if let Ok(runc) = runc(dir.path(), count) {
        report("runc create+start+delete of the same program", runc);
    }
    Ok(())
}

async fn measure(runtime: &Embedded, dir: &Path, count: usize) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let archive = dir.join("image.tar");
    Images::build().await?.archive("busybox:1.36", "bench.local/busybox:1", &archive)?;
    runtime.import(std::fs::File::open(&archive)?).await?;
    let image = |command: &[&str]| ContainerConfig {
        name: "bench".into(),
        image: "bench.local/busybox:1".into(),
        command: command.iter().map(|c| (*c).to_owned()).collect(),
        ..ContainerConfig::default()
    };
    let pod = runtime.run_pod_sandbox(SandboxConfig::default()).await?;
    let mut times: [Vec<Duration>; 5] = Default::default();
    for _ in 0..count {
        let begin = Instant::now();
        let id = runtime.create_container(&pod, image(&["true"])).await?;
        let created = begin.elapsed();
        let mut events = runtime.events();
        runtime.start_container(&id).await?;
        let started = begin.elapsed();
        while runtime.container_status(&id).await?.state != ContainerState::Exited {
            events.recv().await?;
        }
        let ended = begin.elapsed();
        runtime.remove_container(&id).await?;
        let removed = begin.elapsed();
        for (list, time) in
            times.iter_mut().zip([created, started.saturating_sub(created), removed.saturating_sub(ended), removed])
        {
            list.push(time);
        }
    }
    let names = ["container create", "container start", "container delete", "container create+start+run+delete"];
    names.iter().zip(times).for_each(|(name, times)| report(name, times));
    runtime.remove_pod_sandbox(&pod).await?;

    let (mut up, mut down, mut pods) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let begin = Instant::now();
        let pod =
            runtime.run_pod_sandbox(SandboxConfig { hostname: "bench".into(), ..SandboxConfig::default() }).await?;
        let id = runtime.create_container(&pod, image(&["sleep", "1000"])).await?;
        runtime.start_container(&id).await?;
        up.push(begin.elapsed());
        pods.push(pod);
    }
    report("sandbox and container to running (no network)", up);
    let shims = memory_of_shims(dir);
    println!("shim PSS with {count} pods: {:.2} MiB each", shims / 1024.0 / count as f64);
    for pod in pods {
        let begin = Instant::now();
        runtime.remove_pod_sandbox(&pod).await?;
        down.push(begin.elapsed());
    }
    report("sandbox with a running container removed", down);
    Ok(())
}

/// PSS of all shims below a directory, in KiB.
fn memory_of_shims(dir: &Path) -> f64 {
    let mark = format!("shim\0{}", dir.display());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = processes.filter(|p| std::fs::read_to_string(p.path().join("cmdline")).is_ok_and(|c| c.contains(&mark)));
    let pid = |p: std::fs::DirEntry| p.file_name().to_str()?.parse().ok();
    ours.filter_map(pid).filter_map(|p| super::process::memory(p).ok()).sum::<f64>() / 1024.0
}

/// The same through runc, which is started three times for each container.
fn runc(dir: &Path, count: usize) -> std::result::Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let bundle = dir.join("runc");
    std::fs::create_dir_all(bundle.join("rootfs/bin"))?;
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/true"))?;
    let run = |args: &[&str]| -> std::result::Result<(), Box<dyn std::error::Error>> {
        let mut done = Command::new("runc");
        done.arg("--root").arg(dir.join("state")).args(args).current_dir(&bundle).stdin(std::process::Stdio::null());
        if done.status()?.success() { Ok(()) } else { Err("runc failed".into()) }
    };
    run(&["spec"])?;
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["true"]);
    spec["linux"]["cgroupsPath"] = format!("/bench-runc-{}", std::process::id()).into();
    std::fs::write(bundle.join("config.json"), spec.to_string())?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        ["create", "start"].iter().try_for_each(|step| run(&[step, "bench"]))?;
        run(&["delete", "-f", "bench"])?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    if let (Some(first), Some(last)) = (times.first(), times.last()) {
        let ms = |d: &Duration| d.as_secs_f64() * 1e3;
        println!("{what}: median {:.2} ms, min {:.2}, max {:.2}", ms(&times[times.len() / 2]), ms(first), ms(last));
    }
}
