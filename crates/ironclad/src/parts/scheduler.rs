//! The scheduler alone, in the place of kube-scheduler.

use super::{begin, client, health, lead};
use crate::cli::parts::Scheduler;
use crate::failure::Result;
use tokio_util::sync::CancellationToken;

const NAME: &str = "kube-scheduler";
const PORT: u16 = 10259;

pub(crate) fn run(args: Scheduler) -> Result<()> {
    begin(&args.common.log.clone(), |token| async move { serve(args, token).await })
}

async fn serve(args: Scheduler, token: CancellationToken) -> Result<()> {
    let client = client(&args.connection).await?;
    let health = health::start(&args.health, PORT, NAME, &token).await?;
    let own = client.clone();
    let work = |informers, token| {
        ironclad_scheduler::run(ironclad_scheduler::Config { client: own, informers, name: args.scheduler_name }, token)
    };
    let outcome = lead(&client, &args.leader, NAME, &token, work).await;
    drop(health);
    outcome
}
