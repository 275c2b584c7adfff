//! What is recorded of a pull, and what follows from it. Pure.

use crate::keyring::{Credential, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// Secrets of one repository that are noted without a pull, because they hold what is known to be good.
const NOTED: usize = 100;

/// A pull was begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Intent {
    kind: String,
    api_version: String,
    pub(super) image: String,
}

impl Intent {
    pub(super) fn new(image: &str) -> Self {
        Self { kind: "ImagePullIntent".to_owned(), api_version: VERSION.to_owned(), image: image.to_owned() }
    }
}

/// How an image came, by repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PulledRecord {
    kind: String,
    api_version: String,
    last_updated_time: String,
    pub(super) image_ref: String,
    #[serde(default)]
    credential_mapping: BTreeMap<String, Note>,
}

/// Who may use the images of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Note {
    /// Who has one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_secrets: Vec<PullSecret>,
    /// Everybody: it was pulled without credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    node_pods_accessible: bool,
    /// Everybody: no pull brought it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    preloaded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullSecret {
    namespace: String,
    name: String,
    uid: String,
    credential_hash: String,
}

impl PullSecret {
    fn of(credential: &Credential) -> Self {
        let Origin { namespace, name, uid } = credential.origin.clone();
        Self { namespace, name, uid, credential_hash: credential.hash.clone() }
    }

    fn same_secret(&self, other: &Self) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&other.namespace, &other.name, &other.uid)
    }
}

impl Note {
    /// What a pull with this credential, or without any, shows.
    pub(super) fn of(credential: Option<&Credential>) -> Self {
        let secrets = credential.map(PullSecret::of).into_iter().collect();
        Self { kubernetes_secrets: secrets, node_pods_accessible: credential.is_none(), preloaded: false }
    }

    fn preloaded() -> Self {
        Self { preloaded: true, ..Self::default() }
    }
}

impl PulledRecord {
    fn new(image_ref: &str) -> Self {
        Self {
            kind: "ImagePulledRecord".to_owned(),
            api_version: VERSION.to_owned(),
            last_updated_time: now(),
            image_ref: image_ref.to_owned(),
            credential_mapping: BTreeMap::new(),
        }
    }

    /// A pull brought the image, and nobody knows with what.
    pub(super) fn unknown(image_ref: &str) -> Option<Self> {
        Some(Self::new(image_ref))
    }

    /// Whether it was written before a moment.
    pub(super) fn before(&self, moment: jiff::Timestamp) -> bool {
        self.last_updated_time.parse::<jiff::Timestamp>().is_ok_and(|t| t < moment)
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// What follows from a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The pod may use the image; something may be worth a note.
    Granted(Option<Note>),
    /// The registry must be asked.
    Ask,
}

/// Whether a pod with these credentials may use an image, by what is recorded of it; the error is a record that cannot
/// be read. The policy is stock's default: only images that no pull brought need no check.
pub(super) fn decide(
    record: Result<&Option<PulledRecord>, ()>,
    pulling: bool,
    repository: &str,
    credentials: &[Credential],
) -> Verdict {
    let record = match record {
        Err(()) => return Verdict::Ask,
        Ok(None) if pulling => return Verdict::Ask,
        Ok(None) => return Verdict::Granted(Some(Note::preloaded())),
        Ok(Some(record)) => record,
    };
    let all = &record.credential_mapping;
    let known = all.get(repository);
    let loaded = known.map_or_else(|| !all.is_empty() && all.values().all(|n| n.preloaded), |n| n.preloaded);
    if loaded && !pulling {
        return Verdict::Granted(known.is_none().then(Note::preloaded));
    }
    let Some(known) = known else { return Verdict::Ask };
    if known.node_pods_accessible {
        return Verdict::Granted(None);
    }
    let good = &known.kubernetes_secrets;
    let own: Vec<PullSecret> = credentials.iter().map(PullSecret::of).collect();
    if own.iter().any(|own| good.contains(own)) {
        return Verdict::Granted(None);
    }
    // The Secret has another password since, or another Secret has the same one.
    let like = |own: &PullSecret| good.iter().any(|g| own.same_secret(g) || own.credential_hash == g.credential_hash);
    if let Some(own) = own.into_iter().find(like) {
        let note = Note { kubernetes_secrets: vec![own], ..Note::default() };
        return Verdict::Granted((good.len() < NOTED).then_some(note));
    }
    Verdict::Ask
}

/// The record with what was learnt; `None` when it says so already.
pub(super) fn merge(old: Option<PulledRecord>, id: &str, repository: &str, learnt: &Note) -> Option<PulledRecord> {
    let fresh = old.is_none();
    let mut record = old.unwrap_or_else(|| PulledRecord::new(id));
    let before = record.credential_mapping.get(repository).cloned();
    let mut note = before.clone().unwrap_or_else(|| learnt.clone());
    if before.is_some() && !note.node_pods_accessible {
        // Whoever says that it was there before does not take away that it was pulled.
        note.preloaded &= learnt.preloaded;
        if learnt.node_pods_accessible {
            note = learnt.clone();
        }
        for secret in &learnt.kubernetes_secrets {
            note.kubernetes_secrets.retain(|s| !s.same_secret(secret));
            note.kubernetes_secrets.push(secret.clone());
        }
        note.kubernetes_secrets.sort();
    }
    if !fresh && before.as_ref() == Some(&note) {
        return None;
    }
    record.credential_mapping.insert(repository.to_owned(), note);
    record.last_updated_time = now();
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str, password: &str) -> Credential {
        let origin = Origin { namespace: "n".into(), name: secret.into(), uid: format!("uid-{secret}") };
        Credential { auth: ironclad_cri::AuthConfig::default(), origin, hash: password.into() }
    }

    fn pulled(with: Option<&Credential>) -> Option<PulledRecord> {
        merge(None, "sha256:1", "r/a", &Note::of(with))
    }

    #[test]
    fn who_could_pull_may_use() {
        let (good, bad) = (credential("s", "1"), credential("t", "2"));
        let changed = credential("s", "3");
        let copied = credential("u", "1");
        let (private, public) = (pulled(Some(&good)), pulled(None));
        let preloaded = merge(None, "sha256:1", "r/a", &Note::preloaded());
        let unknown = PulledRecord::unknown("sha256:1");
        let granted = |record: &Option<PulledRecord>, pulling, repository, own: &[&Credential]| {
            let own: Vec<Credential> = own.iter().map(|c| (*c).clone()).collect();
            decide(Ok(record), pulling, repository, &own) != Verdict::Ask
        };
        // Without a record it was there before, unless a pull runs or was cut off.
        assert!(granted(&None, false, "r/a", &[]));
        assert!(!granted(&None, true, "r/a", &[]));
        assert!(granted(&preloaded, false, "r/a", &[]));
        assert!(granted(&preloaded, false, "r/b", &[]));
        assert!(!granted(&preloaded, true, "r/a", &[]));
        assert!(granted(&public, false, "r/a", &[]));
        // By another name it is another repository's.
        assert!(!granted(&public, false, "r/b", &[]));
        assert!(!granted(&unknown, false, "r/a", &[&good]));
        for (own, wanted) in [(vec![], false), (vec![&bad], false), (vec![&bad, &good], true)] {
            assert_eq!(granted(&private, false, "r/a", &own), wanted, "{own:?}");
        }
        // The same Secret with another password, another Secret with the same: both are noted.
        for own in [changed, copied] {
            let Verdict::Granted(Some(note)) = decide(Ok(&private), false, "r/a", std::slice::from_ref(&own)) else {
                panic!("{own:?}");
            };
            let more = merge(private.clone(), "sha256:1", "r/a", &note);
            assert_eq!(decide(Ok(&more), false, "r/a", &[own]), Verdict::Granted(None));
        }
        assert_eq!(decide(Err(()), false, "r/a", &[good]), Verdict::Ask);
    }

    #[test]
    fn what_was_learnt_adds_up() {
        let (one, two) = (credential("s", "1"), credential("t", "2"));
        let both = merge(pulled(Some(&one)), "sha256:1", "r/a", &Note::of(Some(&two)));
        assert_eq!(both.as_ref().map(|r| r.credential_mapping["r/a"].kubernetes_secrets.len()), Some(2));
        assert_eq!(merge(both.clone(), "sha256:1", "r/a", &Note::of(Some(&one))), None);
        let open = merge(both, "sha256:1", "r/a", &Note::of(None));
        assert_eq!(open.as_ref().map(|r| r.credential_mapping["r/a"].clone()), Some(Note::of(None)));
        assert_eq!(merge(open, "sha256:1", "r/a", &Note::of(Some(&one))), None);
    }
}
