//! Exec, attach and port forwarding.

#![allow(missing_docs)]

mod common;

use common::{Node, shell};
use ironclad_cri::*;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUSYBOX: &[&str] = &["busybox:1.36"];

fn command(script: &str) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_sync_tells_output_and_code_and_keeps_to_its_time() {
    let node = Node::new(BUSYBOX).await;
    let (_, id) = node.run(shell("sleep 1000")).await;
    let out = node.runtime.exec_sync(&id, &command("echo a; echo b >&2; exit 5"), None).await.unwrap();
    assert_eq!((out.stdout.as_slice(), out.stderr.as_slice(), out.exit_code), (&b"a\n"[..], &b"b\n"[..], 5));
    let left_open = command("echo first; sleep 60 & exit 1");
    let out = node.runtime.exec_sync(&id, &left_open, Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!((out.stdout.as_slice(), out.exit_code), (&b"first\n"[..], 1));
    let begin = Instant::now();
    let error = node.runtime.exec_sync(&id, &command("sleep 100"), Some(Duration::from_millis(300))).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded(_)) && begin.elapsed() < Duration::from_secs(5), "{error}");
    let error = node.runtime.exec_sync(&id, &["nothing".into()], None).await.unwrap_err().to_string();
    assert!(error.ends_with("exec: \"nothing\": executable file not found in $PATH: unknown"), "{error}");
    let left = node.runtime.exec_sync(&id, &command("ps -o args | grep -c '[s]leep 100$'"), None).await.unwrap();
    assert_eq!(left.stdout, b"0\n", "the command that ran out of time is gone");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_streams_both_ways_without_loss() {
    let node = Node::new(BUSYBOX).await;
    let (_, id) = node.run(shell("sleep 1000")).await;
    let streams = StreamOptions { stdin: true, stdout: true, ..StreamOptions::default() };
    let mut session = node.runtime.exec(&id, ExecRequest { command: command("cat; exit 4"), streams }).await.unwrap();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    let copy = sent.clone();
    let writer = tokio::spawn(async move { stdin.write_all(&copy).await.unwrap() });
    let mut got = Vec::new();
    stdout.read_to_end(&mut got).await.unwrap();
    writer.await.unwrap();
    assert!(got == sent);
    assert_eq!(session.exit.await.unwrap(), Ok(4));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_with_a_terminal_has_size_and_control() {
    let node = Node::new(BUSYBOX).await;
    let (_, id) = node.run(shell("sleep 1000")).await;
    let streams = StreamOptions { stdin: true, stdout: true, tty: true, ..StreamOptions::default() };
    let request = ExecRequest { command: vec!["sh".into()], streams };
    let mut session = node.runtime.exec(&id, request).await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 111, height: 37 }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stdin.write_all(b"stty size; tty; exit 6\n").await.unwrap();
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("37 111") && text.contains("/dev/pts/0"), "{text}");
    assert_eq!(session.exit.await.unwrap(), Ok(6));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_reaches_the_first_process() {
    let node = Node::new(BUSYBOX).await;
    let config =
        ContainerConfig { stdin: true, stdin_once: true, ..shell("while read line; do echo got $line; done; exit 2") };
    let (_, id) = node.run(config).await;
    let streams = StreamOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let mut watcher = node.runtime.attach(&id, StreamOptions { stdin: false, ..streams }).await.unwrap();
    let mut session = node.runtime.attach(&id, streams).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").await.unwrap();
    drop(stdin);
    for session in [&mut session, &mut watcher] {
        let mut text = String::new();
        session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "got one\ngot two\n");
    }
    assert_eq!(session.exit.await.unwrap(), Ok(0));
    assert_eq!(node.exited(&id).await.exit_code, 2);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_stays_open_lets_go_of_a_client_that_has_said_all() {
    let node = Node::new(BUSYBOX).await;
    let config = ContainerConfig { stdin: true, stdin_once: false, ..shell("while read line; do echo $line; done") };
    let (_, id) = node.run(config).await;
    let streams = StreamOptions { stdin: true, stdout: true, stderr: true, tty: false };
    for line in ["one\n", "two\n"] {
        let mut session = node.runtime.attach(&id, streams).await.unwrap();
        let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
        stdin.write_all(line.as_bytes()).await.unwrap();
        let mut echoed = vec![0; line.len()];
        stdout.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, line.as_bytes());
        drop(stdin);
        assert_eq!(stdout.read_to_end(&mut echoed).await.unwrap(), 0);
    }
    let status = node.runtime.container_status(&id).await.unwrap();
    assert_eq!(status.state, ContainerState::Running);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal_can_be_attached_to() {
    let node = Node::new(BUSYBOX).await;
    let config = ContainerConfig { stdin: true, stdin_once: true, tty: true, command: vec!["sh".into()], ..shell("") };
    let (_, id) = node.run(config).await;
    let streams = StreamOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let mut session = node.runtime.attach(&id, streams).await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 99, height: 33 }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    session.stdin.as_mut().unwrap().write_all(b"stty size; exit 3\n").await.unwrap();
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("33 99"), "{text}");
    let status = node.exited(&id).await;
    assert_eq!(status.exit_code, 3);
    assert!(std::fs::read_to_string(status.log_path).unwrap().contains("33 99"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_into_the_pod() {
    let node = Node::new(BUSYBOX).await;
    let (sandbox, id) = node.run(shell("while true; do nc -l -p 8080 -e echo hello; done")).await;
    node.runtime
        .exec_sync(&id, &command("until netstat -ltn | grep -q 8080; do sleep 0.02; done"), None)
        .await
        .unwrap();
    let mut stream = node.runtime.port_forward(&sandbox, 8080).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello\n");
    let error = node.runtime.port_forward(&sandbox, 9).await.err().unwrap().to_string();
    assert!(error.contains("localhost:9") && error.contains("refused"), "{error}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_written_on_after_a_rotation() {
    let node = Node::new(BUSYBOX).await;
    let (_, id) = node.run(shell("i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done")).await;
    let path = node.runtime.container_status(&id).await.unwrap().log_path;
    while std::fs::metadata(&path).is_ok_and(|m| m.len() < 500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::rename(&path, format!("{path}.1")).unwrap();
    node.runtime.reopen_container_log(&id).await.unwrap();
    while !std::fs::metadata(&path).is_ok_and(|m| m.len() > 500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    let all = common::log_text(&format!("{path}.1")) + &common::log_text(&path);
    assert!(all.lines().zip(1_u32..).all(|(line, i)| line.parse() == Ok(i)), "{all}");
    let stats = node.runtime.container_stats(None).await.unwrap();
    assert!(stats.is_empty(), "only running containers are measured");
    node.end().await;
}
