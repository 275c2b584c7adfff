//! Clusters, images and registries for tests: every image is made from Debian packages on this machine, nothing comes
//! from the internet. Built once, kept in a cache directory, byte for byte the same each time.

pub mod cluster;
pub mod etcd;
pub mod extension;
pub mod images;
pub mod registry;

pub use cluster::{Cluster, Namespace, Output};
pub use etcd::Etcd;
pub use images::{Image, Images};
pub use registry::{Credentials, Registry};

/// What can go wrong while images are built or served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote.
        output: String,
    },
    /// An image that was never built.
    #[error("no image {0:?} in the test kit; there are: {1}")]
    NoImage(String, String),
    /// The program under test was not built.
    #[error("cannot find the program {0}: build it with `cargo build -p ironclad`, or name it with IRONCLAD_BIN")]
    NoProgram(String),
    /// Every slot for a test cluster is taken.
    #[error("all {0} places for test clusters are taken")]
    NoPlace(u8),
    /// A worker thread ended.
    #[error("the build thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// The cache holds something else than JSON.
    #[error("the image cache is damaged: {0}")]
    Cache(#[from] serde_json::Error),
}

/// A result of the test kit.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
