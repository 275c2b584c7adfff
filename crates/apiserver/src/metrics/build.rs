//! The program: its features, its build, the versions that it stands for.

use super::family::{head, sample};
use ironclad_api::features::{FeatureGates, Stage};

pub(crate) fn render(out: &mut String, gates: &FeatureGates, version: &str) {
    let name = "kubernetes_feature_enabled";
    let help = "This metric records the data about the stage and enablement of a k8s feature.";
    head(out, name, "gauge", "BETA", help);
    for (feature, stage, on) in gates.all() {
        let stage = match stage {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
            Stage::Stable => "",
            Stage::Deprecated => "DEPRECATED",
        };
        sample(out, name, &[("name", feature), ("stage", stage)], u8::from(on));
    }
    let mut numbers = ironclad_api::KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let name = "kubernetes_build_info";
    let help = "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.";
    head(out, name, "gauge", "BETA", help);
    let labels = [
        ("build_date", "1970-01-01T00:00:00Z"),
        ("compiler", crate::nonresource::COMPILER),
        ("git_commit", ""),
        ("git_tree_state", "clean"),
        ("git_version", version),
        ("go_version", ""),
        ("major", major),
        ("minor", minor),
        ("platform", crate::nonresource::platform()),
    ];
    sample(out, name, &labels, 1);
    let name = "version_info";
    let help = "Provides the compatibility version info of the component. The component label is the name of the component, usually kube, but is relevant for aggregated-apiservers.";
    head(out, name, "gauge", "ALPHA", help);
    let release = ironclad_api::KUBERNETES_VERSION.trim_start_matches('v');
    let before = minor.parse().map_or(0, |n: u32| n.saturating_sub(1));
    let labels = [
        ("binary", release),
        ("component", "kube"),
        ("emulation", &format!("{major}.{minor}")),
        ("min_compat", &format!("{major}.{before}")),
    ];
    sample(out, name, &labels, 1);
}
