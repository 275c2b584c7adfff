//! runc runs the same bundles and sees the same.

#![allow(missing_docs)]

mod common;

use common::{Node, log_text, shell};
use ironclad_cri::*;
use std::process::Command;

/// What a process can see of its rights and its file system. The hierarchy that systemd names has no limits and is left
/// out of containers here.
const LOOK: &str = "id; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; pwd; ulimit -n; umask; env | sort | grep -v PWD; \
    ls /dev | sort; cut -d' ' -f 5 /proc/self/mountinfo | grep -v cgroup/systemd | sort; readlink /dev/fd /dev/ptmx; ls -ld /work /proc/sys /dev/null | cut -c 1-10; \
    touch /proc/sys/x /sys/x 2>&1; cat /proc/keys | wc -l";

#[tokio::test(flavor = "multi_thread")]
async fn runc_agrees_about_the_bundle() {
    if Command::new("runc").arg("--version").output().is_err() {
        eprintln!("skipped: runc is not installed");
        return;
    }
    let node = Node::new(&["busybox:1.36"]).await;
    let mut config = shell(LOOK);
    config.working_dir = "/work".into();
    config.envs = vec![("A".into(), "b c".into())];
    config.security = SecurityContext {
        run_as_user: Some(1000),
        add_capabilities: vec!["NET_ADMIN".into()],
        drop_capabilities: vec!["KILL".into()],
        masked_paths: vec!["/proc/keys".into(), "/proc/acpi".into(), "/sys/firmware".into()],
        readonly_paths: vec!["/proc/sys".into(), "/proc/irq".into()],
        seccomp: Seccomp::RuntimeDefault,
        ..SecurityContext::default()
    };
    let (_, id) = node.run(config).await;
    let status = node.exited(&id).await;
    let ours = log_text(&status.log_path);

    // The same bundle: runc needs its root file system mounted, and a cgroup of its own.
    let dir = node.dir.path().join("data/containers").join(&id);
    let bundle = node.dir.path().join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    for name in ["upper", "work", "rootfs"] {
        std::fs::create_dir(bundle.join(name)).unwrap();
    }
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let overlay: serde_json::Value =
        serde_json::from_str(spec["annotations"]["io.ironclad.overlay"].as_str().unwrap()).unwrap();
    let base = overlay["base"].as_str().unwrap();
    let lower: Vec<String> =
        overlay["lower"].as_array().unwrap().iter().map(|l| format!("{base}/{}", l.as_str().unwrap())).collect();
    let text = |p: &str| bundle.join(p).to_string_lossy().into_owned();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), text("upper"), text("work"));
    assert!(
        Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options, &text("rootfs")])
            .status()
            .unwrap()
            .success()
    );
    spec["root"]["path"] = text("rootfs").into();
    spec["linux"]["cgroupsPath"] = format!("/ironclad-{}/runc", node.cluster).into();
    std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    let root = text("state");
    let out = Command::new("runc").args(["--root", &root, "run", "-b", &text(""), "oracle"]).output().unwrap();
    assert!(Command::new("umount").arg(text("rootfs")).status().unwrap().success());
    // runc leaves the parent of its group in the hierarchy that only it uses.
    std::fs::remove_dir(format!("/sys/fs/cgroup/systemd/ironclad-{}", node.cluster)).ok();
    let theirs = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let differ: Vec<_> = diff(&ours, &theirs);
    assert!(
        differ.is_empty(),
        "ours (-) and runc (+) differ:\n{}\n--- ours\n{ours}\n--- runc\n{theirs}",
        differ.join("\n")
    );
    node.end().await;
}

fn diff(ours: &str, theirs: &str) -> Vec<String> {
    let (a, b): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let minus = a.iter().filter(|l| !b.contains(l)).map(|l| format!("-{l}"));
    minus.chain(b.iter().filter(|l| !a.contains(l)).map(|l| format!("+{l}"))).collect()
}
