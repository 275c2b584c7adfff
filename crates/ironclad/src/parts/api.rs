//! The API server alone, in the place of kube-apiserver, over an etcd or a store of its own.

use crate::cli::parts::ApiServer;
use crate::cli::{Layout, Which};
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::steps::Steps;
use crate::{preflight, process, server};
use tokio_util::sync::CancellationToken;

pub(super) async fn serve(args: ApiServer, token: CancellationToken) -> Result<()> {
    let which = Which { name: "kubernetes".to_owned(), data_dir: args.data_dir.clone() };
    let layout = Layout {
        bind_address: Some(args.bind_address),
        node_ip: args.advertise_address,
        api_port: Some(args.secure_port),
        service_cidr: Some(args.service_cluster_ip_range),
        node_ports: Some(args.service_node_port_range),
        etcd: args.etcd.clone(),
        ..Layout::default()
    };
    let mut cluster = Cluster::plan_any(&which, &layout)?;
    cluster.save()?;
    let _held = process::hold(&cluster)?;
    preflight::port(cluster.bind_address, &mut cluster.api_port, "the API server", "--secure-port")?;
    cluster.save()?;
    let api = server::api::start(&cluster, &args.api, Some(&args.certificates), &Steps::nowhere(), &token).await?;
    tracing::info!(url = cluster.api_url(), "the API server is ready");
    token.cancelled().await;
    api.stop().await;
    Ok(())
}
