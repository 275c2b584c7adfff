//! What to do with a Lease, as a pure function of the Lease and of how long it has been as it is.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Somebody else holds it.
    Wait,
    /// There is none.
    Create(LeaseSpec),
    /// Take or renew it.
    Replace(Lease),
}

fn spec(identity: &str, lease: Duration, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(lease.as_secs() as i32),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(0),
        ..LeaseSpec::default()
    }
}

/// What a candidate does with the Lease that it `found` and that has been as it is for `unchanged`.
pub(super) fn step(found: Option<Lease>, identity: &str, unchanged: Duration, lease: Duration, now: Timestamp) -> Step {
    let Some(mut found) = found else { return Step::Create(spec(identity, lease, now)) };
    let old = found.spec.clone().unwrap_or_default();
    let holder = old.holder_identity.as_deref().unwrap_or_default();
    let own = holder == identity;
    // The holder's own word on how long it holds: those who give it back say one second.
    let promised = old.lease_duration_seconds.map_or(lease, |s| Duration::from_secs(s.max(0) as u64));
    if !holder.is_empty() && !own && unchanged < promised {
        return Step::Wait;
    }
    let mut new = spec(identity, lease, now);
    let transitions = old.lease_transitions.unwrap_or(0);
    if own {
        new.acquire_time = old.acquire_time.or(new.acquire_time);
        new.lease_transitions = Some(transitions);
    } else {
        new.lease_transitions = Some(transitions.saturating_add(1));
    }
    found.spec = Some(new);
    Step::Replace(found)
}

/// What a holder does whom an elector has chosen: renew as long as the Lease is its own, is not over, and nobody else is
/// preferred.
pub(super) fn renewal(
    found: Option<Lease>,
    identity: &str,
    unchanged: Duration,
    lease: Duration,
    now: Timestamp,
) -> Step {
    let Some(mut found) = found else { return Step::Wait };
    let old = found.spec.clone().unwrap_or_default();
    let promised = old.lease_duration_seconds.map_or(lease, |s| Duration::from_secs(s.max(0) as u64));
    let own = old.holder_identity.as_deref() == Some(identity);
    let over = old.preferred_holder.as_deref().is_some_and(|preferred| !preferred.is_empty());
    if !own || over || unchanged >= promised {
        return Step::Wait;
    }
    let new = spec(identity, lease, now);
    found.spec = Some(LeaseSpec {
        lease_duration_seconds: new.lease_duration_seconds,
        renew_time: new.renew_time,
        acquire_time: old.acquire_time.clone().or(new.acquire_time),
        ..old
    });
    Step::Replace(found)
}

/// The Lease with nobody who holds it.
pub(super) fn given_back(mut lease: Lease, now: Timestamp) -> Lease {
    let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions);
    let mut empty = spec("", Duration::from_secs(1), now);
    empty.lease_transitions = transitions;
    lease.spec = Some(empty);
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn held(by: &str, transitions: i32) -> Lease {
        let spec = LeaseSpec { lease_transitions: Some(transitions), ..spec(by, LEASE, Timestamp::UNIX_EPOCH) };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn transitions(step: Step) -> Option<(String, i32, bool)> {
        let spec = match step {
            Step::Wait => return None,
            Step::Create(spec) => spec,
            Step::Replace(lease) => lease.spec.unwrap(),
        };
        let kept = spec.acquire_time == Some(MicroTime(Timestamp::UNIX_EPOCH));
        Some((spec.holder_identity.unwrap(), spec.lease_transitions.unwrap(), kept))
    }

    #[test]
    fn a_chosen_holder_renews_until_somebody_else_is_preferred() {
        let (now, second) = (Timestamp::now(), Duration::from_secs(1));
        let mut leaving = held("me", 3);
        leaving.spec.as_mut().unwrap().preferred_holder = Some("other".to_owned());
        let table = [
            (None, second, None),
            (Some(held("other", 3)), LEASE, None),
            (Some(held("me", 3)), LEASE, None),
            (Some(leaving), second, None),
            (Some(held("me", 3)), second, Some(("me".to_owned(), 3, true))),
        ];
        for (found, unchanged, want) in table {
            let told = format!("{found:?}");
            assert_eq!(transitions(renewal(found, "me", unchanged, LEASE, now)), want, "{told}");
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_over_and_renewed_by_its_holder() {
        let now = Timestamp::now();
        let seconds = Duration::from_secs;
        let given = given_back(held("a", 4), Timestamp::UNIX_EPOCH);
        let table = [
            (None, seconds(0), Some(("me", 0, false))),
            (Some(held("other", 3)), seconds(14), None),
            (Some(held("other", 3)), seconds(15), Some(("me", 4, false))),
            (Some(held("me", 3)), seconds(1), Some(("me", 3, true))),
            (Some(given), seconds(0), Some(("me", 5, false))),
            (Some(Lease::default()), seconds(0), Some(("me", 1, false))),
        ];
        for (found, unchanged, want) in table {
            let told = format!("{found:?}");
            let got = transitions(step(found, "me", unchanged, LEASE, now));
            assert_eq!(got, want.map(|(h, t, k)| (h.to_owned(), t, k)), "{told}");
        }
    }
}
