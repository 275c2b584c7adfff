//! The elector of coordinated leader election: of several API servers the one that holds a Lease elects.

use super::api::Api;
use crate::cli::api::ElectionFlags;
use crate::failure::{Failure, Result};
use ironclad_client::leader::{Election, Ended, Times};
use ironclad_client::{Client, Informers};
use ironclad_controllers::election;
use tokio_util::sync::CancellationToken;

const NAME: &str = "leader-election-controller";

/// Elects among LeaseCandidates until `token` is cancelled, whenever it is this server's turn, if leaders are chosen so.
pub(super) fn start(api: &Api, flags: &ElectionFlags, token: &CancellationToken) -> Result<()> {
    if !api.coordinates {
        return Ok(());
    }
    let times = Times {
        lease: flags.coordinated_leadership_lease_duration,
        renew: flags.coordinated_leadership_renew_deadline,
        retry: flags.coordinated_leadership_retry_period,
    };
    if times.lease <= times.renew || times.renew <= times.retry {
        let why = "the lease duration must be longer than the renew deadline, and that longer than the retry period";
        return Err(Failure::internal("cannot use --coordinated-leadership-lease-duration", why));
    }
    let client = api.client("system:apiserver", &["system:masters"]);
    let election = Election::new(client.clone(), "kube-system", NAME, NAME, &crate::parts::identity()?, times);
    tokio::spawn(run(election, client, token.clone()));
    Ok(())
}

async fn run(election: Election, client: Client, token: CancellationToken) {
    let work = |token: CancellationToken| {
        let informers = Informers::new(client.clone(), token.clone());
        election::run(client.clone(), informers, token)
    };
    while election.lead(&token, work).await == Ended::Lost {}
}
