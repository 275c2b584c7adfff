//! Services in the kernel: what a bulk load and single changes among many cost, in a network namespace of its own.

use super::process;
use ironclad_client::ObjectKey;
use ironclad_network::proxy::applier::Applier;
use ironclad_network::proxy::model::{Place, ServicePort, service_ports};
use serde_json::json;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Wanted = (ObjectKey, Vec<ServicePort>);

pub(crate) fn run(count: usize, changes: usize) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        measure(count, changes)
    });
    thread.join().map_err(|_| "the bench panicked")?.map_err(|e| e as Box<dyn std::error::Error>)
}

fn measure(count: usize, changes: usize) -> Result<()> {
    let place = Place { node: "n".to_owned(), zone: String::new(), pod_cidrs: vec!["10.244.0.0/16".parse()?] };
    let mut applier = Applier::open("bench")?;
    let server = Server::start()?;
    applier.replace(vec![server.service(&place)?], &place)?;
    let few = server.connections()?;
    let others = (0..count).map(|i| service(i, &[2, 3], &place));
    let all = others.chain([server.service(&place)]).collect::<Result<Vec<_>>>()?;
    let (memory, slab) = (process::memory(std::process::id())?, slab()?);
    let began = Instant::now();
    applier.replace(all, &place)?;
    println!("load of {count} Services with 2 endpoints each: {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    let own = process::memory(std::process::id())? - memory;
    let each = |bytes: f64| bytes / 1024.0 / count as f64;
    println!(
        "memory of a Service: {:.1} KiB in the process, {:.1} KiB in the kernel",
        each(own),
        each(self::slab()? - slab)
    );
    let many = server.connections()?;
    println!("a connection through a cluster address: {few:.1} us with 1 Service, {many:.1} us with {count}");
    let at = |n: usize| n * 7919 % count;
    let mut timed = |what: &str, services: &dyn Fn(usize) -> Result<Wanted>| -> Result<()> {
        let mut times = Vec::with_capacity(changes);
        for n in 0..changes {
            let wanted = vec![services(n)?];
            let began = Instant::now();
            applier.update(wanted, &place)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let percent = |p: usize| times.get((times.len() * p / 100).min(times.len() - 1)).copied().unwrap_or_default();
        println!("{what}: p50 {:.3} ms, p99 {:.3} ms, most {:.3} ms", percent(50), percent(99), percent(100));
        Ok(())
    };
    timed("one endpoint replaced", &|n| service(at(n), &[2, 4], &place))?;
    timed("one endpoint more", &|n| service(at(n), &[2, 4, 5], &place))?;
    timed("the last endpoint gone", &|n| service(at(n), &[], &place))?;
    timed("the first endpoint come", &|n| service(at(n), &[2], &place))?;
    timed("a Service more", &|n| service(count + n, &[2, 3], &place))?;
    timed("a Service less", &|n| Ok((key(count + n), Vec::new())))
}

/// Something that a Service leads to.
struct Server(TcpListener);

impl Server {
    const CONNECTIONS: usize = 3000;

    fn start() -> Result<Self> {
        for arguments in ["link set lo up", "addr add 10.244.255.1/32 dev lo", "route add 10.0.0.0/8 dev lo"] {
            let status = std::process::Command::new("ip").args(arguments.split(' ')).status()?;
            if !status.success() {
                return Err(format!("ip {arguments}: {status}").into());
            }
        }
        Ok(Self(TcpListener::bind("10.244.255.1:8080")?))
    }

    fn service(&self, place: &Place) -> Result<Wanted> {
        let meta = json!({"namespace": "bench", "name": "real"});
        let service = json!({"metadata": meta, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}});
        let slice = json!({"metadata": meta, "addressType": "IPv4", "ports": [{"port": 8080}],
            "endpoints": [{"addresses": ["10.244.255.1"]}]});
        let slice = Arc::new(serde_json::from_value(slice)?);
        let ports = service_ports(&serde_json::from_value(service)?, &[slice], place);
        Ok((ObjectKey::new("bench", "real"), ports))
    }

    /// Microseconds of a connection: the fastest of some rounds, because others use the machine too.
    fn connections(&self) -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let began = Instant::now();
            for _ in 0..Self::CONNECTIONS / 5 {
                let client = TcpStream::connect("10.96.0.1:80")?;
                drop(self.0.accept()?);
                drop(client);
            }
            best = best.min(began.elapsed().as_secs_f64() * 1e6 / (Self::CONNECTIONS / 5) as f64);
        }
        Ok(best)
    }
}

fn key(i: usize) -> ObjectKey {
    ObjectKey::new("bench", &format!("service-{i}"))
}

fn service(i: usize, endpoints: &[u8], place: &Place) -> Result<Wanted> {
    let ip = format!("10.{}.{}.{}", 97 + i / 50_000, i / 200 % 250, i % 200 + 1);
    let meta = json!({"namespace": "bench", "name": format!("service-{i}")});
    let service = json!({"metadata": meta, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let each = endpoints.iter().map(|e| json!({"addresses": [format!("10.244.{}.{e}", i % 250)]}));
    let slice = json!({"metadata": meta, "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": each.collect::<Vec<_>>()});
    let slice = Arc::new(serde_json::from_value(slice)?);
    Ok((key(i), service_ports(&serde_json::from_value(service)?, &[slice], place)))
}

/// Memory that the kernel keeps for its own objects.
fn slab() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|l| l.strip_prefix("Slab:")).ok_or("no Slab in /proc/meminfo")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
