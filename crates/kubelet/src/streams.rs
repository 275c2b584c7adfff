//! Exec, attach and port forward: what comes over an upgraded connection meets the runtime's streams.

use crate::Config;
use crate::server::{Body, Query, text};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use ironclad_cri::{ContainerStatus, ExecRequest, Runtime, SandboxStatus, Session, StreamOptions, TerminalSize};
use ironclad_streaming::{Error, Forward, PortForward, RemoteCommand, Wanted, exit_status, failure_status};
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

fn refused(error: &Error) -> Response<Body> {
    text(error.status(), error.to_string())
}

fn switching(response: Response<()>) -> Response<Body> {
    let (parts, ()) = response.into_parts();
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *response.headers_mut() = parts.headers;
    response
}

/// Answers a request for the streams of a container.
pub(crate) fn upgrade(
    config: &Config,
    mut request: Request<Incoming>,
    door: &str,
    status: &ContainerStatus,
    query: &Query,
) -> Response<Body> {
    let command = query.get("command").cloned().unwrap_or_default();
    if door == "exec" && command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 container command");
    }
    let wanted = Wanted::from_query(request.uri().query().unwrap_or_default());
    let negotiated = wanted.and_then(|wanted| {
        ironclad_streaming::remote_command(&mut request, wanted).map(|(r, opening)| (wanted, r, opening))
    });
    let (wanted, response, opening) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(error) => return refused(&error),
    };
    let streams = StreamOptions { stdin: wanted.stdin, stdout: wanted.stdout, stderr: wanted.stderr, tty: wanted.tty };
    let (runtime, id, exec) = (config.runtime.clone(), status.id.clone(), door == "exec");
    tokio::spawn(async move {
        let ended = serve(opening, !exec, async {
            match exec {
                true => runtime.exec(&id, ExecRequest { command, streams }).await,
                false => runtime.attach(&id, streams).await,
            }
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "the streams of a container ended early");
        }
    });
    switching(response)
}

async fn serve(
    opening: impl Future<Output = Result<RemoteCommand, Error>>,
    attached: bool,
    starting: impl Future<Output = ironclad_cri::Result<Session>>,
) -> Result<(), Error> {
    let mut command = opening.await?;
    let status = match starting.await {
        Ok(session) => carry(&mut command, session, attached).await?,
        Err(error) => failure_status(&error.to_string()),
    };
    command.finish(&status).await
}

/// Copies until one side ends, and ends the other side then.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    // That either side goes away is how streams end.
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::trace!(%error, "a stream ended");
    }
    if let Err(error) = to.shutdown().await {
        tracing::trace!(%error, "a stream was closed already");
    }
}

/// Carries the streams both ways until the process has ended; returns how. Of a container that was there before, it is
/// enough that its output ends: it may let go of the client and run on.
async fn carry(command: &mut RemoteCommand, session: Session, attached: bool) -> Result<Value, Error> {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    // Dropped at the end of this function, and with it what still runs.
    let (mut inputs, mut outputs) = (JoinSet::new(), JoinSet::new());
    if let (Some(from), Some(to)) = (command.stdin.take(), stdin) {
        inputs.spawn(copy(from, to));
    }
    if let (Some(mut from), Some(to)) = (command.resize.take(), resize) {
        inputs.spawn(async move {
            while let Some(size) = from.recv().await {
                if to.send(TerminalSize { width: size.width, height: size.height }).await.is_err() {
                    return;
                }
            }
        });
    }
    for (from, to) in [(stdout, command.stdout.take()), (stderr, command.stderr.take())] {
        if let (Some(from), Some(to)) = (from, to) {
            outputs.spawn(copy(from, to));
        }
    }
    let process = async {
        let lets_go = attached && !outputs.is_empty();
        let outcome = if lets_go { Ok(Ok(0)) } else { exit.await };
        // What the process wrote before its end must arrive before the news of it.
        while outputs.join_next().await.is_some() {}
        outcome
    };
    tokio::select! {
        outcome = process => Ok(match outcome {
            Ok(Ok(code)) => exit_status(code),
            Ok(Err(error)) => failure_status(&error.to_string()),
            Err(_) => failure_status("the streams were closed"),
        }),
        () = command.closed() => Err(Error::Closed),
    }
}

/// Answers a request for connections to ports of a pod.
pub(crate) fn forward(config: &Config, mut request: Request<Incoming>, sandbox: SandboxStatus) -> Response<Body> {
    let (response, opening) = match ironclad_streaming::port_forward(&mut request) {
        Ok(negotiated) => negotiated,
        Err(error) => return refused(&error),
    };
    let runtime = config.runtime.clone();
    tokio::spawn(async move {
        let ended = match opening.await {
            Ok(forwards) => connections(runtime, Arc::new(sandbox), forwards).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a port forward ended");
        }
    });
    switching(response)
}

async fn connections(
    runtime: Arc<dyn Runtime>,
    sandbox: Arc<SandboxStatus>,
    mut forwards: PortForward,
) -> Result<(), Error> {
    let mut running = JoinSet::new();
    let result = loop {
        tokio::select! {
            next = forwards.next() => match next {
                Ok(Some(forward)) => drop(running.spawn(connection(runtime.clone(), sandbox.clone(), forward))),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            Some(_) = running.join_next() => {}
        }
    };
    while running.join_next().await.is_some() {}
    forwards.finish().await;
    result
}

async fn connection(runtime: Arc<dyn Runtime>, sandbox: Arc<SandboxStatus>, forward: Forward) {
    let Forward { port, read, write, mut error } = forward;
    match runtime.port_forward(&sandbox.id, port).await {
        Ok(stream) => {
            let (from, to) = tokio::io::split(stream);
            let (up, down) = (copy(read, to), copy(from, write));
            tokio::pin!(up, down);
            // A client that has sent everything still waits for the answer; after the answer nobody listens.
            tokio::select! {
                () = &mut down => {}
                () = &mut up => down.await,
            }
        }
        Err(why) => {
            let config = &sandbox.config;
            let text = format!("error forwarding port {port} to pod {}, uid {}: {why}", config.name, config.uid);
            if let Err(error) = error.write_all(text.as_bytes()).await {
                tracing::debug!(%error, "nobody hears why a port could not be forwarded");
            }
        }
    }
}
