//! The node agent: pod workers, probes, volumes, status and the kubelet's HTTP API.
