//! KubeProxyConfiguration.

use super::{File, Others, string, text};
use ipnet::Ipv4Net;
use ironclad_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const OTHERS: Others = Others {
    used: &[
        "clientConnection.kubeconfig",
        "hostnameOverride",
        "clusterCIDR",
        "metricsBindAddress",
        "healthzBindAddress",
    ],
    // The table is changed when something changes; conntrack's limits are the machine's; the other modes are not chosen.
    idle: &[
        "clientConnection.acceptContentTypes",
        "clientConnection.contentType",
        "clientConnection.qps",
        "clientConnection.burst",
        "logging",
        "bindAddressHardFail",
        "enableProfiling",
        "showHiddenMetricsForVersion",
        "iptables",
        "ipvs",
        "winkernel",
        "nftables.masqueradeBit",
        "nftables.syncPeriod",
        "nftables.minSyncPeriod",
        "oomScoreAdj",
        "conntrack",
        "configSyncPeriod",
        "portRange",
    ],
    fixed: &[
        ("mode", "nftables"),
        ("bindAddress", "0.0.0.0"),
        ("detectLocalMode", "ClusterCIDR"),
        ("nftables.masqueradeAll", "false"),
        ("windowsRunAsService", "false"),
    ],
};

/// What a proxy takes from its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Proxy {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) hostname: Option<String>,
    pub(crate) cluster_cidr: Option<Ipv4Net>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) health: Option<SocketAddr>,
}

/// Reads the file that `--config` names.
pub(crate) fn read(path: &Path) -> Result<Proxy, String> {
    let complete = |e: String| format!("failed complete: {e}");
    let version = "kubeproxy.config.k8s.io/v1alpha1";
    let scheme = "pkg/proxy/apis/config/scheme/scheme.go:29";
    let text = text(path).map_err(complete)?;
    let file = File::read(&text, "KubeProxyConfiguration", version, scheme).map_err(complete)?;
    if let Some(why) = file.strict() {
        // As stock: the alpha version is read leniently after all.
        tracing::info!(error = why, "Using lenient decoding as strict decoding failed");
    }
    let (taken, mut errors) = taken(&file.value);
    errors.extend(OTHERS.refused(&file));
    match errors.as_slice() {
        [] => Ok(taken),
        [one] => Err(format!("failed validate: {one}")),
        many => Err(format!("failed validate: [{}]", many.join(", "))),
    }
}

fn taken(value: &Value) -> (Proxy, Vec<String>) {
    let mut errors = Vec::new();
    let mut address = |field: &str, called: &str, port: u16| {
        let text = string(value, field)?;
        let parsed = text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, port)));
        if parsed.is_none() {
            errors.push(format!("KubeProxyConfiguration.{called}: Invalid value: {text:?}: must be IP:port"));
        }
        parsed
    };
    let metrics = address("metricsBindAddress", "MetricsBindAddress", 10249);
    let health = address("healthzBindAddress", "HealthzBindAddress", 10256);
    let cluster_cidr = string(value, "clusterCIDR").and_then(|text| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            errors.push(format!("KubeProxyConfiguration.DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: {text:?}: must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)"));
        }
        parsed
    });
    let kubeconfig = string(value, "clientConnection.kubeconfig").map(PathBuf::from);
    (Proxy { kubeconfig, hostname: string(value, "hostnameOverride"), cluster_cidr, metrics, health }, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Proxy, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        std::fs::write(file.path(), format!("{head}{body}")).unwrap();
        read(file.path())
    }

    #[test]
    fn what_is_set_is_used_or_refused() {
        let usual = "bindAddress: 0.0.0.0\nclusterCIDR: 10.244.0.0/16\nclientConnection: {kubeconfig: /k, qps: 0}\nconntrack: {maxPerCore: null}\nmode: \"\"\nmetricsBindAddress: 127.0.0.1\niptables: {syncPeriod: 0s}\nfoo: 1\n";
        let taken = of(usual).unwrap();
        assert_eq!(taken.metrics, Some("127.0.0.1:10249".parse().unwrap()));
        assert_eq!(taken.cluster_cidr, Some("10.244.0.0/16".parse().unwrap()));
        assert_eq!(
            of("mode: ipvs\n").unwrap_err(),
            "failed validate: mode: Unsupported value: \"ipvs\": supported values: nftables"
        );
        assert_eq!(
            of("metricsBindAddress: x\n").unwrap_err(),
            "failed validate: KubeProxyConfiguration.MetricsBindAddress: Invalid value: \"x\": must be IP:port"
        );
    }
}
