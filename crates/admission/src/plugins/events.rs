//! EventRateLimit: who writes more events than a bucket holds has to wait.
//!
//! Invariant: buckets are bounded in number; the one that was used least lately makes room.

use crate::{Operation, Plugin, Request, Validate, config};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::{ApiError, ErrorList, FieldError, Path, Reason, object};
use ironclad_json::{Value, json};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

const TYPES: [&str; 4] = ["Namespace", "Server", "SourceAndObject", "User"];
const BUCKETS: usize = 4096;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    r#type: String,
    #[serde(default)]
    qps: i64,
    #[serde(default)]
    burst: i64,
    #[serde(default)]
    cache_size: i64,
}

/// Fields that are not known are ignored, as stock does.
#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    limits: Vec<Limit>,
}

/// What is left in a bucket, and when that was so.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Buckets of one limit, by whom they are for.
struct Enforcer {
    limit: Limit,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    all: HashMap<String, (Bucket, u64)>,
    by_use: BTreeMap<u64, String>,
    clock: u64,
}

impl Buckets {
    /// Takes a token for `key`, if there is one.
    fn take(&mut self, key: &str, limit: &Limit, now: Instant) -> bool {
        let full = Bucket { tokens: limit.burst as f64, at: now };
        let (mut bucket, used) = self.all.get(key).copied().unwrap_or((full, 0));
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() * limit.qps as f64;
        bucket = Bucket { tokens: (bucket.tokens + grown).min(limit.burst as f64), at: now };
        let granted = bucket.tokens >= 1.0;
        if granted {
            bucket.tokens -= 1.0;
        }
        self.clock += 1;
        self.by_use.remove(&used);
        self.by_use.insert(self.clock, key.to_owned());
        self.all.insert(key.to_owned(), (bucket, self.clock));
        let most = usize::try_from(limit.cache_size).ok().filter(|n| *n > 0).unwrap_or(BUCKETS);
        while self.all.len() > most {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.all.remove(&oldest);
        }
        granted
    }
}

pub(super) struct RateLimit {
    enforcers: Vec<Enforcer>,
}

fn check(limits: &[Limit]) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("limits");
    if limits.is_empty() {
        errors.push(FieldError::invalid(&at, &Value::Null, "must not be empty"));
    }
    for (i, limit) in limits.iter().enumerate() {
        let at = at.index(i);
        if !TYPES.contains(&limit.r#type.as_str()) {
            errors.push(FieldError::not_supported(&at.child("type"), &json!(limit.r#type), &TYPES));
        }
        for (field, number) in [("burst", limit.burst), ("qps", limit.qps)] {
            if number <= 0 {
                errors.push(FieldError::invalid(&at.child(field), &json!(number), "must be positive"));
            }
        }
        if limit.r#type != "Server" && limit.cache_size < 0 {
            errors.push(FieldError::invalid(&at.child("cacheSize"), &json!(limit.cache_size), "must not be negative"));
        }
    }
    errors
}

impl RateLimit {
    pub(super) fn new(config: Option<&Value>) -> std::result::Result<Self, String> {
        const VERSIONS: [&str; 1] = ["eventratelimit.admission.k8s.io/v1alpha1"];
        let settings: Option<Settings> = config.map(|c| config::typed(c, &VERSIONS, "Configuration")).transpose()?;
        let limits = settings.unwrap_or_default().limits;
        super::valid(&check(&limits))?;
        let one = |limit| Enforcer { limit, buckets: Mutex::default() };
        Ok(Self { enforcers: limits.into_iter().map(one).collect() })
    }
}

/// For whom a bucket of this type is.
fn key(kind: &str, request: &Request) -> String {
    let event = request.object.as_ref().unwrap_or(&Value::Null);
    match kind {
        "Namespace" => request.namespace.clone(),
        "User" => request.user.name.clone(),
        "SourceAndObject" => {
            let source = ["component", "host"].iter().map(|f| object::text(event, &["source", *f]));
            let fields = ["kind", "namespace", "name", "uid", "apiVersion"];
            let about = fields.iter().map(|f| object::text(event, &["involvedObject", *f]));
            source.chain(about).collect()
        }
        _ => String::new(),
    }
}

impl Plugin for RateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for RateLimit {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        if !request.kind.group.is_empty() || request.kind.kind != "Event" || request.dry_run {
            return Ok(());
        }
        let now = Instant::now();
        let mut refused = None;
        // Every bucket is asked, whatever the others say.
        for enforcer in &self.enforcers {
            let limit = &enforcer.limit;
            let key = key(&limit.r#type, request);
            if !enforcer.buckets.lock().take(&key, limit, now) {
                let why = format!("Too many requests: limit reached on type {} for key {key}", limit.r#type);
                refused = Some(ApiError::new(Reason::TooManyRequests, why));
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_and_fills_again_and_old_ones_make_room() {
        let limit = Limit { r#type: "User".into(), qps: 1, burst: 2, cache_size: 2 };
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let mut take = |key: &str, after: u64| buckets.take(key, &limit, start + Duration::from_secs(after));
        assert_eq!(
            [take("a", 0), take("a", 0), take("a", 0), take("a", 1), take("a", 1)],
            [true, true, false, true, false]
        );
        // Two others push the first one out, which begins anew.
        assert!(take("b", 1) && take("c", 1) && take("a", 1));
        assert_eq!(buckets.all.len(), 2);
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let texts: Vec<String> = check(&[Limit { r#type: "X".into(), qps: 0, burst: 1, cache_size: -1 }])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "limits[0].type: Unsupported value: \"X\": supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\"",
                "limits[0].qps: Invalid value: 0: must be positive",
                "limits[0].cacheSize: Invalid value: -1: must not be negative",
            ]
        );
        assert!(RateLimit::new(None).is_err_and(|why| why.contains("must not be empty")));
    }
}
