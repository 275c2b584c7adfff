//! Many CustomResourceDefinitions: what each costs to make and to keep, and what they do to discovery and OpenAPI.

use super::api::client::{Connection, JSON, Server};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// How many, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many definitions are made.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// How many groups they are in.
    #[arg(long, default_value_t = 100)]
    groups: usize,
    /// Where the store is made; the directory for temporary files if it is not given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A definition of the size that operators have: about 4 KB.
fn definition(group: &str, number: usize) -> Value {
    let text = |i: usize| json!({"type": "string", "description": format!("What field {i} is for, in a sentence of some length.")});
    let mut fields: serde_json::Map<String, Value> = (0..20).map(|i| (format!("field{i}"), text(i))).collect();
    fields.insert("replicas".into(), json!({"type": "integer", "minimum": 0, "default": 1}));
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "description": "What is wanted.", "properties": fields},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{number}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": format!("things{number}"), "singular": format!("thing{number}"), "kind": format!("Thing{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]}})
}

fn say(what: &str, value: impl std::fmt::Display) {
    println!("{what:<58} {value:>14}");
}

/// Makes the definitions and prints what they cost.
pub(crate) async fn run(args: &Args) -> Result<()> {
    ironclad_auth::install_crypto();
    let place = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let server = Server::start(place.path(), None).await?;
    let mut client = server.connect().await?;
    let before = server.memory()?;
    timed(&mut client, "aggregated discovery without them", "/apis", AGGREGATED).await?;
    let begin = Instant::now();
    for number in 0..args.count {
        let group = format!("group{}.example.com", number % args.groups.max(1));
        let body = Bytes::from(definition(&group, number).to_string());
        client.ask(Method::POST, DEFINITIONS, JSON, body).await?;
    }
    let made = begin.elapsed();
    wait(&mut client, args).await?;
    let count = args.count.max(1) as u32;
    say("create, each", format!("{:.2} ms", (made / count).as_secs_f64() * 1e3));
    say("create until the last is served, each", format!("{:.2} ms", (begin.elapsed() / count).as_secs_f64() * 1e3));
    let own = (server.memory()? - before) / f64::from(count) / 1024.0;
    say("memory of each, while nobody uses it", format!("{own:.1} KiB"));
    for round in ["first", "again"] {
        timed(&mut client, &format!("aggregated discovery, {round}"), "/apis", AGGREGATED).await?;
    }
    let group = "/apis/group0.example.com/v1";
    timed(&mut client, "discovery of one group", group, JSON).await?;
    for round in ["first", "again"] {
        timed(&mut client, &format!("OpenAPI v3 index, {round}"), "/openapi/v3", JSON).await?;
    }
    timed(&mut client, "OpenAPI v3 of one group, first", "/openapi/v3/apis/group0.example.com/v1", JSON).await?;
    for round in ["first", "again"] {
        timed(&mut client, &format!("OpenAPI v2, {round}"), "/openapi/v2", JSON).await?;
    }
    let object = json!({"apiVersion": "group0.example.com/v1", "kind": "Thing0", "metadata": {"name": "one"}, "spec": {"field1": "x"}});
    let begin = Instant::now();
    client.ask(Method::POST, &format!("{group}/namespaces/default/things0"), JSON, object.to_string().into()).await?;
    say("create an instance, the first of its kind", format!("{:.2} ms", begin.elapsed().as_secs_f64() * 1e3));
    let own = (server.memory()? - before) / f64::from(count) / 1024.0;
    say("memory of each, with all documents kept", format!("{own:.1} KiB"));
    drop(client);
    server.stop().await
}

/// Waits until the last definition is served.
async fn wait(client: &mut Connection, args: &Args) -> Result<()> {
    let last = args.count.saturating_sub(1);
    let path = format!("/apis/group{}.example.com/v1/things{last}", last % args.groups.max(1));
    for _ in 0..1000 {
        if client.ask(Method::GET, &path, JSON, Bytes::new()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Err("the last definition is not served".into())
}

async fn timed(client: &mut Connection, what: &str, path: &str, accept: &str) -> Result<()> {
    let begin = Instant::now();
    let size = client.size(path, accept).await?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    say(&format!("{what} ({} KiB)", size / 1024), format!("{took:.2} ms"));
    Ok(())
}
