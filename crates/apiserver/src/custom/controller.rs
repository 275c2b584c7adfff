//! The loop that follows definitions.

use super::conditions::settled;
use crate::cache::Scope;
use crate::reader::Reader;
use crate::registry::{DeleteOptions, Request, store_error};
use crate::request::Info;
use crate::server::{ApiServer, Inner};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use ironclad_api::source::{Change, Source};
use ironclad_api::{ApiError, GroupResource, UserInfo, object};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_kinds::custom::{self, CLEANUP, is_true, set_condition};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::Service;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// How long a status that could not be written waits for its next try.
const AGAIN: Duration = Duration::from_secs(1);

fn definitions() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

fn loopback() -> UserInfo {
    UserInfo::new("system:apiserver", &["system:masters"])
}

/// Serves every definition that was established before the server began.
pub(crate) async fn load(inner: &Inner, reader: &Reader) -> Result<(), ApiError> {
    let mut changes = Vec::new();
    for definition in reader.list(&definitions(), "").iter().filter(|d| is_true(d, "Established")) {
        let rows = custom::rows(definition);
        if let Some(stored) = rows.iter().find(|k| k.version == k.storage_version) {
            inner.registry.caches.add(stored.clone()).await.map_err(|e| store_error(&e))?;
        }
        changes.push((custom::resource(definition), rows));
    }
    inner.catalog.replace(changes);
    Ok(())
}

/// What decides how a definition is served: hashes of what it says and of its names, and whether it is going.
type Essence = (u64, u64, bool);

fn essence(definition: &Value) -> Essence {
    let hash = |value: &Value| {
        let mut hasher = DefaultHasher::new();
        value.to_string().hash(&mut hasher);
        hasher.finish()
    };
    let going = !definition["metadata"]["deletionTimestamp"].is_null();
    (hash(&definition["spec"]), hash(&definition["status"]["acceptedNames"]), going)
}

/// What others of its group have to know of a definition. Definitions are large; this is not.
fn name_card(definition: &Value) -> Arc<Value> {
    Arc::new(json!({
        "metadata": {"name": object::name(definition)}, "spec": {"group": definition["spec"]["group"]},
        "status": {"acceptedNames": definition["status"]["acceptedNames"], "conditions": definition["status"]["conditions"]},
    }))
}

/// The loop and what it knows.
pub(crate) struct Controller {
    server: ApiServer,
    inner: Arc<Inner>,
    reader: Reader,
    /// Of each definition what others have to know.
    known: HashMap<String, Arc<Value>>,
    /// What is served, by the name of its definition.
    served: HashMap<String, Essence>,
    /// Definitions whose instances are going.
    going: HashMap<String, tokio::task::JoinHandle<()>>,
    again: mpsc::UnboundedSender<String>,
}

impl Controller {
    /// Follows definitions until `token` is cancelled.
    pub(crate) async fn run(server: ApiServer, inner: Arc<Inner>, reader: Reader, token: CancellationToken) {
        let (again, mut retries) = mpsc::unbounded_channel();
        let mut changes = reader.subscribe(&definitions());
        let (known, served, going) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut this = Self { server, inner, reader, known, served, going, again };
        // What was established is served already.
        for definition in this.reader.list(&definitions(), "").into_iter().filter(|d| is_true(d, "Established")) {
            this.served.insert(object::name(&definition).to_owned(), essence(&definition));
        }
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                change = changes.next() => match change {
                    Some(Change::Put(definition)) => this.put(definition).await,
                    Some(Change::Delete(definition)) => this.gone(&definition).await,
                    Some(Change::Synced) => {}
                    None => return,
                },
                Some(name) = retries.recv() => if let Some(definition) = this.reader.get(&definitions(), "", &name) {
                    this.put(definition).await;
                },
            }
        }
    }

    fn others(&self, definition: &Value) -> Vec<Arc<Value>> {
        let group = object::text(definition, &["spec", "group"]);
        let name = object::name(definition);
        let same = |d: &&Arc<Value>| object::text(d, &["spec", "group"]) == group && object::name(d) != name;
        self.known.values().filter(same).cloned().collect()
    }

    async fn put(&mut self, definition: Arc<Value>) {
        let name = object::name(&definition).to_owned();
        self.known.insert(name.clone(), name_card(&definition));
        let wanted = settled(&definition, &self.others(&definition));
        let result = self.reconcile(&name, &definition, &wanted).await;
        if let Err(error) = result {
            tracing::warn!(%name, error = %error.message, "cannot settle a definition");
            let again = self.again.clone();
            tokio::spawn(async move {
                tokio::time::sleep(AGAIN).await;
                // The loop may have ended.
                let _ = again.send(name);
            });
        }
    }

    async fn reconcile(&mut self, name: &str, definition: &Arc<Value>, wanted: &Value) -> Result<(), ApiError> {
        if is_true(wanted, "Established") {
            self.serve(name, wanted).await?;
        }
        if *wanted != **definition {
            let freed = definition["status"]["acceptedNames"] != wanted["status"]["acceptedNames"];
            let written = self.write_status(wanted).await?;
            if let Some(written) = written {
                self.known.insert(name.to_owned(), name_card(&written));
            }
            if freed {
                self.look_at_others(definition);
            }
        }
        self.clean_up(name, wanted);
        Ok(())
    }

    /// Names may have become free for others of the group.
    fn look_at_others(&self, definition: &Value) {
        for other in self.others(definition).iter().filter(|o| !is_true(o, "NamesAccepted")) {
            // The loop lives as long as `self`.
            let _ = self.again.send(object::name(other).to_owned());
        }
    }

    /// Serves what a definition says, if that is not so already.
    async fn serve(&mut self, name: &str, definition: &Value) -> Result<(), ApiError> {
        let new = essence(definition);
        let old = self.served.get(name);
        if old == Some(&new) {
            return Ok(());
        }
        let anew = old.is_none_or(|old| old.0 != new.0);
        let (resource, rows) = (custom::resource(definition), custom::rows(definition));
        match anew {
            true => self.inner.publish(resource, rows).await?,
            false => self.inner.catalog.replace(vec![(resource, rows)]),
        }
        self.served.insert(name.to_owned(), new);
        Ok(())
    }

    async fn gone(&mut self, definition: &Value) {
        let name = object::name(definition);
        self.known.remove(name);
        if let Some(task) = self.going.remove(name) {
            task.abort();
        }
        if self.served.remove(name).is_some()
            && let Err(error) = self.inner.publish(custom::resource(definition), Vec::new()).await
        {
            tracing::error!(%name, error = %error.message, "cannot stop serving a definition");
        }
        self.look_at_others(definition);
    }

    async fn write_status(&self, definition: &Value) -> Result<Option<Value>, ApiError> {
        write_status(&self.server, definition).await
    }

    /// Deletes the instances of a definition that is going, and lets it go when they are gone.
    fn clean_up(&mut self, name: &str, definition: &Value) {
        let waits = definition["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|f| f == CLEANUP));
        let deleting = !definition["metadata"]["deletionTimestamp"].is_null();
        if !deleting || !waits || self.going.get(name).is_some_and(|t| !t.is_finished()) {
            return;
        }
        let cleaning = Cleaning { server: self.server.clone(), inner: self.inner.clone(), reader: self.reader.clone() };
        let (name, again) = (name.to_owned(), self.again.clone());
        let task = tokio::spawn({
            let name = name.clone();
            async move {
                if let Err(error) = cleaning.run(&name).await {
                    tracing::warn!(%name, error = %error.message, "cannot remove the instances of a definition");
                    tokio::time::sleep(AGAIN).await;
                    // The loop may have ended.
                    let _ = again.send(name);
                }
            }
        });
        self.going.insert(name, task);
    }
}

/// Writes the status of a definition through the server's own door; `None` when somebody else was faster, whose
/// change comes as an event.
async fn write_status(server: &ApiServer, definition: &Value) -> Result<Option<Value>, ApiError> {
    write(server, definition, "/status").await
}

async fn write(server: &ApiServer, definition: &Value, door: &str) -> Result<Option<Value>, ApiError> {
    let path = format!("{DEFINITIONS}/{}{door}", object::name(definition));
    let body = Full::new(Bytes::from(definition.to_string()));
    let mut request = http::Request::put(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::USER_AGENT, "kube-apiserver")
        .body(body)
        .map_err(ApiError::internal)?;
    request.extensions_mut().insert(loopback());
    let response = match server.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.map_err(ApiError::internal)?.to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
    match code {
        200 => Ok(Some(answer)),
        404 | 409 => Ok(None),
        _ => Err(ApiError::internal(object::text(&answer, &["message"]))),
    }
}

/// The removal of the instances of one definition.
struct Cleaning {
    server: ApiServer,
    inner: Arc<Inner>,
    reader: Reader,
}

impl Cleaning {
    fn definition(&self, name: &str) -> Option<Value> {
        self.reader.get(&definitions(), "", name).map(|d| (*d).clone())
    }

    /// Sets the condition that says how far it is; the definition as it is then, `None` when it has gone.
    async fn note(&self, name: &str, change: impl Fn(&mut Value)) -> Result<bool, ApiError> {
        self.change(name, "/status", change).await
    }

    async fn change(&self, name: &str, door: &str, change: impl Fn(&mut Value)) -> Result<bool, ApiError> {
        loop {
            let Some(mut definition) = self.definition(name) else { return Ok(false) };
            change(&mut definition);
            if write(&self.server, &definition, door).await?.is_some() {
                return Ok(true);
            }
            // Somebody else was faster: look again when the caches show it.
            self.inner.registry.caches.current().await.map_err(|e| store_error(&e))?;
        }
    }

    async fn run(&self, name: &str) -> Result<(), ApiError> {
        let Some(definition) = self.definition(name) else { return Ok(()) };
        let kind = "Terminating";
        let message = "CustomResource deletion is in progress";
        if !self.note(name, |d| set_condition(d, kind, "True", "InstanceDeletionInProgress", message)).await? {
            return Ok(());
        }
        let served = is_true(&definition, "Established");
        if let Some(stored) = self.inner.kind_of_custom(&definition).filter(|_| served)
            && let Err(error) = self.instances(&stored).await
        {
            let message = format!("could not issue all deletes: {}", error.message);
            self.note(name, |d| set_condition(d, kind, "True", "InstanceDeletionFailed", &message)).await?;
            return Err(error);
        }
        let (reason, message) = match served {
            true => ("InstanceDeletionCompleted", "removed all instances"),
            false => ("NeverEstablished", "resource was never established"),
        };
        self.note(name, |d| set_condition(d, kind, "False", reason, message)).await?;
        let last = |d: &mut Value| {
            let meta = object::metadata_mut(d);
            if let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
                list.retain(|f| f != CLEANUP);
            }
        };
        self.change(name, "", last).await.map(drop)
    }

    /// Deletes every instance and waits until the last has gone.
    async fn instances(&self, stored: &Arc<Kind>) -> Result<(), ApiError> {
        let (group, version) = (stored.group.to_string(), stored.version.to_string());
        let info = Info {
            path: format!("/apis/{group}/{version}/{}", stored.plural),
            is_resource: true,
            verb: "deletecollection".to_owned(),
            resource: stored.plural.to_string(),
            group,
            version,
            ..Info::default()
        };
        let user = loopback();
        let accept = crate::accept::Accepted::JSON;
        let (table, user_agent) = (self.inner.catalog.now(), "kube-apiserver");
        let conversions = crate::registry::Conversions::default();
        let request = Request {
            kind: stored,
            stored,
            table: &table,
            info: &info,
            user: &user,
            user_agent,
            accept,
            conversions: &conversions,
        };
        let Some(cache) = self.inner.registry.caches.of(stored) else { return Ok(()) };
        let options = DeleteOptions::parse(&request, &json!({}))?;
        loop {
            let (objects, _, mut changes) = cache.snapshot(Scope::All, "");
            if objects.is_empty() {
                return Ok(());
            }
            self.inner.registry.delete_collection(&request, &options).await?;
            while cache.len() > 0 {
                match changes.recv().await {
                    // Something was made meanwhile: delete again.
                    Ok(change) if !change.deleted && change.previous.is_none() => break,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }
}
