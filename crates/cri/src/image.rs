//! Images.

use crate::StringMap;
use std::sync::Arc;

/// What is pulled, and with which credentials.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// The image as the pod names it.
    pub image: String,
    /// Credentials to try in order; none means anonymously.
    pub auth: Vec<AuthConfig>,
    /// Annotations of the pod.
    pub annotations: StringMap,
}

/// Credentials of a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Bearer token of the registry, instead of user and password.
    pub registry_token: String,
    /// Token to get an access token with.
    pub identity_token: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthConfig {{ username: {:?}, .. }}", self.username)
    }
}

/// How far a pull is: bytes done and bytes in all, as far as they are known.
pub type PullProgress = Option<Arc<dyn Fn(u64, u64) + Send + Sync>>;

/// An image on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// `sha256:...` of the image's configuration.
    pub id: String,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Unpacked bytes.
    pub size: u64,
    /// The user that the image sets, as a number.
    pub uid: Option<i64>,
    /// The user that the image sets, as a name.
    pub username: String,
    /// Not to be removed by garbage collection.
    pub pinned: bool,
}

/// What a file system holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// A path in it.
    pub mountpoint: String,
    /// Bytes used by images.
    pub used_bytes: u64,
    /// Inodes used by images.
    pub inodes_used: u64,
}
