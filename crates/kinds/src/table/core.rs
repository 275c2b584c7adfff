//! The core group.

use super::{ALL, CONNECT, GET, PROXY, READ, Row, SCALE, STATUS, Sub, UPDATE, cl, ns};
use crate::row::{Dependents, Verb};
use crate::{apps, core, quota, template, volume};
use std::sync::Arc;

/// Namespaces are deleted one by one.
const ONE_BY_ONE: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
const AUTHN: &str = "authentication.k8s.io";

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

const POD_SUBS: &[Sub] = &[
    ("attach", Some(("", "v1", "PodAttachOptions")), CONNECT),
    ("binding", Some(("", "v1", "Binding")), Verb::CREATE),
    ("ephemeralcontainers", None, Verb::GET_PATCH_UPDATE),
    ("eviction", Some(("policy", "v1", "Eviction")), Verb::CREATE),
    ("exec", Some(("", "v1", "PodExecOptions")), CONNECT),
    ("log", None, GET),
    ("portforward", Some(("", "v1", "PodPortForwardOptions")), CONNECT),
    ("proxy", Some(("", "v1", "PodProxyOptions")), PROXY),
    ("resize", None, Verb::GET_PATCH_UPDATE),
    STATUS,
];

pub(super) const CORE: &[Row] = &[
    ns("", "v1", "Binding", "bindings").verbs(Verb::CREATE),
    cl("", "v1", "ComponentStatus", "componentstatuses")
        .until(19, 0)
        .with(|| Arc::new(template::COMPONENT_STATUS))
        .short(&["cs"])
        .verbs(READ),
    ns("", "v1", "ConfigMap", "configmaps").short(&["cm"]).with(|| Arc::new(core::ConfigMap)),
    ns("", "v1", "Endpoints", "endpoints")
        .short(&["ep"])
        .at("services/endpoints")
        .until(33, 0)
        .upsert()
        .with(|| Arc::new(core::ENDPOINTS)),
    ns("", "v1", "Event", "events")
        .short(&["ev"])
        .fields(EVENT_FIELDS)
        .upsert()
        .dependents(Dependents::None)
        .with(|| Arc::new(core::Event)),
    ns("", "v1", "LimitRange", "limitranges").with(|| Arc::new(quota::LIMIT_RANGE)).short(&["limits"]).upsert(),
    cl("", "v1", "Namespace", "namespaces")
        .short(&["ns"])
        .subs(&[("finalize", None, UPDATE), STATUS])
        .fields(&["status.phase"])
        .verbs(ONE_BY_ONE)
        .with(|| Arc::new(core::Namespace)),
    cl("", "v1", "Node", "nodes")
        .short(&["no"])
        .subs(&[("proxy", Some(("", "v1", "NodeProxyOptions")), PROXY), STATUS])
        .fields(&["spec.unschedulable"])
        .at("minions")
        .with(|| Arc::new(core::Node)),
    ns("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .status()
        .with(|| Arc::new(volume::claim::CLAIM)),
    cl("", "v1", "PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .status()
        .with(|| Arc::new(volume::persistent::VOLUME)),
    ns("", "v1", "Pod", "pods")
        .short(&["po"])
        .categories(ALL)
        .subs(POD_SUBS)
        .fields(POD_FIELDS)
        .counted()
        .with(|| Arc::new(core::Pod)),
    ns("", "v1", "PodTemplate", "podtemplates").counted().with(|| Arc::new(template::POD_TEMPLATE)),
    ns("", "v1", "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .fields(&["status.replicas"])
        .at("controllers")
        .counted()
        .dependents(Dependents::Orphaned(""))
        .with(|| Arc::new(apps::REPLICATION_CONTROLLER)),
    ns("", "v1", "ResourceQuota", "resourcequotas").with(|| Arc::new(quota::QUOTA)).short(&["quota"]).status(),
    ns("", "v1", "Secret", "secrets").fields(&["type"]).with(|| Arc::new(core::Secret)),
    ns("", "v1", "ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .subs(&[("token", Some((AUTHN, "v1", "TokenRequest")), Verb::CREATE)])
        .with(|| Arc::new(core::ServiceAccount)),
    ns("", "v1", "Service", "services")
        .short(&["svc"])
        .categories(ALL)
        .subs(&[("proxy", Some(("", "v1", "ServiceProxyOptions")), PROXY), STATUS])
        .fields(&["spec.clusterIP", "spec.type"])
        .at("services/specs")
        .upsert()
        .with(|| Arc::new(core::Service)),
];
