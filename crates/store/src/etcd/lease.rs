//! Leases: how keys with a time to live go away. Many keys share a lease, as each one costs etcd memory and work.

use super::client::{Again, Client};
use super::wire;
use crate::{Error, Result};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How much longer than it should a key may live, for a lease to be shared.
const SLACK: Duration = Duration::from_secs(60);
/// Keys that share a lease at most.
const KEYS: usize = 1000;

struct Lease {
    id: i64,
    /// When the lease ends, by this machine's clock.
    ends: Instant,
    keys: usize,
}

/// The newest lease for each time to live.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<u64, Lease>>);

impl Leases {
    /// A lease that ends `ttl` from now, or a little later.
    pub(super) async fn take(&self, client: &Client, ttl: Duration) -> Result<i64> {
        let seconds = ttl.as_millis().div_ceil(1000).max(1) as u64;
        // One grant at a time: whoever waits here shares what the first one gets.
        let mut leases = self.0.lock().await;
        let now = Instant::now();
        leases.retain(|_, lease| lease.ends > now);
        if let Some(lease) = leases.get_mut(&seconds)
            && lease.keys < KEYS
            && lease.ends >= now + ttl
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        // Short lives are kept exactly.
        let slack = SLACK.as_secs().min(seconds / 20);
        let question = wire::LeaseGrantRequest { ttl: (seconds + slack) as i64, id: 0 };
        let granted: wire::LeaseGrantResponse =
            client.call("/etcdserverpb.Lease/LeaseGrant", question, Again::Yes).await?;
        if !granted.error.is_empty() {
            return Err(Error::Refused(granted.error));
        }
        let ends = now + Duration::from_secs(granted.ttl.max(0) as u64);
        leases.insert(seconds, Lease { id: granted.id, ends, keys: 1 });
        Ok(granted.id)
    }
}
