//! Hooks of a container's life: a command, a request, or a pause.

use crate::probe::http::Get;
use ironclad_cri::Runtime;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use std::time::Duration;

const AGENT: &str = "kube-lifecycle/1.37";

/// Runs a hook, at most for `limit`.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    hook: &LifecycleHandler,
    container: &Container,
    id: &str,
    ip: &str,
    limit: Duration,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = runtime.exec_sync(id, &command, Some(limit)).await.map_err(|e| e.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command {:?} exited with {code}: {}",
                command.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )),
        };
    }
    if let Some(get) = &hook.http_get {
        let get = Get::new(get, ip, container)?;
        let first = get.send(limit, AGENT).await;
        return match first {
            // Old clusters never spoke TLS here, whatever the scheme said.
            Err(why) if get.is_https() && why.contains("corrupt message") => {
                get.plain().send(limit, AGENT).await.map(drop)
            }
            other => other.map(drop),
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0) as u64).min(limit)).await;
    }
    Ok(())
}
