//! Follows the stored FlowSchemas and PriorityLevelConfigurations: puts them into force, keeps the server's own as
//! they must be, and says of each schema whether its level exists.
//!
//! Level-triggered: every step is found by looking at what is there; writes go through the one door.

use super::objects::{self, AUTO_UPDATE, GROUP};
use crate::server::ApiServer;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use ironclad_api::source::{Change, Source};
use ironclad_api::{GroupResource, UserInfo, time};
use ironclad_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower::Service;

const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
/// How often something that went wrong is tried at once; after that the next change tries again.
const ATTEMPTS: u32 = 3;

/// A write that is needed.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Update(Value),
    Delete { kind: String, name: String },
    Status { name: String, conditions: Value },
}

#[derive(Default)]
struct Seen {
    schemas: BTreeMap<String, Arc<Value>>,
    levels: BTreeMap<String, Arc<Value>>,
}

impl Seen {
    fn apply(&mut self, change: Change) {
        let (object, there) = match change {
            Change::Put(object) => (object, true),
            Change::Delete(object) => (object, false),
            Change::Synced => return,
        };
        let map = if object["kind"] == "FlowSchema" { &mut self.schemas } else { &mut self.levels };
        let name = ironclad_api::object::name(&object).to_owned();
        match there {
            true => drop(map.insert(name, object)),
            false => drop(map.remove(&name)),
        }
    }

    fn of_kind(&self, kind: &str) -> &BTreeMap<String, Arc<Value>> {
        if kind == "FlowSchema" { &self.schemas } else { &self.levels }
    }

    /// What must be written for things to be as they should.
    fn steps(&self) -> Vec<Step> {
        let wanted = objects::all();
        let mut steps: Vec<Step> = wanted.iter().filter_map(|w| self.keep(w)).collect();
        for kind in ["FlowSchema", "PriorityLevelConfiguration"] {
            for (name, object) in self.of_kind(kind) {
                let known = wanted.iter().any(|w| w["kind"] == kind && w["metadata"]["name"] == name.as_str());
                if !known && object["metadata"]["annotations"][AUTO_UPDATE] == "true" {
                    steps.push(Step::Delete { kind: kind.to_owned(), name: name.clone() });
                }
            }
        }
        steps.extend(self.schemas.iter().filter_map(|(name, schema)| self.status(name, schema)));
        steps
    }

    /// Keeps one of the server's own objects: the mandatory always, a suggested one unless it was taken over.
    fn keep(&self, wanted: &Value) -> Option<Step> {
        let (kind, name) = (wanted["kind"].as_str()?, wanted["metadata"]["name"].as_str()?);
        let Some(there) = self.of_kind(kind).get(name) else { return Some(Step::Create(wanted.clone())) };
        let annotation = there["metadata"]["annotations"][AUTO_UPDATE].as_str();
        let ours = objects::is_mandatory(name)
            || match annotation {
                Some(value) => value == "true",
                None => there["metadata"]["generation"].as_i64() == Some(1),
            };
        let mark = if ours { "true" } else { "false" };
        let right = !ours || there["spec"] == wanted["spec"];
        if right && annotation == Some(mark) {
            return None;
        }
        let mut object = (**there).clone();
        object["metadata"]["annotations"][AUTO_UPDATE] = json!(mark);
        if ours {
            object["spec"] = wanted["spec"].clone();
        }
        Some(Step::Update(object))
    }

    fn status(&self, name: &str, schema: &Value) -> Option<Step> {
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let dangling = !self.levels.contains_key(level);
        let (status, reason, end) = match dangling {
            true => ("True", "NotFound", "but there is no such object"),
            false => ("False", "Found", "and it exists"),
        };
        let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
        let conditions = schema["status"]["conditions"].as_array();
        let there = conditions.into_iter().flatten().find(|c| c["type"] == "Dangling");
        if there.is_some_and(|c| c["status"] == status && c["reason"] == reason && c["message"] == message.as_str()) {
            return None;
        }
        let unchanged = there.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
        let since = unchanged.unwrap_or_else(|| time::now().into());
        let conditions = json!([{"type": "Dangling", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since}]);
        Some(Step::Status { name: name.to_owned(), conditions })
    }
}

/// Brings the stored objects to where they should be, before the server answers anybody.
pub(crate) async fn settle(server: &ApiServer, source: &dyn Source) {
    // Objects first, then what is said of them.
    for _ in 0..ATTEMPTS {
        server.catch_up().await;
        let mut seen = Seen::default();
        for plural in ["flowschemas", "prioritylevelconfigurations"] {
            source.list(&GroupResource::new(GROUP, plural), "").into_iter().for_each(|o| seen.apply(Change::Put(o)));
        }
        let steps = seen.steps();
        if steps.is_empty() {
            return;
        }
        carry_out(server, &steps).await;
    }
}

/// Takes all steps at once: they concern different objects.
async fn carry_out(server: &ApiServer, steps: &[Step]) {
    let taking = steps.iter().map(|step| async move {
        if let Err(why) = take(server, step).await {
            tracing::warn!(?step, why, "priority and fairness: a write failed");
        }
    });
    futures::future::join_all(taking).await;
}

/// Keeps priority and fairness current until `token` is cancelled.
pub(crate) async fn run(server: ApiServer, source: Arc<dyn Source>, token: CancellationToken) {
    let of = |plural: &str| source.subscribe(&GroupResource::new(GROUP, plural));
    let mut changes = futures::stream::select(of("flowschemas"), of("prioritylevelconfigurations")).ready_chunks(256);
    let (mut seen, mut synced) = (Seen::default(), 0);
    loop {
        let chunk = tokio::select! {
            () = token.cancelled() => return,
            chunk = changes.next() => chunk,
        };
        let Some(chunk) = chunk else { return };
        for change in chunk {
            synced += u32::from(matches!(change, Change::Synced));
            seen.apply(change);
        }
        if synced < 2 {
            continue;
        }
        let (schemas, levels) = (own(&seen.schemas), own(&seen.levels));
        if !levels.is_empty() {
            server.fairness().configure(&schemas, &levels);
        }
        carry_out(&server, &seen.steps()).await;
    }
}

fn own(map: &BTreeMap<String, Arc<Value>>) -> Vec<Shared> {
    map.values().cloned().map(Shared).collect()
}

/// Lets shared objects be borrowed.
struct Shared(Arc<Value>);

impl std::borrow::Borrow<Value> for Shared {
    fn borrow(&self) -> &Value {
        &self.0
    }
}

fn plural(kind: &str) -> &'static str {
    if kind == "FlowSchema" { "flowschemas" } else { "prioritylevelconfigurations" }
}

async fn take(server: &ApiServer, step: &Step) -> Result<(), String> {
    let base = |kind: &str| format!("/apis/{GROUP}/v1/{}", plural(kind));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let json = "application/json";
    let (method, path, kind, body) = match step {
        Step::Create(object) => (Method::POST, base(&text(&object["kind"])), json, object.to_string()),
        Step::Update(object) => {
            let path = format!("{}/{}", base(&text(&object["kind"])), text(&object["metadata"]["name"]));
            (Method::PUT, path, json, object.to_string())
        }
        Step::Delete { kind, name } => (Method::DELETE, format!("{}/{name}", base(kind)), json, String::new()),
        Step::Status { name, conditions } => {
            let body = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "FlowSchema",
                "metadata": {"name": name}, "status": {"conditions": conditions}});
            let path = format!("{}/{name}/status", base("FlowSchema"));
            (Method::PATCH, path, "application/apply-patch+yaml", body.to_string())
        }
    };
    let query = match step {
        Step::Status { .. } => format!("?fieldManager={CONSUMER}&force=true"),
        Step::Delete { .. } => String::new(),
        _ => format!("?fieldManager={PRODUCER}"),
    };
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match ask(server, &method, &format!("{path}{query}"), kind, body.clone().into()).await {
            // Somebody else was faster: what is there now comes as a change.
            (code, _) if code < 300 || matches!(code, 404 | 409) => return Ok(()),
            (code, text) => last = format!("{code}: {text}"),
        }
    }
    Err(last)
}

async fn ask(server: &ApiServer, method: &Method, path: &str, kind: &str, body: Bytes) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, kind)
        .header(http::header::USER_AGENT, "apiserver")
        .body(Full::new(body));
    let mut request = match request {
        Ok(request) => request,
        Err(error) => return (0, error.to_string()),
    };
    request.extensions_mut().insert(UserInfo::new("system:apiserver", &[ironclad_api::user::MASTERS]));
    let Ok(response) = server.clone().call(request).await;
    let code = response.status().as_u16();
    let text = response.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    (code, String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(objects: Vec<Value>) -> Seen {
        let mut seen = Seen::default();
        objects.into_iter().for_each(|o| seen.apply(Change::Put(Arc::new(o))));
        seen
    }

    fn settled() -> Vec<Value> {
        let mut all = objects::all();
        for object in all.iter_mut().filter(|o| o["kind"] == "FlowSchema") {
            let level = object["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap().to_owned();
            let message = format!(
                "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
            );
            object["status"]["conditions"] =
                json!([{"type": "Dangling", "status": "False", "reason": "Found", "message": message}]);
        }
        all
    }

    #[test]
    fn what_is_missing_is_made_and_then_there_is_nothing_to_do() {
        assert_eq!(seen(Vec::new()).steps().len(), objects::all().len());
        assert_eq!(seen(settled()).steps(), []);
    }

    #[test]
    fn a_suggested_object_that_was_taken_over_is_left_alone_and_a_mandatory_one_is_put_back() {
        let mut objects = settled();
        for object in &mut objects {
            let name = object["metadata"]["name"].as_str().unwrap();
            if matches!(name, "workload-low" | "catch-all") && object["kind"] == "PriorityLevelConfiguration" {
                object["metadata"]["annotations"][AUTO_UPDATE] = json!("false");
                object["spec"]["limited"]["nominalConcurrencyShares"] = json!(7);
            }
        }
        let steps = seen(objects).steps();
        let [Step::Update(put)] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(
            (&put["metadata"]["name"], &put["spec"]["limited"]["nominalConcurrencyShares"]),
            (&json!("catch-all"), &json!(5))
        );
    }

    #[test]
    fn a_schema_without_its_level_is_dangling() {
        let mut objects = settled();
        let mut schema = objects.last().unwrap().clone();
        schema["metadata"] = json!({"name": "mine", "generation": 3});
        schema["spec"]["priorityLevelConfiguration"]["name"] = json!("nowhere");
        objects.push(schema);
        let steps = seen(objects).steps();
        let [Step::Status { name, conditions }] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(
            (&**name, &conditions[0]["status"], &conditions[0]["reason"]),
            ("mine", &json!("True"), &json!("NotFound"))
        );
    }
}
