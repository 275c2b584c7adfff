//! Metrics in the text format of Prometheus, with the stock names.

use super::{Body, text};
use crate::stats::{self, Sample};
use crate::worker::Shared;
use http::{Response, StatusCode};
use std::fmt::Write;

/// A page of metrics.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn answer(self) -> Response<Body> {
        let mut response = text(StatusCode::OK, self.0);
        let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        response
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// The kubelet itself.
pub(super) async fn own(shared: &Shared) -> Response<Body> {
    let mut page = Page::default();
    let containers = shared.config.runtime.list_containers(None).await.unwrap_or_default();
    let sandboxes = shared.config.runtime.list_pod_sandboxes(None).await.unwrap_or_default();
    page.head("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    page.line("kubelet_node_name", &[("node", &shared.config.node_name)], 1);
    page.head("kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox");
    let ready = sandboxes.iter().filter(|s| s.state == ironclad_cri::SandboxState::Ready).count();
    page.line("kubelet_running_pods", &[], ready);
    page.head("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running");
    for (name, state) in [
        ("created", ironclad_cri::ContainerState::Created),
        ("running", ironclad_cri::ContainerState::Running),
        ("exited", ironclad_cri::ContainerState::Exited),
    ] {
        let count = containers.iter().filter(|c| c.state == state).count();
        page.line("kubelet_running_containers", &[("container_state", name)], count);
    }
    page.head("kubernetes_build_info", "gauge", "[ALPHA] A metric with a constant '1' value");
    page.line("kubernetes_build_info", &[("git_version", &shared.config.version), ("platform", "linux/amd64")], 1);
    let own = stats::own_process();
    page.head("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
    page.line("process_resident_memory_bytes", &[], own.0);
    page.head("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.");
    page.line("process_cpu_seconds_total", &[], own.1);
    page.answer()
}

/// CPU and memory, for who scales.
pub(super) async fn resource(shared: &Shared) -> Response<Body> {
    let all = stats::collect(shared, false).await;
    let mut page = Page::default();
    let mut table = |name: &str, kind: &str, help: &str, of: &dyn Fn(&mut Page)| {
        page.head(name, kind, help);
        of(&mut page);
    };
    let of_container = |name: &'static str, value: fn(&stats::Container) -> Option<f64>| {
        let all = &all;
        move |page: &mut Page| {
            for pod in &all.pods {
                for c in &pod.containers {
                    let labels = [("container", c.name.as_str()), ("namespace", &pod.namespace), ("pod", &pod.name)];
                    if let Some(value) = value(c) {
                        page.line(name, &labels, format!("{value} {}", c.sample.millis()));
                    }
                }
            }
        }
    };
    let of_pod = |name: &'static str, value: fn(&Sample) -> f64| {
        let all = &all;
        move |page: &mut Page| {
            for pod in &all.pods {
                let labels = [("namespace", pod.namespace.as_str()), ("pod", &pod.name)];
                page.line(name, &labels, format!("{} {}", value(&pod.sample), pod.sample.millis()));
            }
        }
    };
    let (cpu, memory, start) =
        ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds");
    let help = "[STABLE] Cumulative cpu time consumed by the container in core-seconds";
    table(cpu, "counter", help, &of_container(cpu, |c| Some(seconds(c.sample.cpu))));
    let help = "[STABLE] Current working set of the container in bytes";
    table(memory, "gauge", help, &of_container(memory, |c| Some(c.sample.working_set as f64)));
    let help = "[STABLE] Start time of the container since unix epoch in seconds";
    table(start, "gauge", help, &of_container(start, |c| Some(seconds(c.started.max(0) as u64))));
    let node = &all.node;
    let help = "[STABLE] Cumulative cpu time consumed by the node in core-seconds";
    let name = "node_cpu_usage_seconds_total";
    table(name, "counter", help, &|p| p.line(name, &[], format!("{} {}", seconds(node.cpu), node.millis())));
    let name = "node_memory_working_set_bytes";
    let help = "[STABLE] Current working set of the node in bytes";
    table(name, "gauge", help, &|p| p.line(name, &[], format!("{} {}", node.working_set, node.millis())));
    let name = "pod_cpu_usage_seconds_total";
    let help = "[STABLE] Cumulative cpu time consumed by the pod in core-seconds";
    table(name, "counter", help, &of_pod(name, |s| seconds(s.cpu)));
    let name = "pod_memory_working_set_bytes";
    let help = "[STABLE] Current working set of the pod in bytes";
    table(name, "gauge", help, &of_pod(name, |s| s.working_set as f64));
    let name = "resource_scrape_error";
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    table(name, "gauge", help, &|p| p.line(name, &[], 0));
    page.answer()
}

/// What cAdvisor tells of containers and the machine.
pub(super) async fn cadvisor(shared: &Shared) -> Response<Body> {
    let all = stats::collect(shared, true).await;
    let mut page = Page::default();
    type Value = fn(&stats::Container) -> Option<f64>;
    let table: [(&str, &str, &str, Value); 8] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |c| {
            Some(seconds(c.sample.cpu))
        }),
        ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory", |c| {
            Some(c.sample.usage as f64)
        }),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |c| {
            Some(c.sample.working_set as f64)
        }),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |c| Some(c.sample.rss as f64)),
        ("container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container", |c| {
            c.writable.map(|w| w.0 as f64)
        }),
        ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", |c| {
            Some(c.limits.memory_limit.unwrap_or(0).max(0) as f64)
        }),
        ("container_spec_cpu_quota", "gauge", "CPU quota of the container.", |c| {
            c.limits.cpu_quota.filter(|q| *q > 0).map(|q| q as f64)
        }),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", |c| {
            Some(seconds(c.started.max(0) as u64))
        }),
    ];
    for (name, kind, help, value) in table {
        page.head(name, kind, help);
        for pod in &all.pods {
            for c in &pod.containers {
                let mut labels = vec![
                    ("container", c.name.as_str()),
                    ("id", &c.id),
                    ("image", &c.image),
                    ("name", &c.id),
                    ("namespace", &pod.namespace),
                    ("pod", &pod.name),
                ];
                if name == "container_cpu_usage_seconds_total" {
                    labels.push(("cpu", "total"));
                }
                if let Some(value) = value(c) {
                    page.line(name, &labels, format!("{value} {}", c.sample.millis()));
                }
            }
        }
    }
    for (name, help) in [
        ("container_network_receive_bytes_total", "Cumulative count of bytes received"),
        ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted"),
    ] {
        page.head(name, "counter", help);
        for pod in &all.pods {
            let Some(net) = &pod.network else { continue };
            let value = if name.contains("receive") { net.rx_bytes } else { net.tx_bytes };
            let labels = [("interface", net.name.as_str()), ("namespace", &pod.namespace), ("pod", &pod.name)];
            page.line(name, &labels, format!("{value} {}", pod.sample.millis()));
        }
    }
    page.head("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    page.line("machine_cpu_cores", &[], std::thread::available_parallelism().map_or(1, usize::from));
    page.head("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    page.line("machine_memory_bytes", &[], shared.admitted.memory());
    page.answer()
}

/// How often probes succeeded and failed.
pub(super) fn probes(shared: &Shared) -> Response<Body> {
    let mut page = Page::default();
    let help = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
    page.head("prober_probe_total", "counter", help);
    for (count, times) in shared.counts.all() {
        let labels = [
            ("container", count.container.as_str()),
            ("namespace", &count.namespace),
            ("pod", &count.pod),
            ("pod_uid", &count.uid),
            ("probe_type", count.kind.name()),
            ("result", count.result),
        ];
        page.line("prober_probe_total", &labels, times);
    }
    page.answer()
}
