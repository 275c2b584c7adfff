//! `/metrics` holds what dashboards for the stock server ask for, under its names and with its labels.

mod support;

use ironclad_json::{Value, json};
use std::collections::BTreeMap;
use support::{JSON, admitting, ask, bytes, send};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Stable and beta metrics of the stock server with their labels.
const STOCK: &[(&str, &str)] = &[
    ("apiserver_admission_controller_admission_duration_seconds_bucket", "le,name,operation,rejected,type"),
    ("apiserver_admission_step_admission_duration_seconds_bucket", "le,operation,rejected,type"),
    ("apiserver_current_inflight_requests", "request_kind"),
    ("apiserver_flowcontrol_current_executing_requests", "flow_schema,priority_level"),
    ("apiserver_flowcontrol_current_executing_seats", "flow_schema,priority_level"),
    ("apiserver_flowcontrol_current_inqueue_requests", "flow_schema,priority_level"),
    ("apiserver_flowcontrol_current_limit_seats", "priority_level"),
    ("apiserver_flowcontrol_dispatched_requests_total", "flow_schema,priority_level"),
    ("apiserver_flowcontrol_nominal_limit_seats", "priority_level"),
    ("apiserver_flowcontrol_request_execution_seconds_bucket", "flow_schema,le,priority_level,type"),
    ("apiserver_flowcontrol_request_wait_duration_seconds_bucket", "execute,flow_schema,le,priority_level"),
    ("apiserver_flowcontrol_watch_count_samples_bucket", "flow_schema,le,priority_level"),
    ("apiserver_flowcontrol_work_estimated_seats_bucket", "flow_schema,le,priority_level"),
    ("apiserver_longrunning_requests", "component,group,resource,scope,subresource,verb,version"),
    ("apiserver_request_duration_seconds_bucket", "component,dry_run,group,le,resource,scope,subresource,verb,version"),
    ("apiserver_request_sli_duration_seconds_bucket", "component,group,le,resource,scope,subresource,verb,version"),
    ("apiserver_request_total", "code,component,dry_run,group,resource,scope,subresource,verb,version"),
    ("apiserver_requested_deprecated_apis", "group,removed_release,resource,subresource,version"),
    ("apiserver_resource_objects", "group,resource"),
    ("apiserver_response_sizes_bucket", "component,group,le,resource,scope,subresource,verb,version"),
    ("apiserver_storage_objects", "resource"),
    ("apiserver_storage_size_bytes", "storage_cluster_id"),
    ("apiserver_watch_events_total", "group,resource,version"),
    ("apiserver_watch_events_sizes_bucket", "group,le,resource,version"),
    (
        "kubernetes_build_info",
        "build_date,compiler,git_commit,git_tree_state,git_version,go_version,major,minor,platform",
    ),
    ("apiserver_cache_list_total", "group,index,resource"),
    ("apiserver_request_body_size_bytes_bucket", "group,le,resource,verb"),
    ("apiserver_request_filter_duration_seconds_bucket", "filter,le"),
    ("apiserver_selfrequest_total", "group,resource,subresource,verb"),
    ("apiserver_storage_list_total", "group,resource"),
    ("apiserver_watch_cache_read_wait_seconds_bucket", "group,le,resource"),
    ("authorization_duration_seconds_bucket", "le,result"),
    ("etcd_requests_total", "group,operation,resource"),
    ("kube_apiserver_clusterip_allocator_allocated_ips", "cidr"),
    ("kube_apiserver_nodeport_allocator_available_ports", ""),
    ("kubernetes_feature_enabled", "name,stage"),
    ("process_cpu_seconds_total", ""),
    ("process_resident_memory_bytes", ""),
    ("process_start_time_seconds", ""),
    ("rest_client_request_duration_seconds_bucket", "host,le,verb"),
    ("rest_client_requests_total", "code,host,method"),
];

/// The names of the labels by the names of the series.
fn labels(page: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for line in page.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let series = line.rsplit_once(' ').expect("a value").0;
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let mut names: Vec<&str> = rest.split("=\"").filter_map(|p| p.rsplit(['"', ',', '{']).next()).collect();
        names.pop();
        names.sort_unstable();
        out.insert(name.to_owned(), names.join(","));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_find_what_they_ask_for() {
    let (server, _reader, _dir) = admitting().await;
    let watch = send(&server, "GET", &format!("{MAPS}?watch=1"), JSON, "").await;
    let (code, _) = ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(code, 201);
    ask(&server, "GET", MAPS, JSON, Value::Null).await;
    ask(&server, "GET", "/api/v1/componentstatuses", JSON, Value::Null).await;
    let page = bytes(send(&server, "GET", "/metrics", JSON, "").await).await;
    let page = String::from_utf8(page.to_vec()).unwrap();
    drop(watch);
    let found = labels(&page);
    for (name, expected) in STOCK {
        assert_eq!(found.get(*name).map(String::as_str), Some(*expected), "{name}\n{page}");
    }
    let deprecated = "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"componentstatuses\",subresource=\"\",version=\"v1\"} 1";
    assert!(page.lines().any(|l| l == deprecated), "{page}");
    for line in page.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let shown = if kind == "histogram" { format!("# TYPE {name} ") } else { format!("# HELP {name} ") };
        assert_eq!(page.matches(&shown).count(), 1, "{name} stands once");
    }
}

#[tokio::test]
async fn health_checks_are_counted() {
    let (server, _reader, _dir) = admitting().await;
    for _ in 0..2 {
        send(&server, "GET", "/livez", JSON, "").await;
    }
    let page = bytes(send(&server, "GET", "/metrics/slis", JSON, "").await).await;
    let page = String::from_utf8(page.to_vec()).unwrap();
    let expected = "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"livez\"} 3";
    assert!(page.lines().any(|l| l == expected), "{page}");
    assert!(page.contains("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1"), "{page}");
}
