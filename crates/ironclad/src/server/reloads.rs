//! What is counted of configurations that are read anew when their files change.

use ironclad_api::metrics::{Kind, Metric, page};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The metrics of one configuration.
pub(crate) struct Reload {
    total: Metric,
    last: Metric,
    info: Metric,
}

macro_rules! reload {
    ($subsystem:literal, $what:literal, $split:literal, $stability:literal) => {
        Reload {
            total: Metric {
                name: concat!("apiserver_", $subsystem, "_automatic_reloads_total"),
                stability: $stability,
                help: concat!("Total number of automatic reloads of ", $what, " split by ", $split, "."),
                kind: Kind::Counter,
            },
            last: Metric {
                name: concat!("apiserver_", $subsystem, "_automatic_reload_last_timestamp_seconds"),
                stability: $stability,
                help: concat!("Timestamp of the last automatic reload of ", $what, " split by ", $split, "."),
                kind: Kind::Gauge,
            },
            info: Metric {
                name: concat!("apiserver_", $subsystem, "_last_config_info"),
                stability: "ALPHA",
                help: concat!(
                    "Information about the last applied ",
                    $what,
                    " with hash as label, split by apiserver identity."
                ),
                kind: Kind::Gauge,
            },
        }
    };
}

pub(crate) static AUTHENTICATION: Reload = reload!(
    "authentication_config_controller",
    "authentication configuration",
    "status and apiserver identity",
    "BETA"
);
pub(crate) static AUTHORIZATION: Reload =
    reload!("authorization_config_controller", "authorization configuration", "status and apiserver identity", "BETA");
pub(crate) static ENCRYPTION: Reload = Reload {
    total: Metric {
        help: "Total number of reload successes and failures of encryption configuration split by apiserver identity.",
        ..E.total
    },
    last: Metric {
        help: "Timestamp of the last successful or failed automatic reload of encryption configuration split by apiserver identity.",
        ..E.last
    },
    info: E.info,
};
const E: Reload = reload!("encryption_config_controller", "encryption configuration", "apiserver identity", "ALPHA");
pub(crate) static MANIFESTS: Reload = reload!(
    "manifest_admission_config_controller",
    "admission manifest configuration",
    "status, plugin, and apiserver identity",
    "ALPHA"
);

fn hash(text: &[u8]) -> String {
    if text.is_empty() { String::new() } else { format!("sha256:{}", hex::encode(Sha256::digest(text))) }
}

/// Says how labels name this server.
pub(crate) fn name_server() {
    ironclad_api::metrics::name_server(hash(ironclad_apiserver::identity().as_bytes()));
}

/// The hash of a file as it is now; empty when it cannot be read.
pub(crate) fn hash_of(path: &Path) -> String {
    std::fs::read(path).map(|bytes| hash(&bytes)).unwrap_or_default()
}

/// What a file held when it was last read: one that is written again as it was is not read again.
pub(crate) struct Seen(String);

impl Seen {
    /// As the file is now.
    pub(crate) fn of(path: &Path) -> Self {
        Self(hash_of(path))
    }

    /// Whether the file holds something else than last time.
    pub(crate) fn anew(&mut self, path: &Path) -> bool {
        let now = hash_of(path);
        let before = std::mem::replace(&mut self.0, now);
        before != self.0
    }
}

impl Reload {
    fn labels<'a>(plugin: &'a str, server: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut labels = vec![("apiserver_id_hash", server)];
        if !plugin.is_empty() {
            labels.push(("plugin", plugin));
        }
        labels
    }

    /// What is in force from now on, by its hash.
    pub(crate) fn used(&'static self, plugin: &str, hashed: &str) {
        let server = ironclad_api::metrics::server();
        let mut labels = Self::labels(plugin, server);
        labels.insert(1, ("hash", hashed));
        self.info.only(&labels, &Self::labels(plugin, server), 1.0);
    }

    /// A configuration was read anew; `hashed` when it is used.
    pub(crate) fn done(&'static self, plugin: &str, hashed: Option<&str>) {
        let server = ironclad_api::metrics::server();
        let mut labels = Self::labels(plugin, server);
        labels.push(("status", if hashed.is_some() { "success" } else { "failure" }));
        self.total.add(&labels, 1);
        self.last.set(&labels, jiff::Timestamp::now().as_millisecond() as f64 / 1000.0);
        if let Some(hashed) = hashed {
            self.used(plugin, hashed);
        }
    }
}

/// All of it, as text.
pub(crate) fn render() -> String {
    let all = [&AUTHENTICATION, &AUTHORIZATION, &ENCRYPTION, &MANIFESTS];
    let metrics: Vec<&'static Metric> = all.into_iter().flat_map(|r| [&r.total, &r.last, &r.info]).collect();
    page(&[], &metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_again_as_it_was_is_not_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let mut seen = Seen::of(&path);
        let mut then = |text: &str| {
            std::fs::write(&path, text).unwrap();
            seen.anew(&path)
        };
        assert_eq!([then("one"), then("two"), then("two"), then("one")], [false, true, false, true]);
    }
}
