//! Aggregated cluster roles: their rules are those of all roles that their selectors find.

use crate::{Context, is_missing};
use ironclad_api::selector::LabelSelector;
use ironclad_client::WorkQueue;
use ironclad_json::json;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, Patch, PatchParams};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const MANAGER: &str = "clusterrole-aggregation-controller";

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<String>> = WorkQueue::new();
    let roles = context.informers.get::<ClusterRole>();
    roles
        .add_index("aggregated", |role: &ClusterRole| role.aggregation_rule.iter().map(|_| "yes".to_owned()).collect());
    let (add, known) = (queue.clone(), roles.clone());
    roles.on_change(move |change| {
        // Whatever a role was or is, some aggregated one may have it or lose it: there are few of those.
        for role in known.by_index("aggregated", "yes") {
            add.add(role.metadata.name.clone().unwrap_or_default());
        }
        if change.object().aggregation_rule.is_some() {
            add.add(change.object().metadata.name.clone().unwrap_or_default());
        }
    });
    roles.synced().await;
    let work = move |name: String| {
        let (context, roles) = (context.clone(), roles.clone());
        async move {
            let Some(role) = roles.get("", &name) else { return Ok(None) };
            let all = roles.list();
            let Some(wanted) = wanted(&role, &all) else { return Ok(None) };
            if role.rules.as_deref().unwrap_or_default() == wanted {
                return Ok(None);
            }
            let body = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": wanted});
            let api: Api<ClusterRole> = Api::all(context.client.clone());
            match api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body)).await {
                Err(error) if !is_missing(&error) => Err(error),
                _ => Ok(None),
            }
        }
    };
    queue.run("clusterroleaggregation", 1, token, work).await;
}

/// The rules that an aggregated role should have, in the order of selectors and of names; `None` for other roles.
fn wanted(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.iter().flatten();
    let mut sorted: Vec<&Arc<ClusterRole>> = all.iter().filter(|r| r.metadata.name != role.metadata.name).collect();
    sorted.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut out: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let Ok(selector) = LabelSelector::from_meta(Some(selector)) else { continue };
        for found in sorted.iter().filter(|r| selector.matches(&labels(r))) {
            for rule in found.rules.iter().flatten() {
                if !out.contains(rule) {
                    out.push(rule.clone());
                }
            }
        }
    }
    Some(out)
}

fn labels(role: &ClusterRole) -> ironclad_json::Map {
    role.metadata.labels.iter().flatten().map(|(k, v)| (k.clone(), json!(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        Arc::new(
            ironclad_json::from_value(json!({"metadata": {"name": name, "labels": {"to": label}},
                "rules": verbs.iter().map(|v| json!({"verbs": [v]})).collect::<Vec<_>>()}))
            .unwrap(),
        )
    }

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let sum: ClusterRole = ironclad_json::from_value(json!({"metadata": {"name": "sum", "labels": {"to": "a"}},
            "rules": [{"verbs": ["stale"]}],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "a"}}, {"matchLabels": {"to": "b"}}]}}))
        .unwrap();
        let all = [
            Arc::new(sum.clone()),
            role("z", "a", &["get", "list"]),
            role("c", "a", &["get"]),
            role("b", "b", &["watch"]),
            role("n", "none", &["delete"]),
        ];
        let verbs: Vec<String> = wanted(&sum, &all).unwrap().into_iter().flat_map(|r| r.verbs).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        assert_eq!(wanted(&all[1], &all), None);
    }
}
