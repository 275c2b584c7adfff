//! Cluster DNS over UDP: a server on two processors, and clients on the others that keep it busy.

use super::process;
use ironclad_client::ObjectKey;
use ironclad_dns::{Listeners, Record, Resolver, Zone};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SERVICES: usize = 10_000;
/// The server's processors.
const CORES: usize = 2;

/// How hard.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Sockets of the clients.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Questions of each client that wait for an answer.
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// How long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Keeps this thread, and those that it starts, on some processors.
fn pin(cores: impl Iterator<Item = usize>) -> Result<()> {
    let mut set = CpuSet::new();
    cores.into_iter().try_for_each(|core| set.set(core))?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The child process: serves until its standard input ends.
pub(crate) fn serve() -> Result<()> {
    pin(0..CORES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(CORES).enable_all().build()?;
    runtime.block_on(async {
        let zone = Zone::new("cluster.local")?;
        zone.set_namespace("default", true);
        for i in 0..SERVICES {
            let addresses = vec![[10, 96, (i / 250) as u8, (i % 250) as u8].into()];
            zone.set(&ObjectKey::new("default", &name(i)), Some(Record::Cluster { addresses, ports: Vec::new() }));
        }
        let listeners = Listeners::bind("127.0.0.1:0".parse()?).await?;
        println!("{}", listeners.address());
        let token = CancellationToken::new();
        let resolver = Arc::new(Resolver::new(Arc::new(zone), Vec::new()));
        let serving = tokio::spawn(listeners.serve(resolver, token.clone()));
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        token.cancel();
        Ok(serving.await?)
    })
}

fn name(i: usize) -> String {
    format!("service-{i}")
}

/// Measures, with a server in a process of its own.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["bench", "dns-server"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let measured = measure(args, &mut child);
    drop(child.stdin.take());
    child.wait()?;
    measured
}

fn measure(args: &Args, child: &mut Child) -> Result<()> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let server: SocketAddr = line.trim().parse()?;
    let cores = std::thread::available_parallelism()?.get();
    let threads = cores.saturating_sub(CORES).max(1);
    let sorts =
        [("addresses of Services", "default.svc.cluster.local"), ("names that do not exist", "svc.cluster.local")];
    for (what, domain) in sorts {
        let (before, began) = (process::processor(child.id())?, Instant::now());
        let each = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn(move || {
                        pin(std::iter::once((CORES + thread) % cores))?;
                        clients(args, server, args.clients / threads, domain)
                    })
                })
                .collect();
            clients.into_iter().map(|c| c.join().map_err(|_| "a client panicked")?).collect::<Result<Vec<_>>>()
        })?;
        let seconds = began.elapsed().as_secs_f64();
        let used = process::processor(child.id())? - before;
        let mut times: Vec<u32> = each.into_iter().flatten().collect();
        times.sort_unstable();
        let at = |percent: usize| f64::from(times[(times.len() * percent / 100).min(times.len() - 1)]) / 1e3;
        println!(
            "{what}: {:.0}/s (p50 {:.2} ms, p99 {:.2} ms), {:.1} us of processor time each, {:.0} % of {CORES} cores used",
            times.len() as f64 / seconds,
            at(50),
            at(99),
            used * 1e6 / times.len() as f64,
            used / seconds / CORES as f64 * 100.0,
        );
    }
    Ok(())
}

/// A client: a socket and its questions that wait.
struct Client {
    socket: UdpSocket,
    sent: Vec<Instant>,
}

/// Asks from one thread; returns the microseconds of each answer.
fn clients(args: &Args, server: SocketAddr, count: usize, domain: &str) -> Result<Vec<u32>> {
    let questions: Vec<Vec<u8>> = (0..SERVICES).map(|i| question(&format!("{}.{domain}", name(i)))).collect();
    let mut all = Vec::with_capacity(count.max(1));
    for _ in 0..count.max(1) {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        all.push(Client { socket, sent: vec![Instant::now(); args.window] });
    }
    let (until, mut times, mut next) = (Instant::now() + Duration::from_secs(args.seconds), Vec::new(), 0);
    let mut buffer = [0; 2048];
    let mut ask = |client: &mut Client, id: usize| -> Result<()> {
        next = (next + 1) % questions.len();
        let mut bytes = questions[next].clone();
        bytes[..2].copy_from_slice(&(id as u16).to_be_bytes());
        client.sent[id] = Instant::now();
        client.socket.send(&bytes)?;
        Ok(())
    };
    for client in &mut all {
        (0..args.window).try_for_each(|id| ask(client, id))?;
    }
    while Instant::now() < until {
        for client in &mut all {
            loop {
                match client.socket.recv(&mut buffer) {
                    Ok(length) => {
                        let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
                        let fine = length > 12 && buffer[2] & 0x80 != 0 && matches!(buffer[3] & 15, 0 | 3);
                        let sent = client.sent.get(id).filter(|_| fine).ok_or("an answer that is none")?;
                        times.push(sent.elapsed().as_micros() as u32);
                        ask(client, id)?;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            // What was lost is asked again.
            for id in 0..args.window {
                if client.sent[id].elapsed() > Duration::from_secs(1) {
                    ask(client, id)?;
                }
            }
        }
    }
    Ok(times)
}

fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}
