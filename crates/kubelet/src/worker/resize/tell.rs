//! What a resize says of itself: when it began and ended, and why it waits.

use super::Worker;
use crate::pod::{Plan, Role};
use ironclad_client::events::EventType;
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct One<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

/// What the events of a resize show of a pod.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<One<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<One<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

fn message(plan: &Plan, generation: i64, text: &str, error: Option<&str>) -> String {
    let of = |roles: &[Role]| -> Vec<One<'_>> {
        let units = plan.units.iter().filter(|u| roles.contains(&u.role));
        units.map(|u| One { name: u.name(), resources: u.spec.resources.clone().unwrap_or_default() }).collect()
    };
    let (init_containers, containers) = (of(&[Role::Init, Role::Sidecar]), of(&[Role::Main]));
    let summary = Summary { init_containers, containers, generation, error };
    serde_json::to_string(&summary).map_or_else(|_| text.to_owned(), |json| format!("{text}: {json}"))
}

impl Worker {
    /// Leaves an event about the resize.
    pub(super) fn tell(&self, plan: &Plan, kind: EventType, reason: &str, text: &str, error: Option<&str>) {
        let generation = self.memory.resizing.or(plan.pod.metadata.generation).unwrap_or(0);
        self.shared.recorder.event_on(plan.reference(None), kind, reason, message(plan, generation, text, error));
    }

    /// Notes whether a resize is under way; its end is told.
    pub(super) fn go_along(&mut self, plan: &Arc<Plan>, behind: bool) {
        if behind {
            self.memory.resizing = self.memory.resizing.or(plan.pod.metadata.generation).or(Some(0));
            return;
        }
        // A container that starts anew for its new amounts does not have them yet.
        if self.memory.resizing.is_some() && self.memory.forced.is_empty() {
            self.tell(plan, EventType::Normal, "ResizeCompleted", "Pod resize completed", None);
            self.memory.resizing = None;
            self.memory.resize_error = None;
        }
    }

    /// Notes why the resize did not come about; told when that is news.
    pub(in crate::worker) fn resize_failed(&mut self, why: String) {
        if self.memory.resize_error.as_ref() != Some(&why)
            && let Some(plan) = self.plan.clone()
        {
            self.tell(&plan, EventType::Warning, "ResizeError", "Pod resize error", Some(&why));
        }
        self.memory.resize_error = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_show_what_was_asked_for() {
        let pod = json!({"spec": {"initContainers": [{"name": "i", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
        let plan = Plan::new(Arc::new(serde_json::from_value(pod).unwrap()));
        let text = message(&plan, 3, "Pod resize Deferred", Some("no room"));
        let (head, body) = text.split_once(": ").unwrap();
        assert_eq!(head, "Pod resize Deferred");
        let want = json!({"initContainers": [{"name": "i", "resources": {}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "generation": 3, "error": "no room"});
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), want);
    }
}
