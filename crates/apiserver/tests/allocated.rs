//! What a write costs in memory that is taken and given back: a count, alone in its program, so that nothing else is
//! counted.

mod support;

use http_body_util::BodyExt;
use ironclad_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use support::JSON;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most that a trivial patch may allocate, in times its object's size. The stock server takes 114.
const BOUND: usize = 9;
/// Patches of which the mean is taken.
const ROUNDS: usize = 50;
const POD: &str = "/api/v1/namespaces/default/pods/large";

/// A pod whose JSON has about 10 KB with what the server adds.
fn large_pod() -> Value {
    let env = |c| {
        (0..10).map(move |e| json!({"name": format!("SETTING_{c}_{e}"), "value": format!("the value of setting {e}")}))
    };
    let container = |c: i32| {
        json!({"name": format!("c{c}"), "image": "registry.example/web:1.27.3", "env": env(c).collect::<Vec<Value>>(),
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}})
    };
    json!({"metadata": {"name": "large", "labels": {"app": "web"}},
        "spec": {"containers": (0..5).map(container).collect::<Vec<Value>>()}})
}

#[tokio::test]
async fn a_trivial_patch_costs_a_few_times_its_object() {
    let (server, _reader, _dir) = support::admitting().await;
    let account = json!({"metadata": {"name": "default"}});
    let made = support::ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, account).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let (code, pod) = support::ask(&server, "POST", "/api/v1/namespaces/default/pods", JSON, large_pod()).await;
    assert_eq!(code, 201, "{pod}");
    let size = pod.to_string().len();
    assert!((8_000..16_000).contains(&size), "{size}");
    let sorts =
        ["application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"];
    for kind in sorts {
        let path = match kind {
            "application/apply-patch+yaml" => format!("{POD}?fieldManager=test&force=true"),
            _ => POD.to_owned(),
        };
        let mut before = 0;
        for round in 0..=ROUNDS {
            let body = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "large", "labels": {"round": format!("r{round}")}}});
            let response = support::with(&server, "PATCH", &path, &[("content-type", kind)], body.to_string()).await;
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            while let Some(piece) = body.frame().await {
                drop(piece.unwrap());
            }
            if round == 0 {
                // The first one of its sort takes fields over.
                before = COUNTING.stats().bytes_allocated;
            }
        }
        let each = (COUNTING.stats().bytes_allocated - before) / ROUNDS;
        assert!(each < BOUND * size, "{kind}: {each} bytes for a pod of {size}");
    }
}
