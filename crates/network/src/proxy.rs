//! Services, as nftables maps.

/// The name of a cluster's table.
pub fn table(cluster: &str) -> String {
    format!("ironclad-{cluster}")
}
