//! What can go wrong for the person at the terminal: a stable id, an exit code, the cause, and what helps.

use serde::{Deserialize, Serialize};

/// Each sort of failure has a name that scripts and searches can rely on, and an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Id {
    /// Anything that has no id of its own.
    Internal,
    NotRoot,
    PortInUse,
    KernelFeature,
    DataDirNewer,
    DataDirInUse,
    DataDirDamaged,
    DataDirUnusable,
    NotRunning,
    NotReady,
    BadNetwork,
    Kubeconfig,
    Image,
    Etcd,
    /// What seals Secrets on the disk cannot be used, or is not what sealed them.
    Encryption,
    /// A part's configuration file.
    Config,
}

impl Id {
    /// The process's exit code; part of the interface.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            // 2 is clap's, for a command line that cannot be right.
            Self::NotRoot => 10,
            Self::PortInUse => 11,
            Self::KernelFeature => 12,
            Self::DataDirNewer => 13,
            Self::DataDirInUse => 14,
            Self::DataDirDamaged => 15,
            Self::DataDirUnusable => 16,
            Self::NotRunning => 17,
            Self::NotReady => 18,
            Self::BadNetwork => 19,
            Self::Kubeconfig => 20,
            Self::Image => 21,
            Self::Etcd => 22,
            Self::Encryption => 23,
            Self::Config => 24,
        }
    }

    /// The id as it is shown, for example `PORT_IN_USE`.
    pub(crate) fn name(self) -> String {
        let mut out = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_uppercase());
        }
        out
    }
}

/// A failure and what helps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) id: Id,
    /// What was tried, on what, and why it failed.
    pub(crate) cause: String,
    /// What to do or to type; may be empty.
    pub(crate) help: String,
}

impl Failure {
    pub(crate) fn new(id: Id, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self { id, cause: cause.into(), help: help.into() }
    }

    /// A failure without an id of its own.
    pub(crate) fn internal(what: &str, why: impl std::fmt::Display) -> Self {
        Self::new(Id::Internal, format!("{what}: {why}"), "")
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A file of configuration that cannot be used; the cause is stock's.
pub(crate) fn config_failure(cause: String) -> Failure {
    Failure::new(Id::Config, cause, "Mend the file; nothing was changed.")
}

/// Adds what was tried to an error.
pub(crate) trait Context<T> {
    fn context(self, what: &str) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: &str) -> Result<T> {
        self.map_err(|why| Failure::internal(what, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_exit_codes_are_stable_and_distinct() {
        assert_eq!(Id::PortInUse.name(), "PORT_IN_USE");
        let all = [
            Id::Internal,
            Id::NotRoot,
            Id::PortInUse,
            Id::KernelFeature,
            Id::DataDirNewer,
            Id::DataDirInUse,
            Id::DataDirDamaged,
            Id::DataDirUnusable,
            Id::NotRunning,
            Id::NotReady,
            Id::BadNetwork,
            Id::Kubeconfig,
            Id::Image,
            Id::Etcd,
            Id::Encryption,
            Id::Config,
        ];
        let codes: std::collections::BTreeSet<u8> = all.iter().map(|id| id.exit_code()).collect();
        assert_eq!(codes.len(), all.len());
        assert!(!codes.contains(&2));
    }
}
