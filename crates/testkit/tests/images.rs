//! The images and the registry, seen by an independent client.

use ironclad_testkit::{Credentials, Images, Registry};
use std::process::Command;

async fn skopeo(args: Vec<String>) -> (bool, String) {
    let out = tokio::task::spawn_blocking(move || Command::new("skopeo").args(&args).output().unwrap()).await.unwrap();
    (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

fn inspect(image: &str, extra: &[&str]) -> Vec<String> {
    let mut args = vec!["inspect".to_owned(), "--tls-verify=false".to_owned()];
    args.extend(extra.iter().map(|s| (*s).to_owned()));
    args.push(format!("docker://{image}"));
    args
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_serves_what_was_built() {
    let images = Images::build().await.unwrap();
    let again = Images::build().await.unwrap();
    assert_eq!(images.get("nginx:1.27").unwrap(), again.get("nginx:1.27").unwrap());
    let registry = Registry::serve(&images).await.unwrap();
    if Command::new("skopeo").arg("--version").output().is_err() {
        return; // nothing to look at it with
    }
    let (ok, text) = skopeo(inspect(&registry.image("nginx:1.27"), &[])).await;
    assert!(ok && text.contains("NGINX_VERSION=1.27"), "{text}");
    let (ok, text) = skopeo(inspect(&registry.image("nginx:none"), &[])).await;
    assert!(!ok && text.contains("manifest unknown"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_registry_wants_its_password() {
    let images = Images::build().await.unwrap();
    let credentials = Credentials { username: "me".into(), password: "secret!".into() };
    let registry = Registry::serve_private(&images, &credentials).await.unwrap();
    if Command::new("skopeo").arg("--version").output().is_err() {
        return;
    }
    let (ok, _) = skopeo(inspect(&registry.image("busybox:1.36"), &[])).await;
    assert!(!ok);
    let (ok, text) = skopeo(inspect(&registry.image("busybox:1.36"), &["--creds", "me:secret!"])).await;
    assert!(ok, "{text}");
}
