//! The core group, and events in both of their groups.

use super::build::{Row, request, row, v};
use crate::Kind;

fn core(kind: &'static str, plural: &'static str) -> Kind {
    row("", "v1", kind, plural)
}

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const REGARDING_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

pub(super) fn rows() -> Vec<Kind> {
    let mut rows = vec![
        request("", "v1", "Binding", "bindings"),
        core("ComponentStatus", "componentstatuses").cluster().short(&["cs"]).verbs(v::READ),
        core("ConfigMap", "configmaps").short(&["cm"]),
        core("Endpoints", "endpoints").short(&["ep"]).prefix("/registry/services/endpoints/").upsert(),
        core("Event", "events").short(&["ev"]).select(EVENT_FIELDS).upsert(),
        core("LimitRange", "limitranges").short(&["limits"]).upsert(),
        core("Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .verbs(v::NO_COLLECTION)
            .own("finalize", v::UPDATE)
            .status()
            .select(&["status.phase"]),
        core("Node", "nodes")
            .cluster()
            .short(&["no"])
            .prefix("/registry/minions/")
            .sub("proxy", ["", "v1", "NodeProxyOptions"], v::PROXY)
            .status()
            .select(&["spec.unschedulable"]),
        core("PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).status(),
        core("PersistentVolume", "persistentvolumes").cluster().short(&["pv"]).status(),
        pod(),
        core("PodTemplate", "podtemplates").counted(),
        core("ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .in_all()
            .prefix("/registry/controllers/")
            .scale()
            .status()
            .select(&["status.replicas"])
            .counted(),
        core("ResourceQuota", "resourcequotas").short(&["quota"]).status(),
        core("Secret", "secrets").select(&["type"]),
        core("ServiceAccount", "serviceaccounts").short(&["sa"]).sub(
            "token",
            ["authentication.k8s.io", "v1", "TokenRequest"],
            v::CREATE,
        ),
        core("Service", "services")
            .short(&["svc"])
            .in_all()
            .prefix("/registry/services/specs/")
            .sub("proxy", ["", "v1", "ServiceProxyOptions"], v::PROXY)
            .status()
            .select(&["spec.clusterIP", "spec.type"])
            .upsert(),
    ];
    let mut event = row("events.k8s.io", "v1", "Event", "events").short(&["ev"]).select(REGARDING_FIELDS).upsert();
    event.storage_group = "".into();
    rows.push(event);
    rows
}

fn pod() -> Kind {
    core("Pod", "pods")
        .short(&["po"])
        .in_all()
        .sub("attach", ["", "v1", "PodAttachOptions"], v::CONNECT)
        .sub("binding", ["", "v1", "Binding"], v::CREATE)
        .own("ephemeralcontainers", v::EDIT)
        .sub("eviction", ["policy", "v1", "Eviction"], v::CREATE)
        .sub("exec", ["", "v1", "PodExecOptions"], v::CONNECT)
        .own("log", v::GET)
        .sub("portforward", ["", "v1", "PodPortForwardOptions"], v::CONNECT)
        .sub("proxy", ["", "v1", "PodProxyOptions"], v::PROXY)
        .own("resize", v::EDIT)
        .status()
        .select(POD_FIELDS)
        .counted()
}
