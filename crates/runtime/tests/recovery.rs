//! Restarts: of the runtime, of shims, and what is left behind.

#![allow(missing_docs)]

mod common;

use common::{Node, config, log_text, shell, wait_exited};
use ironclad_cri::*;
use ironclad_runtime::Embedded;
use std::io::BufRead;
use std::process::{Command, Stdio};

const BUSYBOX: &[&str] = &["busybox:1.36"];

/// Plays the runtime's process that will be killed: runs two containers, tells their ids, and waits.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(dir) = std::env::var("IRONCLAD_VICTIM_DIR") else { return };
    let dir = std::path::Path::new(&dir);
    let runtime = Embedded::open(config(dir, &std::env::var("IRONCLAD_VICTIM_CLUSTER").unwrap())).await.unwrap();
    let pod =
        SandboxConfig { log_directory: dir.join("logs").to_string_lossy().into_owned(), ..SandboxConfig::default() };
    let sandbox = runtime.run_pod_sandbox(pod).await.unwrap();
    let mut ids = Vec::new();
    for (name, script) in
        [("long", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done"), ("short", "sleep 1; exit 9")]
    {
        let spec = ContainerConfig { name: name.into(), log_path: format!("{name}.log"), ..shell(script) };
        let id = runtime.create_container(&sandbox, spec).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        ids.push(id);
    }
    println!("\nIDS {} {} {sandbox}", ids[0], ids[1]);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_go_on_after_kill_9_and_are_found_again() {
    let node = Node::new(BUSYBOX).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--nocapture"])
        .env("IRONCLAD_VICTIM_DIR", node.dir.path())
        .env("IRONCLAD_VICTIM_CLUSTER", &node.cluster)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let line =
        lines.map_while(std::result::Result::ok).find(|l| l.starts_with("IDS ")).expect("the victim tells its ids");
    child.kill().unwrap();
    child.wait().unwrap();
    let ids: Vec<&str> = line.split(' ').skip(1).collect();
    // The short one ends while nobody is there: its shim knows how.
    let state = node.dir.path().join("data/containers").join(ids[1]).join("state.json");
    let ended = || std::fs::read_to_string(&state).is_ok_and(|t| t.contains("\"exit_code\":9"));
    for _ in 0..100 {
        if ended() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let runtime = node.reopened().await;
    let short = runtime.container_status(ids[1]).await.unwrap();
    assert_eq!((short.state, short.exit_code, short.reason.as_str()), (ContainerState::Exited, 9, "Error"));
    let long = runtime.container_status(ids[0]).await.unwrap();
    assert_eq!(long.state, ContainerState::Running);
    assert_eq!(runtime.pod_sandbox_status(ids[2]).await.unwrap().state, SandboxState::Ready);
    let text = runtime.exec_sync(ids[0], &["echo".into(), "still here".into()], None).await.unwrap();
    assert_eq!(text.stdout, b"still here\n");
    runtime.stop_container(ids[0], std::time::Duration::ZERO).await.unwrap();
    assert_eq!(wait_exited(&runtime, ids[0]).await.exit_code, 137);
    let counted = log_text(&long.log_path);
    let numbers: Vec<u32> = counted.lines().map(|l| l.parse().unwrap()).collect();
    assert!(numbers.len() > 20 && numbers.iter().zip(1..).all(|(a, b)| *a == b), "no line of the log is lost");
    runtime.remove_all().await.unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_takes_its_pod_down_cleanly() {
    let node = Node::new(BUSYBOX).await;
    let (sandbox, id) = node.run(shell("sleep 1000")).await;
    let record =
        std::fs::read_to_string(node.dir.path().join("data/sandboxes").join(&sandbox).join("sandbox.json")).unwrap();
    let pid = record.split("\"shim_pid\":").nth(1).unwrap().split(',').next().unwrap();
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    let status = node.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Unknown"));
    assert_eq!(node.runtime.pod_sandbox_status(&sandbox).await.unwrap().state, SandboxState::NotReady);
    node.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_leaves_ended_containers() {
    let node = Node::new(BUSYBOX).await;
    let (sandbox, id) = node.run(shell("sleep 1000")).await;
    let record =
        std::fs::read_to_string(node.dir.path().join("data/sandboxes").join(&sandbox).join("sandbox.json")).unwrap();
    let pid = record.split("\"shim_pid\":").nth(1).unwrap().split(',').next().unwrap();
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z ")) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let runtime = node.reopened().await;
    let status = runtime.container_status(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137));
    assert_eq!(runtime.pod_sandbox_status(&sandbox).await.unwrap().state, SandboxState::NotReady);
    runtime.purge().await.unwrap();
    common::assert_nothing_left(&node.cluster, node.dir.path());
}

/// The runtime that marked a sandbox as stopped was killed before it took it down.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_was_half_stopped_leaves_nothing() {
    let node = Node::new(BUSYBOX).await;
    let (sandbox, _) = node.run(shell("sleep 1000")).await;
    let path = node.dir.path().join("data/sandboxes").join(&sandbox).join("sandbox.json");
    let record = std::fs::read_to_string(&path).unwrap();
    assert!(record.contains("\"stopped\":false"), "{record}");
    std::fs::write(&path, record.replace("\"stopped\":false", "\"stopped\":true")).unwrap();
    let runtime = node.reopened().await;
    assert_eq!(runtime.pod_sandbox_status(&sandbox).await.unwrap().state, SandboxState::NotReady);
    runtime.purge().await.unwrap();
    common::assert_nothing_left(&node.cluster, node.dir.path());
}
