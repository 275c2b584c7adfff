//! Workloads: apps, batch, autoscaling, policy.

use super::build::{Row, row};
use crate::Kind;

fn apps(kind: &'static str, plural: &'static str) -> Kind {
    row("apps", "v1", kind, plural)
}

fn hpa(version: &'static str) -> Kind {
    row("autoscaling", version, "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .in_all()
        .status()
        .stored("v2")
}

pub(super) fn rows() -> Vec<Kind> {
    vec![
        apps("ControllerRevision", "controllerrevisions"),
        apps("DaemonSet", "daemonsets").short(&["ds"]).in_all().status().counted(),
        apps("Deployment", "deployments").short(&["deploy"]).in_all().scale().status().counted(),
        apps("ReplicaSet", "replicasets")
            .short(&["rs"])
            .in_all()
            .scale()
            .status()
            .select(&["status.replicas"])
            .counted(),
        apps("StatefulSet", "statefulsets").short(&["sts"]).in_all().scale().status().counted(),
        hpa("v2"),
        hpa("v1"),
        row("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).in_all().status().counted(),
        row("batch", "v1", "Job", "jobs").in_all().status().select(&["status.successful"]).counted(),
        row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).status().counted(),
    ]
}
