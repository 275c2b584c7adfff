//! Whom candidates for a Lease are led by (KEP-4355): pure decisions over the Lease, the candidates and the time.
//!
//! Invariants: nobody is elected who did not answer lately; a leader that lives is told of its successor, never
//! replaced; a strategy other than `OldestEmulationVersion` gets a Lease whose holder somebody else names.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1beta1::LeaseCandidate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use semver::Version;
use std::cmp::Ordering;
use std::sync::Arc;

/// The strategy that is served here.
pub(super) const OLDEST: &str = "OldestEmulationVersion";
/// How long candidates have to answer, and how long an answer counts.
pub(super) const ELECTION: SignedDuration = SignedDuration::from_secs(5);
/// How long a candidate counts that does not renew itself.
const VALID: SignedDuration = SignedDuration::from_mins(30);
/// How long a Lease lasts that a new leader gets.
const LEASE_SECONDS: i32 = 5;

/// What is to be done for a Lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// There is nobody to elect.
    Nothing,
    /// All is well, or answers are awaited.
    Wait,
    /// These candidates are asked whether they live.
    Ask(Vec<String>),
    /// The Lease is made, or brought to this holder.
    Elect { strategy: String, holder: Option<String> },
    /// Nobody can be elected.
    Stuck(String),
}

/// A version as lenient people write it; what cannot be read is the oldest.
fn version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let split = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(split);
    let mut parts: Vec<&str> = numbers.split('.').collect();
    if parts.len() > 3 || (parts.len() < 3 && !rest.is_empty()) {
        return None;
    }
    parts.resize(3, "0");
    let plain = |part: &&str| part.trim_start_matches('0').to_owned();
    let parts: Vec<String> = parts.iter().map(plain).map(|p| if p.is_empty() { "0".to_owned() } else { p }).collect();
    Version::parse(&format!("{}{rest}", parts.join("."))).ok()
}

fn oldest() -> Version {
    Version::new(0, 0, 0)
}

fn binary(c: &LeaseCandidate) -> Option<Version> {
    version(&c.spec.binary_version)
}

fn emulated(c: &LeaseCandidate) -> Option<Version> {
    version(c.spec.emulation_version.as_deref()?)
}

fn name(c: &LeaseCandidate) -> &str {
    c.metadata.name.as_deref().unwrap_or_default()
}

fn renewed(c: &LeaseCandidate) -> Option<Timestamp> {
    c.spec.renew_time.as_ref().map(|t| t.0)
}

fn asked(c: &LeaseCandidate) -> Option<Timestamp> {
    c.spec.ping_time.as_ref().map(|t| t.0)
}

fn strategy(c: &LeaseCandidate) -> &str {
    &c.spec.strategy
}

/// Whether a candidate was asked and has not answered yet.
pub(super) fn pending(c: &LeaseCandidate) -> bool {
    asked(c).is_some_and(|asked| renewed(c).is_some_and(|renewed| renewed < asked))
}

/// Whether a candidate has not been heard of for long.
pub(super) fn candidate_over(c: &LeaseCandidate, now: Timestamp) -> bool {
    renewed(c).is_none_or(|renewed| renewed + VALID < now)
}

fn lease_over(lease: &Lease, now: Timestamp) -> bool {
    let spec = lease.spec.as_ref();
    let renewed = spec.and_then(|s| s.renew_time.as_ref()).map(|t| t.0);
    let lasts = spec.and_then(|s| s.lease_duration_seconds);
    let Some((renewed, lasts)) = renewed.zip(lasts) else { return true };
    renewed + SignedDuration::from_secs(lasts.into()) < now
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|h| !h.is_empty())
}

/// The one with the oldest emulation version; of equals that with the oldest binary, then who came first.
fn best<'a>(candidates: &[&'a LeaseCandidate]) -> Option<&'a LeaseCandidate> {
    let order = |a: &&LeaseCandidate, b: &&LeaseCandidate| -> Ordering {
        let created = |c: &LeaseCandidate| c.metadata.creation_timestamp.as_ref().map(|t| t.0);
        emulated(a).cmp(&emulated(b)).then(binary(a).cmp(&binary(b))).then(created(a).cmp(&created(b)))
    };
    let valid = candidates.iter().filter(|c| emulated(c).is_some() && binary(c).is_some());
    valid.copied().min_by(order)
}

/// The strategy of the newest binary; those of one version must agree.
fn agreed(candidates: &[&LeaseCandidate]) -> Result<String, String> {
    let Some((first, rest)) = candidates.split_first() else { return Err("no candidates".to_owned()) };
    let of = |c: &LeaseCandidate| binary(c).unwrap_or_else(oldest);
    let (mut chosen, mut newest) = (*first, of(first));
    for c in rest {
        match newest.cmp(&of(c)) {
            Ordering::Less => (chosen, newest) = (c, of(c)),
            Ordering::Equal if strategy(c) != strategy(chosen) => {
                return Err(format!(
                    "candidates {:?}, {:?} at same binary version but received differing strategies {}, {}",
                    name(chosen),
                    name(c),
                    strategy(chosen),
                    strategy(c)
                ));
            }
            _ => {}
        }
    }
    Ok(strategy(chosen).to_owned())
}

/// Whether there has to be an election.
fn needed(lease: Option<&Lease>, candidates: &[&LeaseCandidate], now: Timestamp) -> Result<bool, String> {
    let Some(lease) = lease else { return Ok(true) };
    let Some(holder) = holder(lease).filter(|_| !lease_over(lease, now)) else { return Ok(true) };
    // Candidates are asked from time to time, or they would be over.
    if candidates.iter().any(|c| renewed(c).is_some_and(|renewed| renewed + VALID / 2 < now)) {
        return Ok(true);
    }
    Ok(agreed(candidates)? == OLDEST && best(candidates).is_some_and(|c| name(c) != holder))
}

/// What is done next for a Lease that these candidates want.
pub(super) fn next(lease: Option<&Lease>, candidates: &[Arc<LeaseCandidate>], now: Timestamp) -> Step {
    let candidates: Vec<&LeaseCandidate> =
        candidates.iter().map(|c| &**c).filter(|c| !candidate_over(c, now)).collect();
    if candidates.is_empty() {
        return Step::Nothing;
    }
    match needed(lease, &candidates, now) {
        Ok(true) => {}
        Ok(false) => return Step::Wait,
        Err(why) => return Step::Stuck(why),
    }
    let fresh = |c: &LeaseCandidate| renewed(c).is_some_and(|renewed| renewed + ELECTION > now);
    let awaited = |c: &LeaseCandidate| pending(c) && asked(c).is_some_and(|asked| asked + ELECTION > now);
    let due = |c: &LeaseCandidate| !fresh(c) && asked(c).is_none_or(|asked| asked + ELECTION < now && !pending(c));
    let ask: Vec<String> = candidates.iter().filter(|c| due(c)).map(|c| name(c).to_owned()).collect();
    if !ask.is_empty() {
        return Step::Ask(ask);
    }
    if candidates.iter().any(|c| awaited(c)) {
        return Step::Wait;
    }
    let answered: Vec<&LeaseCandidate> = candidates.into_iter().filter(|c| fresh(c)).collect();
    if answered.is_empty() {
        return Step::Stuck("no available candidates".to_owned());
    }
    let strategy = match agreed(&answered) {
        Ok(strategy) => strategy,
        Err(why) => return Step::Stuck(why),
    };
    match (strategy == OLDEST, best(&answered)) {
        (false, _) => Step::Elect { strategy, holder: None },
        (true, Some(elected)) => Step::Elect { strategy, holder: Some(name(elected).to_owned()) },
        (true, None) => Step::Stuck("no candidate has versions that can be read".to_owned()),
    }
}

/// A Lease brought to this strategy and holder: a leader that lives is told of its successor, a Lease that is over or
/// without a holder is given to the new one.
pub(super) fn led(lease: Option<Lease>, strategy: &str, elected: Option<&str>, now: Timestamp) -> Lease {
    let exists = lease.is_some();
    let mut lease = lease.unwrap_or_default();
    let (over, held) = (lease_over(&lease, now), holder(&lease).map(str::to_owned));
    let spec = lease.spec.get_or_insert_default();
    spec.strategy = Some(strategy.to_owned());
    let own = |spec: &mut k8s_openapi::api::coordination::v1::LeaseSpec| {
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(LEASE_SECONDS);
    };
    if !exists {
        spec.holder_identity = elected.map(str::to_owned);
        own(spec);
        return lease;
    }
    let Some(elected) = elected.filter(|elected| held.as_deref() != Some(elected)) else { return lease };
    if held.is_none() || over {
        spec.preferred_holder = None;
        spec.holder_identity = Some(elected.to_owned());
        spec.acquire_time = None;
        own(spec);
    } else {
        spec.preferred_holder = Some(elected.to_owned());
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::{Value, from_value, json};

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    /// A candidate by its versions and its times, in seconds before now.
    fn candidate(name: &str, versions: (&str, &str), renewed: i64, asked: Option<i64>) -> Arc<LeaseCandidate> {
        let at = |ago: i64| format!("{:.6}", now() - SignedDuration::from_secs(ago));
        let mut value = json!({"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {
            "leaseName": "l", "strategy": OLDEST, "binaryVersion": versions.0, "emulationVersion": versions.1, "renewTime": at(renewed),
        }});
        if let Some(asked) = asked {
            value["spec"]["pingTime"] = Value::from(at(asked));
        }
        Arc::new(from_value(value).unwrap())
    }

    fn lease(holder: &str, renewed: i64) -> Lease {
        let at = format!("{:.6}", now() - SignedDuration::from_secs(renewed));
        from_value(json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 5, "renewTime": at}})).unwrap()
    }

    fn elect(holder: &str) -> Step {
        Step::Elect { strategy: OLDEST.to_owned(), holder: Some(holder.to_owned()) }
    }

    #[test]
    fn the_oldest_emulation_version_leads_then_the_oldest_binary() {
        let all = [
            candidate("a", ("1.20.0", "1.20.0"), 1, Some(2)),
            candidate("b", ("1.20.0", "1.19"), 1, Some(2)),
            candidate("c", ("v1.19.0", "1.19.0"), 1, Some(2)),
            candidate("d", ("?", "1.0.0"), 1, Some(2)),
        ];
        assert_eq!(next(None, &all, now()), elect("c"));
        assert_eq!(next(Some(&lease("c", 1)), &all, now()), Step::Wait, "the best leads already");
        assert_eq!(next(Some(&lease("a", 1)), &all, now()), elect("c"));
        assert_eq!(next(None, &[], now()), Step::Nothing);
    }

    #[test]
    fn candidates_are_asked_before_one_is_elected() {
        let versions = ("1.20.0", "1.20.0");
        let table = [
            (candidate("a", versions, 60, None), Step::Ask(vec!["a".to_owned()])),
            (candidate("a", versions, 60, Some(60)), Step::Ask(vec!["a".to_owned()])),
            (candidate("a", versions, 60, Some(2)), Step::Wait),
            (candidate("a", versions, 60, Some(6)), Step::Stuck("no available candidates".to_owned())),
            (candidate("a", versions, 1, Some(2)), elect("a")),
            (candidate("a", versions, 1, None), elect("a")),
            (candidate("a", versions, 1900, None), Step::Nothing),
        ];
        for (candidate, step) in table {
            assert_eq!(next(None, std::slice::from_ref(&candidate), now()), step, "{candidate:?}");
        }
        let old = candidate("a", versions, 1000, Some(1000));
        assert_eq!(next(Some(&lease("a", 1)), &[old], now()), Step::Ask(vec!["a".to_owned()]), "lest it is over");
    }

    #[test]
    fn strategies_of_one_version_must_agree_and_others_name_no_holder() {
        let with = |name: &str, version: &str, strategy: &str| {
            let mut c = (*candidate(name, (version, version), 1, Some(2))).clone();
            c.spec.strategy = strategy.to_owned();
            Arc::new(c)
        };
        let split = [with("a", "1.20.0", OLDEST), with("b", "1.20.0", "foo.com/bar")];
        let why = r#"candidates "a", "b" at same binary version but received differing strategies OldestEmulationVersion, foo.com/bar"#;
        assert_eq!(next(None, &split, now()), Step::Stuck(why.to_owned()));
        let newer = [with("a", "1.20.0", OLDEST), with("b", "1.21.0", "foo.com/bar")];
        assert_eq!(next(None, &newer, now()), Step::Elect { strategy: "foo.com/bar".to_owned(), holder: None });
        assert_eq!(led(None, "foo.com/bar", None, now()).spec.unwrap().holder_identity, None);
    }

    #[test]
    fn a_leader_that_lives_is_told_of_its_successor() {
        let told = led(Some(lease("a", 1)), OLDEST, Some("b"), now()).spec.unwrap();
        assert_eq!((told.holder_identity.as_deref(), told.preferred_holder.as_deref()), (Some("a"), Some("b")));
        for gone in [lease("a", 60), lease("", 1)] {
            let given = led(Some(gone), OLDEST, Some("b"), now()).spec.unwrap();
            assert_eq!((given.holder_identity.as_deref(), given.preferred_holder), (Some("b"), None));
            assert_eq!(given.renew_time, Some(MicroTime(now())));
        }
        let same = led(Some(lease("b", 1)), OLDEST, Some("b"), now()).spec.unwrap();
        assert_eq!((same.holder_identity.as_deref(), same.preferred_holder), (Some("b"), None));
    }
}
