//! Lists of pods, and commands that are waited for.

use super::{Body, Place, Query, containers, json, text};
use crate::container;
use crate::worker::Shared;
use http::{Response, StatusCode};
use ironclad_cri::{ContainerState, Error};
use serde_json::{Value, json};

/// All pods of the node as the API server has them; static ones as their files have them.
pub(super) fn all(shared: &Shared) -> Response<Body> {
    let items: Vec<Value> = shared.table.pods().iter().map(|p| json!(**p)).collect();
    json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// What runs, as the runtime has it.
pub(super) async fn running(shared: &Shared) -> Response<Body> {
    let runtime = &shared.config.runtime;
    let containers = runtime.list_containers(None).await.unwrap_or_default();
    let sandboxes = runtime.list_pod_sandboxes(None).await.unwrap_or_default();
    let items = sandboxes.iter().filter_map(|s| {
        let here = containers.iter().filter(|c| c.sandbox_id == s.id && c.state == ContainerState::Running);
        let name = |c: &ironclad_cri::ContainerStatus| c.config.labels.get(container::CONTAINER).cloned();
        let list: Vec<Value> = here.map(|c| json!({"name": name(c), "image": c.image_ref, "resources": {}})).collect();
        let meta = json!({"name": s.config.name, "namespace": s.config.namespace, "uid": s.config.uid});
        (!list.is_empty()).then(|| json!({"metadata": meta, "spec": {"containers": list}, "status": {}}))
    });
    let items: Vec<Value> = items.collect();
    json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// Runs a command in a container and answers with what it wrote.
pub(super) async fn run(shared: &Shared, place: Place<'_>, query: &Query) -> Response<Body> {
    let command = query.get("cmd").cloned().unwrap_or_default();
    let command: Vec<String> = command.iter().flat_map(|c| c.split(' ')).map(str::to_owned).collect();
    if command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 container command");
    }
    let all = containers(shared, &place).await;
    let Some(found) = all.iter().find(|c| c.state == ContainerState::Running) else {
        return text(StatusCode::NOT_FOUND, format!("container not found ({:?})", place.container));
    };
    match shared.config.runtime.exec_sync(&found.id, &command, None).await {
        Ok(output) if output.exit_code == 0 => text(StatusCode::OK, [output.stdout, output.stderr].concat()),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let why = format!("command '{}' exited with {}: ", command.join(" "), output.exit_code);
            text(StatusCode::INTERNAL_SERVER_ERROR, [why.into_bytes(), said].concat())
        }
        Err(Error::NotFound(why)) => text(StatusCode::NOT_FOUND, why),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Checkpoints of containers are not made by the embedded runtime.
pub(super) fn checkpoint(place: &Place<'_>) -> Response<Body> {
    let Place { namespace, pod, container } = place;
    let why = "the runtime cannot checkpoint containers";
    text(StatusCode::NOT_FOUND, format!("checkpointing of {namespace}/{pod}/{container} failed ({why})"))
}
