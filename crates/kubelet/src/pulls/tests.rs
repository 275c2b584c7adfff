//! Records on a disk.

use super::*;
use crate::keyring::Origin;

fn image(id: &str) -> Image {
    Image { id: id.into(), ..Image::default() }
}

fn credential() -> Credential {
    let origin = Origin { namespace: "n".into(), name: "s".into(), uid: "u".into() };
    Credential { auth: ironclad_cri::AuthConfig::default(), origin, hash: "h".into() }
}

#[test]
fn a_pull_is_remembered_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let pulls = Pulls::new(dir.path());
    let found = image("sha256:1");
    let begun = pulls.begin("r.test/a:1").unwrap();
    assert!(!pulls.may_use("r.test/a:1", &found, &[]), "a pull runs");
    begun.succeeded(&found, Some(&credential()));
    let pulls = Pulls::new(dir.path());
    assert!(!pulls.may_use("r.test/a:2", &found, &[]));
    assert!(pulls.may_use("r.test/a:1", &found, &[credential()]));
    assert_eq!(pulls.files("pulling").len(), 0);
    pulls.prune(&[found], jiff::Timestamp::MAX);
    assert_eq!(pulls.files("pulled").len(), 1);
    pulls.prune(&[], jiff::Timestamp::MAX);
    assert_eq!(pulls.files("pulled").len(), 0);
}

#[test]
fn a_pull_that_was_cut_off_leaves_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let pulls = Pulls::new(dir.path());
    std::mem::forget(pulls.begin("r.test/a:1").unwrap());
    let pulls = Pulls::new(dir.path());
    assert!(!pulls.may_use("r.test/a:1", &image("sha256:1"), &[credential()]));
    // One that failed leaves none.
    drop(pulls.begin("r.test/b:1").unwrap());
    assert!(pulls.may_use("r.test/b:1", &image("sha256:2"), &[]));
}
