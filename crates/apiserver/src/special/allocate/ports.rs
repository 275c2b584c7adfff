//! Who has which port of the nodes. A server that has its store alone knows by itself; servers on one store agree by a
//! map in it, at stock servers' key, by comparing its revision.
//!
//! Invariant: a port is given to one Service only, whichever server gives it; what a write did not use is given back.

use super::range::Given;
use crate::encode;
use ironclad_api::{ApiError, FieldError, Path};
use ironclad_json::json;
use ironclad_store::{Change, Error, Expect, Op, Revision, Store};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where stock servers keep the map.
pub(crate) const KEY: &str = "/registry/ranges/servicenodeports";
/// In how many looks in a row a port is seen with nobody who has it before it is given back: stock's number. A Service that is
/// just being made has its port already.
const LOOKS: u32 = 3;

/// A port that a Service is to get.
#[derive(Clone, Debug)]
pub(super) struct Want {
    /// This one, or any.
    pub(super) number: Option<u16>,
    /// The field that it is for.
    pub(super) path: Path,
    /// What is said of the field when the range is full.
    pub(super) what: &'static str,
}

pub(super) enum Ports {
    Own(Mutex<Given>),
    Shared { store: Arc<dyn Store>, seen: Mutex<Seen> },
}

/// The map as it was seen last: a hint that spares a read.
#[derive(Clone)]
pub(super) struct Seen {
    given: Given,
    revision: Option<Revision>,
}

/// What a choice from the map comes to.
type Chosen<T> = Result<T, FieldError>;

impl Ports {
    pub(super) fn new(range: (u16, u16), store: Arc<dyn Store>) -> Self {
        match store.is_shared() {
            true => Self::Shared { store, seen: Mutex::new(Seen { given: Given::new(range), revision: None }) },
            false => Self::Own(Mutex::new(Given::new(range))),
        }
    }

    /// Gives out ports, all or none. A dry run gives nothing out that others would see.
    pub(super) async fn give(&self, wants: &[Want], dry_run: bool) -> Result<Chosen<Vec<u16>>, ApiError> {
        if wants.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        self.change(dry_run, |given| wants.iter().map(|want| choose(given, want)).collect()).await
    }

    /// How many are given out, as far as this server knows, and how many are left.
    pub(super) fn counts(&self) -> (usize, usize) {
        match self {
            Self::Own(given) => given.lock().counts(),
            Self::Shared { seen, .. } => seen.lock().given.counts(),
        }
    }

    /// Takes ports back.
    pub(super) async fn free(&self, ports: &[u16]) -> Result<(), ApiError> {
        if ports.is_empty() {
            return Ok(());
        }
        let freed = |given: &mut Given| {
            ports.iter().for_each(|p| given.free(*p));
            Ok(())
        };
        self.change(false, freed).await.map(drop)
    }

    /// Notes the ports that Services have.
    pub(super) async fn note(&self, used: &BTreeSet<u16>) -> Result<(), ApiError> {
        let noted = |given: &mut Given| {
            given.note(used);
            Ok(())
        };
        self.change(false, noted).await.map(drop)
    }

    /// Gives back what nobody has had for some looks; `idle` remembers for how many.
    pub(super) async fn tidy(&self, used: &BTreeSet<u16>, idle: &mut BTreeMap<u16, u32>) -> Result<(), ApiError> {
        let mut now = BTreeSet::new();
        let look = |given: &mut Given| {
            now = given.idle(used);
            given.note(used);
            now.iter().filter(|p| idle.get(p).is_some_and(|n| *n + 1 >= LOOKS)).for_each(|p| given.free(*p));
            Ok(())
        };
        self.change(false, look).await.map(drop)?;
        *idle = now.into_iter().map(|p| (p, idle.get(&p).map_or(1, |n| n + 1))).filter(|(_, n)| *n < LOOKS).collect();
        Ok(())
    }

    /// Changes the map as `choose` says. It may be called again, with the map as somebody else left it.
    async fn change<T>(
        &self,
        dry_run: bool,
        mut choose: impl FnMut(&mut Given) -> Chosen<T>,
    ) -> Result<Chosen<T>, ApiError> {
        let (store, hint) = match self {
            Self::Own(given) => {
                let mut now = given.lock();
                let mut next = now.clone();
                let chosen = choose(&mut next);
                if chosen.is_ok() && !dry_run {
                    *now = next;
                }
                return Ok(chosen);
            }
            Self::Shared { store, seen } => (store, seen),
        };
        let mut seen = hint.lock().clone();
        let mut is_current = false;
        loop {
            if !is_current && seen.revision.is_none() {
                seen = read(store, seen.given.range()).await?;
                is_current = true;
            }
            let mut next = seen.given.clone();
            let chosen = choose(&mut next);
            let is_over = chosen.is_err() || next == seen.given;
            if is_over && !is_current {
                // The map as it was may have what others gave back since, or lack what they took.
                seen.revision = None;
                continue;
            }
            if is_over || dry_run {
                return Ok(chosen);
            }
            match write(store, &next, seen.revision).await {
                Ok(revision) => {
                    let mut hint = hint.lock();
                    if hint.revision < Some(revision) {
                        *hint = Seen { given: next, revision: Some(revision) };
                    }
                    return Ok(chosen);
                }
                Err(Error::Conflict { .. }) => (seen.revision, is_current) = (None, false),
                Err(error) => return Err(crate::registry::store_error(&error)),
            }
        }
    }
}

fn choose(given: &mut Given, want: &Want) -> Chosen<u16> {
    let Some(number) = want.number else {
        let why = format!("failed to allocate a {}: range is full", want.what);
        return given.take_any().ok_or_else(|| FieldError::internal(&want.path, why));
    };
    if !given.covers(number) {
        let (first, last) = given.range();
        let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
        return Err(FieldError::invalid(&want.path, &json!(number), why));
    }
    match given.take(number) {
        true => Ok(number),
        false => Err(FieldError::invalid(&want.path, &json!(number), "provided port is already allocated")),
    }
}

async fn read(store: &Arc<dyn Store>, range: (u16, u16)) -> Result<Seen, ApiError> {
    let entry = store.get(KEY, None).await.map_err(|e| crate::registry::store_error(&e))?;
    Ok(match entry {
        Some(entry) => {
            let given = Given::stored(range, &encode::decode(entry.value.bytes()));
            Seen { given, revision: Some(entry.modified) }
        }
        None => Seen { given: Given::new(range), revision: None },
    })
}

async fn write(store: &Arc<dyn Store>, given: &Given, revision: Option<Revision>) -> Result<Revision, Error> {
    let change = Change::Put { value: encode::template(&given.object()), ttl: None };
    let op = Op { key: KEY.into(), expect: revision.map_or(Expect::Absent, Expect::Modified), change };
    store.commit(vec![op]).await.map(|done| done.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(number: Option<u16>) -> Want {
        Want { number, path: Path::new("spec"), what: "nodePort" }
    }

    #[tokio::test]
    async fn all_ports_of_a_service_are_given_or_none() {
        let ports = Ports::Own(Mutex::new(Given::new((30000, 30001))));
        assert_eq!(ports.give(&[want(Some(30001))], false).await.unwrap(), Ok(vec![30001]));
        let error = ports.give(&[want(Some(30000)), want(Some(30001))], false).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("already allocated"), "{error}");
        assert_eq!(ports.give(&[want(None)], false).await.unwrap(), Ok(vec![30000]), "the first was given back");
        ports.free(&[30000, 30001]).await.unwrap();
        assert_eq!(ports.give(&[want(None), want(None)], false).await.unwrap().unwrap().len(), 2);
        let full = ports.give(&[want(None)], false).await.unwrap().unwrap_err();
        assert!(full.to_string().contains("failed to allocate a nodePort: range is full"), "{full}");
        let outside = ports.give(&[want(Some(80))], false).await.unwrap().unwrap_err();
        assert!(outside.to_string().contains("The range of valid ports is 30000-30001"), "{outside}");
    }

    #[tokio::test]
    async fn a_port_that_nobody_has_goes_after_three_looks() {
        let ports = Ports::Own(Mutex::new(Given::new((30000, 30001))));
        ports.note(&BTreeSet::from([30000, 30001])).await.unwrap();
        let (used, mut idle) = (BTreeSet::from([30001]), BTreeMap::new());
        for _ in 0..2 {
            ports.tidy(&used, &mut idle).await.unwrap();
            assert!(ports.give(&[want(Some(30000))], true).await.unwrap().is_err());
        }
        ports.tidy(&used, &mut idle).await.unwrap();
        assert_eq!(ports.give(&[want(None)], false).await.unwrap(), Ok(vec![30000]));
        assert!(idle.is_empty());
    }
}
