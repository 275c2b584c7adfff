//! KubeletConfiguration.

use super::{File, Others, flag, number, string, text};
use ironclad_json::Value;
use std::path::{Path, PathBuf};

const OTHERS: Others = Others {
    used: &[
        "staticPodPath",
        "port",
        "tlsCertFile",
        "tlsPrivateKeyFile",
        "rotateCertificates",
        "serverTLSBootstrap",
        "authentication.x509.clientCAFile",
        "clusterDomain",
        "clusterDNS",
        "evictionHard",
        "healthzPort",
        "healthzBindAddress",
    ],
    // What is done when something changes here, stock does from time to time; containers run in the kubelet's own runtime;
    // requests to the API server have priority and fairness.
    idle: &[
        "syncFrequency",
        "fileCheckFrequency",
        "httpCheckFrequency",
        "nodeStatusUpdateFrequency",
        "nodeStatusReportFrequency",
        "volumeStatsAggPeriod",
        "cpuManagerReconcilePeriod",
        "runtimeRequestTimeout",
        "containerRuntimeEndpoint",
        "imageServiceEndpoint",
        "cgroupDriver",
        "failCgroupV1",
        "failSwapOn",
        "volumePluginDir",
        "kubeAPIQPS",
        "kubeAPIBurst",
        "contentType",
        "eventRecordQPS",
        "eventBurst",
        "registryPullQPS",
        "registryBurst",
        "serializeImagePulls",
        "maxParallelImagePulls",
        "oomScoreAdj",
        "hairpinMode",
        "makeIPTablesUtilChains",
        "iptablesMasqueradeBit",
        "iptablesDropBit",
        "logging",
        "podLogsDir",
        "enableProfilingHandler",
        "enableContentionProfiling",
        "enableDebugFlagsHandler",
        "kernelMemcgNotification",
        "configMapAndSecretChangeDetectionStrategy",
        "authentication.webhook.cacheTTL",
        "authorization.webhook",
        "containerLogMonitorInterval",
        "containerLogMaxWorkers",
        "showHiddenMetricsForVersion",
    ],
    fixed: &[
        ("enableServer", "true"),
        ("address", "0.0.0.0"),
        ("authentication.anonymous.enabled", "false"),
        ("authentication.webhook.enabled", "true"),
        ("authorization.mode", "Webhook"),
        ("enableDebuggingHandlers", "true"),
        ("enableSystemLogHandler", "true"),
        ("streamingConnectionIdleTimeout", "4h0m0s"),
        ("nodeLeaseDurationSeconds", "40"),
        ("imageMinimumGCAge", "2m0s"),
        ("imageGCHighThresholdPercent", "85"),
        ("imageGCLowThresholdPercent", "80"),
        ("cgroupsPerQOS", "true"),
        ("cpuManagerPolicy", "none"),
        ("memoryManagerPolicy", "None"),
        ("topologyManagerPolicy", "none"),
        ("topologyManagerScope", "container"),
        ("maxPods", "110"),
        ("podPidsLimit", "-1"),
        ("resolvConf", "/etc/resolv.conf"),
        ("cpuCFSQuota", "true"),
        ("cpuCFSQuotaPeriod", "100ms"),
        ("nodeStatusMaxImages", "50"),
        ("maxOpenFiles", "1000000"),
        ("evictionPressureTransitionPeriod", "5m0s"),
        ("enableControllerAttachDetach", "true"),
        ("containerLogMaxSize", "10Mi"),
        ("containerLogMaxFiles", "5"),
        ("enforceNodeAllocatable", "[\"pods\"]"),
        ("registerNode", "true"),
        ("localStorageCapacityIsolation", "true"),
        ("imagePullCredentialsVerificationPolicy", "NeverVerifyPreloadedImages"),
        ("memoryThrottlingFactor", "0.9"),
        ("seccompDefault", "false"),
        ("protectKernelDefaults", "false"),
        ("runOnce", "false"),
        ("enableSystemLogQuery", "false"),
        ("mergeDefaultEvictionSettings", "false"),
        ("singleProcessOOMKill", "false"),
    ],
};

/// What a kubelet takes from its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kubelet {
    pub(crate) manifests: Option<PathBuf>,
    pub(crate) port: Option<u16>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) rotate: Option<bool>,
    pub(crate) server_bootstrap: Option<bool>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) domain: Option<String>,
    pub(crate) dns: Option<std::net::Ipv4Addr>,
    pub(crate) eviction_hard: Vec<String>,
    pub(crate) health: Option<(String, u16)>,
}

/// Reads the file that `--config` names.
pub(crate) fn read(path: &Path) -> Result<Kubelet, String> {
    let shown = path.display();
    let failed = |why: String| {
        format!(
            "failed to load kubelet config file, path: {shown}, error: failed to load Kubelet config file {shown}, error {why}"
        )
    };
    let text = text(path).map_err(|e| failed(format!("failed to read kubelet config file {shown:?}, error: {e}")))?;
    let version = "kubelet.config.k8s.io/v1beta1";
    let file = File::read(&text, "KubeletConfiguration", version, "pkg/kubelet/apis/config/scheme/scheme.go:33")
        .map_err(|e| failed(format!("failed to decode: {e}")))?;
    if let Some(why) = file.strict() {
        // As stock: the beta version of the kubelet's configuration is read leniently after all.
        tracing::warn!(error = why, path = %shown, "Using lenient decoding as strict decoding failed");
    }
    let errors: Vec<String> = validate(&file.value).into_iter().chain(OTHERS.refused(&file)).collect();
    if !errors.is_empty() {
        return Err(format!("failed to validate kubelet configuration, error: [{}], path: {shown}", errors.join(", ")));
    }
    taken(&file.value)
}

fn validate(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let port = |field: &str| number(value, field).filter(|n| !(0..=65_535).contains(n));
    if let Some(found) = port("healthzPort") {
        out.push(format!(
            "invalid configuration: healthzPort (--healthz-port) {found} must be between 1 and 65535, inclusive"
        ));
    }
    if let Some(found) = port("port") {
        out.push(format!("invalid configuration: port (--port) {found} must be between 1 and 65535, inclusive"));
    }
    if let (Some(high), Some(low)) =
        (number(value, "imageGCHighThresholdPercent"), number(value, "imageGCLowThresholdPercent"))
        && low >= high
    {
        out.push(format!("invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"));
    }
    if let Some(found) = number(value, "maxPods").filter(|n| *n < 0) {
        out.push(format!("invalid configuration: maxPods (--max-pods) {found} must not be a negative number"));
    }
    if flag(value, "serverTLSBootstrap") == Some(true) && flag(value, "rotateCertificates") == Some(false) {
        tracing::debug!("serving certificates are asked for and renewed, client certificates are not");
    }
    out
}

fn taken(value: &Value) -> Result<Kubelet, String> {
    let path = |field: &str| string(value, field).map(PathBuf::from);
    let port = |field: &str| number(value, field).and_then(|n| u16::try_from(n).ok());
    let dns: Vec<String> = super::at(value, "clusterDNS")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let dns = match dns.as_slice() {
        [] => None,
        [one] => Some(one.parse().map_err(|_| format!("clusterDNS: Invalid value: {one:?}: must be an IPv4 address"))?),
        _ => return Err("clusterDNS: Too many: must have at most 1 item".to_owned()),
    };
    let thresholds = super::at(value, "evictionHard").and_then(Value::as_object);
    let eviction_hard: Vec<String> = thresholds
        .into_iter()
        .flat_map(|all| all.iter())
        .map(|(signal, limit)| format!("{signal}<{}", limit.as_str().unwrap_or_default()))
        .collect();
    for threshold in &eviction_hard {
        threshold.parse::<ironclad_kubelet::Threshold>().map_err(|e| format!("evictionHard: {e}"))?;
    }
    let health = match number(value, "healthzPort") {
        Some(0) => None,
        _ => {
            let address = string(value, "healthzBindAddress").unwrap_or_else(|| "127.0.0.1".to_owned());
            Some((address, port("healthzPort").unwrap_or(10248)))
        }
    };
    Ok(Kubelet {
        manifests: path("staticPodPath"),
        port: port("port").filter(|p| *p != 0),
        certificate: path("tlsCertFile").zip(path("tlsPrivateKeyFile")),
        rotate: flag(value, "rotateCertificates"),
        server_bootstrap: flag(value, "serverTLSBootstrap"),
        client_ca: path("authentication.x509.clientCAFile"),
        domain: string(value, "clusterDomain"),
        dns,
        eviction_hard,
        health,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubeadm writes it.
    const USUAL: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization:
  mode: Webhook
  webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
kind: KubeletConfiguration
logging: {flushFrequency: 0, options: {json: {infoBufferSize: \"0\"}, text: {infoBufferSize: \"0\"}}, verbosity: 0}
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
";

    fn of(text: &str) -> Result<Kubelet, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|e| e.replace(&file.path().display().to_string(), "F"))
    }

    #[test]
    fn the_usual_file_is_taken() {
        let taken = of(USUAL).unwrap();
        assert_eq!(taken.client_ca, Some("/etc/kubernetes/pki/ca.crt".into()));
        assert_eq!(taken.dns, Some([10, 96, 0, 10].into()));
        assert_eq!((taken.rotate, taken.health), (Some(true), Some(("127.0.0.1".to_owned(), 10248))));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_what_is_unknown_is_passed_over_as_stock_does() {
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
        assert!(of(&format!("{head}foo: 1\n")).is_ok());
        let why =
            of(&format!("{head}maxPods: 200\ncpuManagerPolicy: static\nevictionSoft: {{memory.available: 1Gi}}\n"));
        let why = why.unwrap_err();
        assert!(why.contains("maxPods: Unsupported value: 200: supported values: 110"), "{why}");
        assert!(why.contains("cpuManagerPolicy: Unsupported value: \"static\": supported values: none"), "{why}");
        assert!(why.contains("evictionSoft.memory.available: Forbidden"), "{why}");
        let why = of("apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n").unwrap_err();
        assert_eq!(
            why,
            "failed to load kubelet config file, path: F, error: failed to load Kubelet config file F, error failed to decode: no kind \"KubeletConfiguration\" is registered for version \"kubelet.config.k8s.io/v1\" in scheme \"pkg/kubelet/apis/config/scheme/scheme.go:33\""
        );
    }
}
