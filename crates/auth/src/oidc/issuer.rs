//! The keys that an issuer publishes: found by its discovery document, kept until one is missing.

use super::config::Issuer;
use crate::metrics;
use ironclad_json::Value;
use ironclad_remote::{Remote, Target, Way};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(10);
/// Keys are not fetched more often than this, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(5);

type Key = (Option<String>, DecodingKey);

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    fetched: Option<Instant>,
    failure: Option<String>,
}

pub(super) struct Keys {
    issuer: String,
    discovery: String,
    remote: Remote,
    /// Held while keys are fetched, so that many tokens cost one fetch.
    state: Mutex<State>,
}

impl Keys {
    pub(super) fn new(issuer: &Issuer, way: &Way) -> Result<Self, String> {
        let discovery = issuer
            .discovery_url
            .clone()
            .filter(|url| !url.is_empty())
            .unwrap_or_else(|| format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')));
        let authorities = issuer.certificate_authority.clone().unwrap_or_default().into_bytes();
        let remote =
            Remote::new(&Target { url: discovery.clone(), authorities, way: way.clone(), ..Target::default() });
        let remote = remote.map_err(|e| e.to_string())?;
        Ok(Self { issuer: issuer.url.clone(), discovery, remote, state: Mutex::default() })
    }

    /// The keys that may have signed a token that names `id`.
    pub(super) async fn find(&self, id: Option<&str>) -> Result<Vec<DecodingKey>, String> {
        let mut state = self.state.lock().await;
        let fits = |state: &State| -> Vec<DecodingKey> {
            let named = |k: &&Key| id.is_none() || k.0.is_none() || k.0.as_deref() == id;
            state.keys.iter().filter(named).map(|k| k.1.clone()).collect()
        };
        let found = fits(&state);
        let soon = state.fetched.is_some_and(|at| at.elapsed() < PAUSE);
        if !found.is_empty() {
            return Ok(found);
        }
        if soon {
            return state.failure.clone().map_or(Ok(found), Err);
        }
        state.fetched = Some(Instant::now());
        let fetched = self.fetch().await;
        self.tell(fetched.as_ref().ok().map(|f| f.1.as_slice()));
        match fetched {
            Ok((keys, _)) => {
                state.keys = keys;
                state.failure = None;
                Ok(fits(&state))
            }
            Err(why) => {
                tracing::warn!(issuer = self.issuer, why, "cannot get the keys of an issuer");
                state.failure = Some(why.clone());
                Err(why)
            }
        }
    }

    /// Counts a fetch of keys, which has brought these bytes.
    fn tell(&self, bytes: Option<&[u8]>) {
        let (issuer, server) = (metrics::hash(self.issuer.as_bytes()), ironclad_api::metrics::server());
        let base = [("apiserver_id_hash", server), ("jwt_issuer_hash", &*issuer)];
        let result = if bytes.is_some() { "success" } else { "failure" };
        metrics::KEYS_FETCHED.now(&[base[0], base[1], ("result", result)]);
        if let Some(bytes) = bytes {
            metrics::KEYS_INFO.only(&[base[0], ("hash", &metrics::hash(bytes)), base[1]], &base, 1.0);
        }
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let answer = self.remote.get(url, PATIENCE).await.map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(format!("{url}: unexpected status code {}", answer.status));
        }
        Ok(answer.body.to_vec())
    }

    /// The keys, and the bytes in which they came.
    async fn fetch(&self) -> Result<(Vec<Key>, Vec<u8>), String> {
        let document = self.get(&self.discovery).await?;
        let document: Value = serde_json::from_slice(&document).map_err(|e| format!("{}: {e}", self.discovery))?;
        if document["issuer"] != self.issuer.as_str() {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {}",
                self.issuer, document["issuer"]
            ));
        }
        let uri = document["jwks_uri"].as_str().ok_or("the discovery document names no keys")?;
        if !uri.starts_with("https://") {
            return Err("the keys must be published over https".to_owned());
        }
        let bytes = self.get(uri).await?;
        let set: JwkSet = serde_json::from_slice(&bytes).map_err(|e| format!("{uri}: {e}"))?;
        let key = |jwk: &jsonwebtoken::jwk::Jwk| Some((jwk.common.key_id.clone(), DecodingKey::from_jwk(jwk).ok()?));
        Ok((set.keys.iter().filter_map(key).collect(), bytes))
    }
}
