//! Users of pods with `hostUsers: false`: each has a range of the node's ids for itself (KEP-127).
//!
//! Invariants: no two pods have ids in common; a pod keeps its range as long as its directory is there, also over a
//! restart of the kubelet.

use crate::Config;
use ironclad_cri::UserMapping;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Ids of one pod. The first range of the node's ids is its own.
const LENGTH: u32 = 65_536;
const RANGES: u32 = u32::MAX / LENGTH;

/// Ranges by the pod's uid.
pub(crate) struct Users(Mutex<HashMap<String, u32>>);

impl Users {
    /// The ranges that pods on the disk have.
    pub(crate) fn load(config: &Config) -> Self {
        let ranges = crate::checkpoint::uids(config).into_iter().filter_map(|uid| {
            let text = std::fs::read(config.pod_dir(&uid).join("userns")).ok()?;
            let kept: Value = serde_json::from_slice(&text).ok()?;
            let first = u32::try_from(kept["uidMappings"][0]["hostId"].as_u64()?).ok()?;
            Some((uid, first / LENGTH))
        });
        Self(Mutex::new(ranges.collect()))
    }

    /// The range of a pod, a free one if it has none.
    pub(crate) fn get(&self, config: &Config, uid: &str) -> Result<UserMapping, String> {
        let mut ranges = self.0.lock();
        let mapping = |range: u32| UserMapping { host_id: range * LENGTH, length: LENGTH };
        if let Some(range) = ranges.get(uid) {
            return Ok(mapping(*range));
        }
        let range = free(&ranges).ok_or("could not find an empty slot to allocate a user namespace")?;
        let map = json!([{"hostId": range * LENGTH, "containerId": 0, "length": LENGTH}]);
        let text = json!({"uidMappings": map, "gidMappings": map}).to_string();
        let dir = config.pod_dir(uid);
        let kept = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join("userns"), text));
        kept.map_err(|e| format!("cannot keep the user namespace of a pod: {e}"))?;
        ranges.insert(uid.to_owned(), range);
        Ok(mapping(range))
    }

    /// The pod is gone.
    pub(crate) fn release(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

fn free(taken: &HashMap<String, u32>) -> Option<u32> {
    let taken: std::collections::HashSet<u32> = taken.values().copied().collect();
    (1..RANGES).find(|range| !taken.contains(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_range_is_given_twice_and_the_nodes_own_never() {
        let mut taken = HashMap::new();
        for (uid, wanted) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(free(&taken), Some(wanted));
            taken.insert(uid.to_owned(), wanted);
        }
        taken.remove("b");
        assert_eq!(free(&taken), Some(2));
        let all = (0..RANGES).map(|n| (n.to_string(), n)).collect();
        assert_eq!(free(&all), None);
    }
}
