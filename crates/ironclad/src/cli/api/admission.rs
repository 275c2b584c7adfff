//! Which plugins of admission are on.

use clap::Args;

/// Admission.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AdmissionFlags {
    /// Admission plugins that are on besides those that are on by default
    #[arg(long, value_name = "PLUGIN", value_delimiter = ',')]
    pub(crate) enable_admission_plugins: Vec<String>,
    /// Admission plugins that are off although they are on by default
    #[arg(long, value_name = "PLUGIN", value_delimiter = ',')]
    pub(crate) disable_admission_plugins: Vec<String>,
}
