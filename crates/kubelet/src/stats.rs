//! What containers, pods and the node use.

use crate::container;
use crate::worker::Shared;
use ironclad_cri::{LinuxResources, NetworkUsage};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// A measurement: times in nanoseconds, amounts in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) time: i64,
    pub(crate) cpu: u64,
    pub(crate) working_set: u64,
    pub(crate) usage: u64,
    pub(crate) rss: u64,
}

impl Sample {
    pub(crate) fn millis(&self) -> i64 {
        self.time / 1_000_000
    }
}

pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    /// Nanoseconds since the epoch.
    pub(crate) started: i64,
    pub(crate) sample: Sample,
    /// Bytes and inodes in its own layer.
    pub(crate) writable: Option<(u64, u64)>,
    pub(crate) limits: LinuxResources,
}

pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) started: i64,
    pub(crate) sample: Sample,
    pub(crate) network: Option<NetworkUsage>,
    pub(crate) processes: u64,
    pub(crate) containers: Vec<Container>,
}

pub(crate) struct Stats {
    pub(crate) node: Sample,
    pub(crate) pods: Vec<Pod>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Fields of `/proc/meminfo` in bytes.
pub(crate) fn meminfo() -> HashMap<String, u64> {
    let line = |l: &str| {
        let (name, rest) = l.split_once(':')?;
        let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
        Some((name.to_owned(), kib * 1024))
    };
    read("/proc/meminfo").lines().filter_map(line).collect()
}

/// The node as a whole.
pub(crate) fn node() -> Sample {
    let memory = meminfo();
    let of = |name: &str| memory.get(name).copied().unwrap_or(0);
    let used = of("MemTotal").saturating_sub(of("MemFree"));
    let ticks: u64 = read("/proc/stat")
        .lines()
        .next()
        .map(|l| l.split_whitespace().skip(1).enumerate())
        .into_iter()
        .flatten()
        // Idle time and waiting for disks is not used.
        .filter(|(i, _)| !matches!(i, 3 | 4) && *i < 8)
        .filter_map(|(_, n)| n.parse::<u64>().ok())
        .sum();
    Sample {
        time: crate::backoff::now(),
        cpu: ticks * 10_000_000,
        working_set: used.saturating_sub(of("Inactive(file)")),
        usage: used,
        rss: of("AnonPages"),
    }
}

/// Resident bytes and CPU seconds of this process.
pub(crate) fn own_process() -> (u64, f64) {
    let resident = read("/proc/self/statm").split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |s| s.1).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (resident.unwrap_or(0) * rustix::param::page_size() as u64, (ticks(11) + ticks(12)) / 100.0)
}

/// Measures everything that runs.
pub(crate) async fn collect(shared: &Shared, _layers: bool) -> Stats {
    let runtime = &shared.config.runtime;
    let usage = runtime.container_stats(None).await.unwrap_or_default();
    let usage: HashMap<&str, &ironclad_cri::ContainerStats> = usage.iter().map(|u| (u.id.as_str(), u)).collect();
    let containers = runtime.list_containers(None).await.unwrap_or_default();
    let sandboxes = runtime.list_pod_sandboxes(None).await.unwrap_or_default();
    let totals = runtime.pod_sandbox_stats(None).await.unwrap_or_default();
    let mut pods = Vec::new();
    for total in totals {
        let Some(sandbox) = sandboxes.iter().find(|s| s.id == total.id) else { continue };
        let mine = containers.iter().filter(|c| c.sandbox_id == total.id);
        let measured = mine.filter_map(|c| {
            let used = usage.get(c.id.as_str())?;
            Some(Container {
                id: c.id.clone(),
                name: c.config.labels.get(container::CONTAINER).cloned().unwrap_or_default(),
                image: c.config.user_specified_image.clone(),
                started: c.started_at,
                sample: Sample {
                    time: used.timestamp,
                    cpu: used.cpu_usage_nanos,
                    working_set: used.memory_working_set,
                    usage: used.memory_usage,
                    rss: used.memory_rss,
                },
                writable: used.writable_layer,
                limits: c.config.resources.clone(),
            })
        });
        pods.push(Pod {
            uid: sandbox.config.uid.clone(),
            namespace: sandbox.config.namespace.clone(),
            name: sandbox.config.name.clone(),
            started: sandbox.created_at,
            sample: Sample {
                time: total.timestamp,
                cpu: total.cpu_usage_nanos,
                working_set: total.memory_working_set,
                usage: total.memory_working_set,
                rss: total.memory_rss,
            },
            network: total.network,
            processes: total.process_count,
            containers: measured.collect(),
        });
    }
    Stats { node: node(), pods }
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    /// What the node could use if it were empty: blocks that are kept for others do not count.
    pub(crate) capacity: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

pub(crate) fn disk(path: &Path) -> Disk {
    let Ok(s) = rustix::fs::statvfs(path) else { return Disk::default() };
    let used = s.f_blocks.saturating_sub(s.f_bfree) * s.f_frsize;
    let available = s.f_bavail * s.f_frsize;
    Disk { capacity: used + available, available, used, inodes: s.f_files, inodes_free: s.f_ffree }
}

fn stamp(nanos: i64) -> Value {
    crate::status::time(nanos).map_or(Value::Null, |t| json!(t))
}

/// CPU use between two measurements of the same thing, in nanoseconds of a core for each second.
pub(crate) type Rates = parking_lot::Mutex<HashMap<String, (Sample, u64)>>;

fn cpu(rates: &Rates, key: &str, sample: &Sample) -> Value {
    let mut rates = rates.lock();
    let rate = match rates.get(key) {
        Some((old, rate)) if sample.time - old.time < 1_000_000_000 => *rate,
        Some((old, _)) => {
            let span = (sample.time - old.time).max(1) as u128;
            (u128::from(sample.cpu.saturating_sub(old.cpu)) * 1_000_000_000 / span) as u64
        }
        None => 0,
    };
    let fresh = rates.get(key).is_none_or(|(old, _)| sample.time - old.time >= 1_000_000_000);
    if fresh {
        rates.insert(key.to_owned(), (sample.clone(), rate));
    }
    json!({"time": stamp(sample.time), "usageNanoCores": rate, "usageCoreNanoSeconds": sample.cpu})
}

fn memory(sample: &Sample, limit: Option<u64>) -> Value {
    let mut out = json!({"time": stamp(sample.time), "usageBytes": sample.usage,
        "workingSetBytes": sample.working_set, "rssBytes": sample.rss});
    if let Some(limit) = limit.filter(|l| *l > 0) {
        out["availableBytes"] = json!(limit.saturating_sub(sample.working_set));
    }
    out
}

fn fs(time: i64, disk: Disk, used: u64, inodes: u64) -> Value {
    json!({"time": stamp(time), "availableBytes": disk.available, "capacityBytes": disk.capacity, "usedBytes": used,
        "inodesFree": disk.inodes_free, "inodes": disk.inodes, "inodesUsed": inodes})
}

fn interface(net: &NetworkUsage) -> Value {
    json!({"name": net.name, "rxBytes": net.rx_bytes, "rxErrors": net.rx_errors,
        "txBytes": net.tx_bytes, "txErrors": net.tx_errors})
}

/// When the kernel started, in nanoseconds since 1970.
fn booted() -> i64 {
    let stat = read("/proc/stat");
    let seconds = stat.lines().find_map(|l| l.strip_prefix("btime ")).and_then(|s| s.trim().parse::<i64>().ok());
    seconds.unwrap_or(0) * 1_000_000_000
}

/// What `/stats/summary` answers.
pub(crate) async fn summary(shared: &Shared, rates: &Rates, only_cpu_and_memory: bool) -> Value {
    let all = collect(shared, !only_cpu_and_memory).await;
    let disk = disk(&shared.config.root_dir);
    let images = shared.config.runtime.image_fs_info().await.unwrap_or_default();
    let now = all.node.time;
    let total = meminfo().get("MemTotal").copied();
    let mut node = json!({"nodeName": shared.config.node_name, "startTime": stamp(booted()),
        "cpu": cpu(rates, "node", &all.node), "memory": memory(&all.node, total)});
    if !only_cpu_and_memory {
        node["fs"] = fs(now, disk, disk.used, disk.inodes.saturating_sub(disk.inodes_free));
        node["runtime"] = json!({"imageFs": fs(now, disk, images.used_bytes, images.inodes_used),
            "containerFs": fs(now, disk, images.used_bytes, images.inodes_used)});
        node["rlimit"] = json!({"time": stamp(now), "maxpid": read("/proc/sys/kernel/pid_max").trim().parse::<i64>().unwrap_or(0),
            "curproc": read("/proc/loadavg").split(['/', ' ']).nth(4).and_then(|n| n.parse::<i64>().ok()).unwrap_or(0)});
    }
    let pods: Vec<Value> = all
        .pods
        .iter()
        .map(|pod| {
            let containers: Vec<Value> = pod
                .containers
                .iter()
                .map(|c| {
                    let limit = c.limits.memory_limit.map(|l| l.max(0) as u64);
                    let mut out = json!({"name": c.name, "startTime": stamp(c.started),
                        "cpu": cpu(rates, &c.id, &c.sample), "memory": memory(&c.sample, limit)});
                    if !only_cpu_and_memory {
                        let (bytes, inodes) = c.writable.unwrap_or_default();
                        out["rootfs"] = fs(c.sample.time, disk, bytes, inodes);
                        out["logs"] = fs(c.sample.time, disk, 0, 0);
                    }
                    out
                })
                .collect();
            let mut out = json!({"podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
                "startTime": stamp(pod.started), "containers": containers,
                "cpu": cpu(rates, &pod.uid, &pod.sample), "memory": memory(&pod.sample, None)});
            if !only_cpu_and_memory {
                out["process_stats"] = json!({"process_count": pod.processes});
                let written =
                    pod.containers.iter().filter_map(|c| c.writable).fold((0, 0), |a, w| (a.0 + w.0, a.1 + w.1));
                out["ephemeral-storage"] = fs(pod.sample.time, disk, written.0, written.1);
                if let Some(net) = &pod.network {
                    let mut network = interface(net);
                    network["time"] = stamp(pod.sample.time);
                    network["interfaces"] = json!([interface(net)]);
                    out["network"] = network;
                }
            }
            out
        })
        .collect();
    rates.lock().retain(|key, (s, _)| key == "node" || now - s.time < 600_000_000_000);
    json!({"node": node, "pods": pods})
}
