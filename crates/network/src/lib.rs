//! Pod network and Services: routed veth, addresses, nftables by netlink.
//!
//! Invariants: no process is started to change the kernel's state; everything in the kernel carries the cluster's
//! name, so that clusters share a machine; one change costs a batch of its own size, whatever else is there.

pub mod netlink;
pub mod nft;
pub mod pod;
pub mod proxy;

use std::path::PathBuf;

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was asked for.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of the state cannot be read or written.
    #[error("cannot use {path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A CIDR or address that is none.
    #[error("invalid {what} {value:?}")]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// The node has no pod CIDR yet.
    #[error("the node has no pod CIDR yet")]
    NoCidr,
    /// All addresses are taken.
    #[error("no address is left in {0}")]
    NoAddress(ipnet::IpNet),
    /// The worker thread is gone.
    #[error("the network worker has stopped")]
    Stopped,
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The kernel does not know what was asked for: it was built without it, or lacks a module.
    pub fn is_unsupported(&self) -> bool {
        // What netfilter and routing answer to kinds that nobody registered; the last is the kernel's own ENOTSUPP.
        const UNKNOWN: [i32; 5] = [libc::ENOENT, libc::EOPNOTSUPP, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, 524];
        matches!(self, Self::Kernel { source, .. } if source.raw_os_error().is_some_and(|e| UNKNOWN.contains(&e)))
    }

    pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, source }
    }
}
