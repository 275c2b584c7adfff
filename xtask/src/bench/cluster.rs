//! A whole cluster as its user meets it: how soon it is there, what it costs idle, how soon a pod runs.

use super::process;
use futures::StreamExt;
use ironclad_client::Client;
use ironclad_testkit::Cluster;
use ironclad_testkit::cluster::{Output, run as command};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MIB: f64 = (1 << 20) as f64;
/// What the first seconds used is not what an idle cluster uses.
const SETTLE: Duration = Duration::from_secs(20);

/// How often and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program to measure; the one beside this program if it is not given.
    #[arg(long)]
    program: Option<PathBuf>,
    /// How many fresh starts.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// How many pods, one after the other.
    #[arg(long, default_value_t = 30)]
    pods: usize,
    /// How long the idle cluster is watched, in seconds.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

pub(crate) fn run(args: &Args, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("ironclad"),
    };
    println!("binary: {:.1} MB", std::fs::metadata(&program)?.len() as f64 / 1e6);
    let cluster = Cluster::start_program(program)?;
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    for _ in 0..args.starts {
        checked(command(cluster.ironclad(&["down", "--purge"])))?;
        let begin = Instant::now();
        cluster.up()?;
        ready.push(begin.elapsed());
        runtime.block_on(pod(&cluster, "first", false))?;
        first.push(begin.elapsed());
    }
    report("`up` on an empty directory to Ready, Services and DNS", &mut ready);
    report("`up` to a first pod running, image pulled from loopback", &mut first);
    idle(&cluster, Duration::from_secs(args.idle))?;
    let mut times = Vec::new();
    for n in 0..args.pods {
        times.push(runtime.block_on(pod(&cluster, &format!("pod-{n}"), true))?);
    }
    report("create to running as a watcher sees it, image local", &mut times);
    Ok(())
}

/// Makes a pod, waits until it runs, and returns how long that took.
async fn pod(cluster: &Cluster, name: &str, delete: bool) -> Result<Duration> {
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
    let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config)?);
    let container = json!({"name": "a", "image": "busybox:1.36", "command": ["sleep", "1000"],
        "imagePullPolicy": "IfNotPresent"});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pods.watch(&watch, "0").await?.boxed();
    let begin = Instant::now();
    pods.create(&PostParams::default(), &pod).await?;
    while let Some(event) = events.next().await {
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event? else { continue };
        if pod.status.and_then(|s| s.phase).as_deref() == Some("Running") {
            let took = begin.elapsed();
            if delete {
                pods.delete(name, &DeleteParams::default()).await?;
            }
            return Ok(took);
        }
    }
    Err("the watch ended".into())
}

fn idle(cluster: &Cluster, time: Duration) -> Result<()> {
    checked(command(cluster.ironclad(&["down", "--purge"])))?;
    cluster.up()?;
    let status: serde_json::Value = serde_json::from_str(&checked(command(cluster.ironclad(&["status", "--json"])))?)?;
    let pid = status["pid"].as_u64().and_then(|p| u32::try_from(p).ok()).ok_or("no pid in the status")?;
    std::thread::sleep(SETTLE);
    let used = process::processor(pid)?;
    std::thread::sleep(time);
    let share = (process::processor(pid)? - used) / time.as_secs_f64() * 100.0;
    println!("idle cluster: {:.1} MiB PSS, {share:.2} % of a core", process::memory(pid)? / MIB);
    Ok(())
}

fn checked(output: Output) -> Result<String> {
    if output.code == 0 { Ok(output.stdout) } else { Err(format!("{output:?}").into()) }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what}: median {:.0} ms, most {:.0} ms ({} times)", at(50), at(100), times.len());
}
