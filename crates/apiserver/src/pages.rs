//! Pages of the server about itself that are no resources: where it stands (`/statusz`, `/flagz`, KEP-4827 and
//! KEP-4828), what it works on (`/debug`).

pub(crate) mod debug;
pub(crate) mod flags;
pub(crate) mod logs;
mod profile;
pub(crate) mod zpages;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What the server tells of itself and of its neighbours.
#[derive(Clone, Default)]
pub struct About {
    /// The flags in force, by their names.
    pub flags: BTreeMap<String, String>,
    /// Whether the server may be profiled, and its log's verbosity be changed.
    pub profiling: bool,
    /// Whether the files of the machine's log are served.
    pub logs: bool,
    /// Changes how much is logged.
    pub verbosity: Option<fn(u32)>,
    /// The other parts of the control plane, by the names of their ComponentStatuses.
    pub parts: Vec<(&'static str, Part)>,
}

/// Another part of the control plane.
#[derive(Clone, Debug)]
pub enum Part {
    /// In this process; it runs as long as it is true.
    Here(Arc<AtomicBool>),
    /// A process that answers for its health over TLS.
    At(SocketAddr),
}
