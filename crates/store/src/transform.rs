//! The boundary between values in memory and values on disk: encryption at rest.
//!
//! Both engines use it alike: the embedded one for what it writes into its log and snapshots, etcd for the values of its
//! keys. Keys are those of the stock layout (`/registry/secrets/default/a`); sealed values begin as stock's do
//! (`k8s:enc:<provider>:v1:<key>:`), and a key is authenticated together with its value where the provider can.

/// What became of a stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The value.
    pub plain: Vec<u8>,
    /// Whether `seal` would do it otherwise now (another key or provider): the value should be written again, also by a
    /// change that changes nothing.
    pub stale: bool,
}

/// Changes values on their way to the disk and back.
pub trait Transform: Send + Sync + 'static {
    /// Whether values under `key` are changed at all when they are written; if not, `seal` need not be called.
    fn seals(&self, _key: &str) -> bool {
        true
    }
    /// Whether something new may be written under `key` now. What was written before may be sealed anew all the same.
    fn ready(&self, _key: &str) -> Result<(), String> {
        Ok(())
    }
    /// The bytes to store for `plain` under `key`.
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, String>;
    /// The reverse of `seal`; also for values that were written before `key` was sealed, or with older keys.
    fn open(&self, key: &str, stored: &[u8]) -> Result<Opened, String>;
}
