//! Which plugins of admission are on, and how they are set up.

use clap::Args;
use ironclad_admission::{Choice, Manifests};
use ironclad_remote::Egress;
use std::path::PathBuf;

/// Admission.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AdmissionFlags {
    /// Admission plugins that are on besides those that are on by default
    #[arg(long, value_name = "PLUGIN", value_delimiter = ',')]
    pub(crate) enable_admission_plugins: Vec<String>,
    /// Admission plugins that are off although they are on by default
    #[arg(long, value_name = "PLUGIN", value_delimiter = ',')]
    pub(crate) disable_admission_plugins: Vec<String>,
    /// An AdmissionConfiguration, with the configurations of plugins
    #[arg(long, value_name = "FILE")]
    pub(crate) admission_control_config_file: Option<PathBuf>,
    /// How long pods stay on a node that is not ready, where they do not say it themselves [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) default_not_ready_toleration_seconds: Option<i64>,
    /// How long pods stay on a node that cannot be reached, where they do not say it themselves [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) default_unreachable_toleration_seconds: Option<i64>,
}

impl AdmissionFlags {
    /// What the chain is made of.
    pub(crate) fn choice(&self, egress: Egress, manifests: Manifests) -> Choice {
        let default = Choice::default();
        Choice {
            enable: self.enable_admission_plugins.clone(),
            disable: self.disable_admission_plugins.clone(),
            configuration: self.admission_control_config_file.clone(),
            not_ready: self.default_not_ready_toleration_seconds.unwrap_or(default.not_ready),
            egress,
            manifests,
            unreachable: self.default_unreachable_toleration_seconds.unwrap_or(default.unreachable),
        }
    }
}
