//! How this kubelet is set up, in the words of `KubeletConfiguration`.

use super::{Body, json};
use crate::worker::Shared;
use http::Response;
use serde_json::json;

pub(super) fn answer(shared: &Shared) -> Response<Body> {
    let config = &shared.config;
    let hard: serde_json::Map<String, serde_json::Value> =
        config.eviction.iter().map(|t| (t.signal.name().to_owned(), json!(t.limit.to_string()))).collect();
    json(&json!({"kubeletconfig": {
        "address": "0.0.0.0", "port": config.port, "staticPodPath": config.manifests.as_ref().map(|m| m.display().to_string()),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true, "cacheTTL": "2m0s"}},
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [config.cluster_dns.to_string()], "clusterDomain": config.cluster_domain,
        "nodeStatusUpdateFrequency": "10s", "nodeStatusReportFrequency": "5m0s", "nodeLeaseDurationSeconds": 40,
        "imageGCHighThresholdPercent": crate::gc::HIGH, "imageGCLowThresholdPercent": crate::gc::LOW,
        "imageMinimumGCAge": "2m0s", "maxPods": crate::node::PODS, "podPidsLimit": -1,
        "containerLogMaxSize": "10Mi", "containerLogMaxFiles": 5,
        "evictionHard": hard, "evictionPressureTransitionPeriod": "5m0s",
        "cgroupDriver": "cgroupfs", "cgroupsPerQOS": true, "enforceNodeAllocatable": ["pods"],
        "failSwapOn": false, "serializeImagePulls": false, "makeIPTablesUtilChains": false,
        "enableServer": true, "enableDebuggingHandlers": true, "rotateCertificates": false,
    }}))
}
