//! The node's pod network: a routed veth and an address of its own for each pod.
//!
//! Invariants: a pod is attached when its lease is on disk, its link in the kernel and its host ports in the table;
//! every call may be repeated; all kernel work is done by one thread in the network namespace of the constructor.

mod addresses;
mod link;
mod rules;
mod worker;

use async_trait::async_trait;
use ipnet::IpNet;
use ironclad_cri as cri;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use tokio::sync::oneshot;

pub(crate) use worker::protocol_number;
pub use worker::purge;

/// What the pod network is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name.
    pub cluster: String,
    /// Directory of the leases.
    pub directory: PathBuf,
    /// All pods of the cluster: traffic that leaves them is masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// Bytes of the largest packet; found from the uplink when not given.
    pub mtu: Option<u32>,
}

type Job = Box<dyn FnOnce(&mut worker::Worker) + Send>;

/// Attaches sandboxes to the network.
pub struct PodNetwork {
    jobs: mpsc::Sender<Job>,
}

impl PodNetwork {
    /// Starts the worker; the kernel's state that a former process left is taken over.
    pub fn new(config: Config) -> crate::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name("pod-network".to_owned());
        let spawned = thread.spawn(move || match worker::Worker::open(config) {
            Ok(mut worker) => {
                // The constructor waits for this, so the channel is open.
                let _ = ready.send(Ok(()));
                queue.iter().for_each(|job| job(&mut worker));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        });
        spawned.map_err(crate::Error::kernel("start the network worker"))?;
        started.recv().map_err(|_| crate::Error::Stopped)??;
        Ok(Self { jobs })
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut worker::Worker) -> crate::Result<T> + Send + 'static,
    ) -> cri::Result<T> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // Nobody waits any more for a call that was given up.
            let _ = answer.send(job(worker));
        });
        let sent = self.jobs.send(job).map_err(|_| crate::Error::Stopped);
        let outcome = match sent {
            Ok(()) => result.await.unwrap_or(Err(crate::Error::Stopped)),
            Err(error) => Err(error),
        };
        outcome.map_err(|e| cri::Error::Internal(e.to_string()))
    }
}

#[async_trait]
impl cri::PodNetwork for PodNetwork {
    async fn ready(&self) -> cri::Result<()> {
        self.run(|w| w.ready()).await
    }

    async fn set_pod_cidrs(&self, cidrs: &[String]) -> cri::Result<()> {
        let parse =
            |c: &String| c.parse::<IpNet>().map_err(|_| cri::Error::InvalidArgument(format!("invalid pod CIDR {c:?}")));
        let cidrs = cidrs.iter().map(parse).collect::<cri::Result<Vec<_>>>()?;
        self.run(move |w| w.set_pod_cidrs(cidrs)).await
    }

    async fn attach(&self, attachment: &cri::Attachment, netns: &Path) -> cri::Result<Vec<String>> {
        let (attachment, netns) = (attachment.clone(), netns.to_owned());
        self.run(move |w| w.attach(&attachment, &netns)).await
    }

    async fn detach(&self, sandbox_id: &str) -> cri::Result<()> {
        let id = sandbox_id.to_owned();
        self.run(move |w| w.detach(&id)).await
    }

    async fn retain(&self, sandbox_ids: &[String]) -> cri::Result<()> {
        let ids = sandbox_ids.to_vec();
        self.run(move |w| w.retain(&ids)).await
    }
}
