//! Distributed claims (OpenID Connect Core 1.0, section 5.6.2): groups that stand in a token of another server, to which
//! the user's token leads.
//!
//! Invariants: a claim that the token has itself is never looked for elsewhere; only a token that was checked leads
//! anywhere, over https alone, and what comes from there is checked as the token was.

use super::config::Issuer;
use super::issuer::Keys;
use super::{Check, untrusted_issuer};
use ironclad_json::Value;
use ironclad_remote::{Remote, Target, Way};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// Issuers of claims whose keys are kept; claims of further ones are refused.
const MOST: usize = 16;

/// Finds one claim.
pub(super) struct Distributed {
    claim: String,
    /// Whose authorities sign the certificates of sources and of their issuers.
    authority: Option<String>,
    remote: Remote,
    issuers: Mutex<HashMap<String, Arc<Keys>>>,
    way: Way,
}

impl Distributed {
    pub(super) fn new(claim: &str, issuer: &Issuer, way: &Way) -> Result<Self, String> {
        let authorities = issuer.certificate_authority.clone().unwrap_or_default().into_bytes();
        let remote =
            Remote::new(&Target { url: issuer.url.clone(), authorities, way: way.clone(), ..Target::default() });
        Ok(Self {
            claim: claim.to_owned(),
            authority: issuer.certificate_authority.clone(),
            remote: remote.map_err(|e| e.to_string())?,
            issuers: Mutex::default(),
            way: way.clone(),
        })
    }

    /// Puts the claim into `claims` if they say where it is.
    pub(super) async fn expand(&self, claims: &mut Value, check: &Check) -> Result<(), String> {
        let Some((url, token)) = self.source(claims)? else { return Ok(()) };
        let of = |why: String| format!("could not expand distributed claims: {why}");
        let found = self.resolve(&url, &token, check).await.map_err(of)?;
        claims[&self.claim] = found;
        Ok(())
    }

    /// Where the claim is, with the token that opens it.
    fn source(&self, claims: &Value) -> Result<Option<(String, String)>, String> {
        let names = &claims["_claim_names"];
        if !claims[&self.claim].is_null() || names.is_null() {
            return Ok(None);
        }
        if !names.is_object() {
            return Err("error parsing distributed claim names: it is no object".to_owned());
        }
        let sources = claims["_claim_sources"].as_object().ok_or("no claim sources")?;
        let Some(name) = names[&self.claim].as_str() else { return Ok(None) };
        let source = sources.get(name);
        let source = source
            .ok_or_else(|| format!("id token _claim_names contained a source {name} missing in _claims_sources"))?;
        // A claim that is packed into the token itself is left alone, as stock leaves it.
        let Some(url) = source["endpoint"].as_str().filter(|u| !u.is_empty()) else { return Ok(None) };
        if !url.starts_with("https://") {
            return Err(format!("the source {name} of a claim is not reached over https"));
        }
        Ok(Some((url.to_owned(), source["access_token"].as_str().unwrap_or_default().to_owned())))
    }

    async fn resolve(&self, url: &str, token: &str, check: &Check) -> Result<Value, String> {
        let claim = &self.claim;
        let failed = |why: String| format!("while getting distributed claim {claim:?}: {why}");
        let token = Some(token).filter(|t| !t.is_empty());
        let answer = self.remote.get_as(url, token, PATIENCE).await.map_err(|e| failed(e.to_string()))?;
        if answer.status != 200 {
            return Err(failed(format!("error while getting distributed claim JWT: {}", answer.status)));
        }
        let text = std::str::from_utf8(&answer.body).map_err(|e| failed(e.to_string()))?.trim();
        let issuer = untrusted_issuer(text).ok_or_else(|| {
            format!("getting untrusted issuer from endpoint {url} failed for claim {claim:?}: malformed token")
        })?;
        let keys = self.keys(&issuer).map_err(|e| format!("verifying untrusted issuer {issuer} failed: {e}"))?;
        let found = check.claims(&keys, text).await.map_err(|e| format!("verify distributed claim token: {e}"))?;
        match found.get(claim) {
            Some(value) => Ok(value.clone()),
            None => Err(format!("jwt returned by distributed claim endpoint {url:?} did not contain claim: {claim}")),
        }
    }

    fn keys(&self, issuer: &str) -> Result<Arc<Keys>, String> {
        let mut known = self.issuers.lock();
        if let Some(keys) = known.get(issuer) {
            return Ok(keys.clone());
        }
        if !issuer.starts_with("https://") {
            return Err("it is not reached over https".to_owned());
        }
        if known.len() >= MOST {
            return Err(format!("more than {MOST} issuers of claims"));
        }
        let issuer_of_claims =
            Issuer { url: issuer.to_owned(), certificate_authority: self.authority.clone(), ..Issuer::default() };
        let keys = Arc::new(Keys::new(&issuer_of_claims, &self.way)?);
        known.insert(issuer.to_owned(), keys.clone());
        Ok(keys)
    }
}
