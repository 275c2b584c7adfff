//! What sealing and opening cost and what plugins of keys are asked, under stock's names.
//!
//! Invariant: a value that is sealed or opened costs a few additions; only what a plugin is asked is looked up.

use ironclad_api::metrics::{Metric, Series, doubling, page, server};
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

pub(crate) static FILLED: Metric = Metric::gauge(
    "apiserver_envelope_encryption_dek_cache_fill_percent",
    "Percent of the cache slots currently occupied by cached DEKs.",
);
pub(crate) static CALLS: Metric = Metric::histogram(
    "apiserver_envelope_encryption_kms_operations_latency_seconds",
    "KMS operation duration with gRPC error code status total.",
    &doubling::<20>(0.0001),
);
static KEYS_USED: Metric = Metric::counter(
    "apiserver_envelope_encryption_key_id_hash_total",
    "Number of times a keyID is used split by transformation type, provider, and apiserver identity.",
);
static KEYS_USED_AT: Metric = Metric::gauge(
    "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
    "The last time in seconds when a keyID was used.",
);
static KEYS_TOLD_AT: Metric = Metric::gauge(
    "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
    "The last time in seconds when a keyID was returned by the Status RPC call.",
);
pub(crate) static WRONG_KEYS: Metric = Metric::counter(
    "apiserver_envelope_encryption_invalid_key_id_from_status_total",
    "Number of times an invalid keyID is returned by the Status RPC call split by error.",
);
pub(crate) static SEEDS: Metric = Metric::gauge(
    "apiserver_envelope_encryption_dek_source_cache_size",
    "Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation of the number of decrypt RPC calls the server will make to the KMS plugin.",
);
static TIMES: Metric = Metric::histogram(
    "apiserver_storage_transformation_duration_seconds",
    "Latencies in seconds of value transformation operations.",
    &doubling::<25>(5e-6),
);
static OPERATIONS: Metric = Metric::counter(
    "apiserver_storage_transformation_operations_total",
    "Total number of transformations. Successful transformation will have a status 'OK' and a varied status string when the transformation fails. The status, resource, and transformation_type fields can be used for alerting purposes. For example, you can monitor for encryption/decryption failures using the transformation_type (e.g., from_storage for decryption and to_storage for encryption). Additionally, these fields can be used to ensure that the correct transformers are applied to each resource.",
);
static MISSES: Metric = Metric::counter(
    "apiserver_storage_envelope_transformation_cache_misses_total",
    "Total number of cache misses while accessing key decryption key(KEK).",
);
static SEED_TIMES: Metric = Metric::histogram(
    "apiserver_storage_data_key_generation_duration_seconds",
    "Latencies in seconds of data encryption key(DEK) generation operations.",
    &doubling::<14>(5e-6),
);
static SEED_FAILURES: Metric = Metric::counter(
    "apiserver_storage_data_key_generation_failures_total",
    "Total number of failed data encryption key(DEK) generation operations.",
);

pub(crate) static MISSED: LazyLock<Arc<Series>> = LazyLock::new(|| MISSES.of(&[]));
pub(crate) static SEEDED: LazyLock<Arc<Series>> = LazyLock::new(|| SEED_TIMES.of(&[]));
pub(crate) static UNSEEDED: LazyLock<Arc<Series>> = LazyLock::new(|| SEED_FAILURES.of(&[]));

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    To,
    From,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::To => "to_storage",
            Self::From => "from_storage",
        }
    }
}

/// A value of a resource went one way through the provider of a prefix.
pub(crate) fn transformed(resource: &str, way: Way, prefix: &str, good: bool, took: std::time::Duration) {
    let way = way.as_str();
    // Stock's errors here are none of gRPC.
    let status = if good { "OK" } else { "unknown-non-grpc" };
    let (kind, by) = (("transformation_type", way), ("transformer_prefix", prefix));
    OPERATIONS.add(&[("resource", resource), ("status", status), kind, by], 1);
    if good {
        TIMES.took(&[kind, by], took);
    }
}

fn hash(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("sha256:{}", hex::encode(Sha256::digest(text))) }
}

/// A key sealed or opened a value.
pub(crate) fn used(provider: &str, key: &str, way: Way) {
    let key = hash(key);
    let labels = [
        ("apiserver_id_hash", server()),
        ("key_id_hash", &*key),
        ("provider_name", provider),
        ("transformation_type", way.as_str()),
    ];
    KEYS_USED.add(&labels, 1);
    KEYS_USED_AT.now(&labels);
}

/// A plugin named its key.
pub(crate) fn told(provider: &str, key: &str) {
    let key = hash(key);
    KEYS_TOLD_AT.now(&[("apiserver_id_hash", server()), ("key_id_hash", &*key), ("provider_name", provider)]);
}

/// The page of all of them.
pub fn render() -> String {
    let plain = [&FILLED, &MISSES, &SEED_TIMES, &SEED_FAILURES];
    let labelled = [&CALLS, &KEYS_USED, &KEYS_USED_AT, &KEYS_TOLD_AT, &WRONG_KEYS, &SEEDS, &TIMES, &OPERATIONS];
    page(&plain, &labelled)
}
