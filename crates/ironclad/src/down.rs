//! `ironclad down`: stops the server, then the containers; `--purge` leaves nothing behind.

use crate::cli::Down;
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use crate::{node, preflight, process};
use std::time::Duration;

pub(crate) fn run(args: Down) -> Result<()> {
    preflight::root()?;
    let Some(cluster) = Cluster::load(&args.which.data_dir)? else {
        if args.purge {
            eprintln!(" ✓ Nothing to remove");
            return Ok(());
        }
        let cause = format!("there is no cluster in {}", args.which.data_dir.display());
        return Err(Failure::new(
            Id::NotRunning,
            cause,
            "Name another with --data-dir, or start one with `ironclad up`.",
        ));
    };
    if let Some((_, handle)) = process::find(&cluster) {
        process::stop(&handle, Duration::from_secs(15))?;
        eprintln!(" ✓ Server stopped");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(containers(&cluster, args.purge))?;
    eprintln!(" ✓ Containers stopped");
    if args.purge {
        if let Some(file) = &cluster.kubeconfig {
            ironclad_auth::kubeconfig::remove(file, &cluster.name).context("cannot clean the kubeconfig")?;
        }
        if cluster.run_dir().exists() {
            std::fs::remove_dir_all(cluster.run_dir()).context("cannot remove the volatile state")?;
            // The last cluster takes what all share along; beside others the directory is not empty and stays.
            let _ = cluster.run_dir().parent().map(std::fs::remove_dir);
        }
        std::fs::remove_dir_all(&cluster.dir).context("cannot remove the data directory")?;
        eprintln!(" ✓ {} removed", cluster.dir.display());
    }
    Ok(())
}

async fn containers(cluster: &Cluster, purge: bool) -> Result<()> {
    match purge {
        true => node::purge(cluster).await?,
        false => node::runtime(cluster).await?.remove_all().await.context("cannot stop the containers")?,
    }
    ironclad_kubelet::release(&cluster.kubelet_dir()).context("cannot unmount the pods' volumes")
}
