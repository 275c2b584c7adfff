//! Pods as their user meets them: how soon one runs, how soon many run at once, what each costs.

use super::process;
use futures::StreamExt;
use ironclad_client::Client;
use ironclad_testkit::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const KIB: f64 = 1024.0;

/// How many.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program to measure; the one beside this program if it is not given.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Pods one after the other.
    #[arg(long, default_value_t = 50)]
    single: usize,
    /// Pods at once.
    #[arg(long, default_value_t = 50)]
    burst: usize,
}

pub(crate) fn run(args: &Args, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("ironclad"),
    };
    let cluster = Cluster::start_program(program)?;
    runtime.block_on(measure(args, &cluster))
}

async fn measure(args: &Args, cluster: &Cluster) -> Result<()> {
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
    let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config)?);
    burst(&pods, "warm", 1).await?;
    let mut times = Vec::new();
    for n in 0..args.single {
        times.extend(burst(&pods, &format!("single-{n}"), 1).await?);
        clear(&pods).await?;
    }
    report("create to running, one pod at a time", &mut times);
    let server = server(cluster)?;
    let before = process::memory(server)?;
    let began = Instant::now();
    let mut times = burst(&pods, "burst", args.burst).await?;
    let all = began.elapsed();
    report(&format!("create to running, {} pods at once", args.burst), &mut times);
    println!("all {} run after {:.0} ms", args.burst, all.as_secs_f64() * 1e3);
    let more = (process::memory(server)? - before) / KIB / args.burst as f64;
    let shims = shims(cluster.name())?;
    let each = shims.iter().sum::<f64>() / KIB / shims.len().max(1) as f64;
    println!("memory of a pod: {more:.0} KiB in the server, {each:.0} KiB in its shim ({} shims, PSS)", shims.len());
    let began = Instant::now();
    clear(&pods).await?;
    println!("all {} gone after {:.0} ms", args.burst, began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn server(cluster: &Cluster) -> Result<u32> {
    let output = ironclad_testkit::cluster::run(cluster.ironclad(&["status", "--json"]));
    let status: serde_json::Value = serde_json::from_str(&output.stdout)?;
    Ok(status["pid"].as_u64().and_then(|p| u32::try_from(p).ok()).ok_or("no pid in the status")?)
}

/// The proportional set sizes of the shims of a cluster.
fn shims(name: &str) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> = command.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        let ours = |dir: &String| dir.contains(&format!("/{name}/"));
        if words.get(1).is_some_and(|w| w == "shim") && words.get(2).is_some_and(ours) {
            found.push(process::memory(pid)?);
        }
    }
    Ok(found)
}

/// Makes pods and waits until they run; returns how long each took.
async fn burst(pods: &Api<Pod>, name: &str, count: usize) -> Result<Vec<Duration>> {
    let version = pods.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default();
    let mut events = pods.watch(&WatchParams::default(), &version).await?.boxed();
    let mut begun = HashMap::new();
    let mut made = futures::stream::FuturesUnordered::new();
    for n in 0..count {
        let name = format!("{name}-{n}");
        let container = json!({"name": "a", "image": "busybox:1.36", "command": ["sleep", "1000"],
            "imagePullPolicy": "IfNotPresent"});
        let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
        begun.insert(name, Instant::now());
        made.push(async move { pods.create(&PostParams::default(), &pod).await.map(drop) });
    }
    let mut times = Vec::new();
    let making = async {
        while let Some(done) = made.next().await {
            done?;
        }
        Ok::<_, kube::Error>(())
    };
    let watching = async {
        while let Some(event) = events.next().await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event? else { continue };
            let runs = pod.status.and_then(|s| s.phase).as_deref() == Some("Running");
            let name = pod.metadata.name.unwrap_or_default();
            if let Some(since) = if runs { begun.remove(&name) } else { None } {
                times.push(since.elapsed());
            }
            if begun.is_empty() {
                break;
            }
        }
        Ok::<_, kube::Error>(())
    };
    tokio::try_join!(making, watching)?;
    Ok(times)
}

/// Removes all pods and waits until they are gone.
async fn clear(pods: &Api<Pod>) -> Result<()> {
    let all = pods.list(&ListParams::default()).await?;
    let version = all.metadata.resource_version.clone().unwrap_or_default();
    let mut events = pods.watch(&WatchParams::default(), &version).await?.boxed();
    let mut left = all.items.len();
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    while left > 0 {
        match events.next().await {
            Some(Ok(WatchEvent::Deleted(_))) => left -= 1,
            Some(event) => drop(event?),
            None => return Err("the watch ended".into()),
        }
    }
    Ok(())
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms", at(50), at(99), at(100));
}
