//! Workloads: apps, batch, autoscaling, policy.

use super::{ALL, Row, SCALE, STATUS, ns};
use crate::row::Dependents;
use crate::{apps, autoscaler, batch, cluster, revision};
use ironclad_api::features;
use std::sync::Arc;

pub(super) const APPS: &[Row] = &[
    ns("apps", "v1", "ControllerRevision", "controllerrevisions").with(|| Arc::new(revision::STRATEGY)),
    ns("apps", "v1", "DaemonSet", "daemonsets")
        .short(&["ds"])
        .categories(ALL)
        .status()
        .counted()
        .with(|| Arc::new(apps::DAEMON_SET)),
    ns("apps", "v1", "Deployment", "deployments")
        .short(&["deploy"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .counted()
        .with(|| Arc::new(apps::DEPLOYMENT)),
    ns("apps", "v1", "ReplicaSet", "replicasets")
        .short(&["rs"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .counted()
        .with(|| Arc::new(apps::REPLICA_SET)),
    ns("apps", "v1", "StatefulSet", "statefulsets")
        .short(&["sts"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .counted()
        .with(|| Arc::new(apps::STATEFUL_SET)),
];

pub(super) const AUTOSCALING: &[Row] = &[
    ns("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .with(|| Arc::new(autoscaler::V2))
        .short(&["hpa"])
        .categories(ALL)
        .status(),
    ns("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .categories(ALL)
        .status()
        .stored_as("v2")
        .with(|| Arc::new(autoscaler::V1)),
];

pub(super) const BATCH: &[Row] = &[
    ns("batch", "v1", "CronJob", "cronjobs")
        .short(&["cj"])
        .categories(ALL)
        .status()
        .counted()
        .with(|| Arc::new(batch::cron_job::STRATEGY)),
    ns("batch", "v1", "Job", "jobs")
        .categories(ALL)
        .status()
        .fields(&["status.successful"])
        .counted()
        .dependents(Dependents::Orphaned(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them \
             or set propagationPolicy=Orphan to suppress this warning",
        ))
        .with(|| Arc::new(batch::job::STRATEGY)),
];

pub(super) const POLICY: &[Row] = &[ns("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
    .short(&["pdb"])
    .status()
    .counted()
    .with(|| Arc::new(batch::budget::STRATEGY))];

pub(super) const LIFECYCLE: &[Row] = &[
    ns("lifecycle.k8s.io", "v1alpha1", "EvictionRequest", "evictionrequests")
        .status()
        .counted()
        .opt_in()
        .gated(features::EVICTION_REQUEST_API)
        .with(|| Arc::new(cluster::eviction::REQUEST)),
    ns("lifecycle.k8s.io", "v1alpha1", "Eviction", "evictions")
        .status()
        .counted()
        .opt_in()
        .gated(features::EVICTION_REQUEST_API)
        .with(|| Arc::new(cluster::eviction::EVICTION)),
];
