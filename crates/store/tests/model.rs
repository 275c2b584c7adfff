//! Both engines against a model: random commits, reads at old revisions, limits, reopening.

mod common;

use common::*;
use ironclad_store::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, u8, Option<u8>)>),
    ReadAt(u8, u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let op = (0u8..8, 0u8..3, proptest::option::weighted(0.7, any::<u8>()));
    prop_oneof![
        6 => proptest::collection::vec(op, 1..4).prop_map(Step::Commit),
        3 => (any::<u8>(), 0u8..5).prop_map(|(at, limit)| Step::ReadAt(at, limit)),
        1 => Just(Step::Reopen),
    ]
}

type State = BTreeMap<String, (String, Revision)>;

fn apply(state: &State, ops: &[Op], revision: Revision) -> Option<State> {
    let mut next = state.clone();
    let mut changed = false;
    for op in ops {
        let current = state.get(&*op.key);
        let holds = match op.expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Modified(r) => current.is_some_and(|c| c.1 == r),
        };
        if !holds {
            return None;
        }
        match &op.change {
            Change::Put { value, .. } => {
                let bytes = value.render(revision).bytes().to_vec();
                next.insert(op.key.to_string(), (String::from_utf8(bytes).unwrap(), revision));
                changed = true;
            }
            Change::Delete { .. } => changed |= next.remove(&*op.key).is_some(),
            Change::Check => {}
        }
    }
    changed.then_some(next)
}

async fn check_range(store: &dyn Store, want: &State, at: Option<Revision>, limit: usize) {
    let mut got = Vec::new();
    let mut query = RangeQuery { prefix: "/k/".into(), limit, at, ..RangeQuery::default() };
    loop {
        let page = store.range(&query).await.unwrap();
        got.extend(page.entries.iter().map(|e| (e.key.to_string(), (text(e), e.modified))));
        assert_eq!(page.remaining, want.len() - got.len());
        let Some(last) = page.entries.last().filter(|_| page.remaining > 0) else { break };
        query.start_after = Some(last.key.clone());
        query.at = Some(page.revision);
    }
    assert_eq!(got, want.clone().into_iter().collect::<Vec<_>>());
}

async fn play(engine: Engine, steps: Vec<Step>) {
    let mut store = engine.open().await;
    let begin = store.revision().await.unwrap();
    // The state at each revision behind the first one that changed something.
    let mut states = vec![(begin, State::new())];
    for step in steps {
        let (now, state) = states.last().unwrap().clone();
        match step {
            Step::Commit(ops) => {
                let ops = operations(ops, &state);
                let next = Revision(now.0 + 1);
                let got = store.commit(ops.clone()).await;
                // Others may write to the same etcd.
                let next = match &got {
                    Ok(done) if engine.is_etcd() && done.revision >= next => done.revision,
                    _ => next,
                };
                match (apply(&state, &ops, next), got) {
                    (Some(want), Ok(done)) => {
                        assert_eq!(done.revision, next);
                        states.push((next, want));
                    }
                    // A commit that changes nothing has no revision of its own.
                    (None, Ok(done)) => assert!(engine.is_etcd() || done.revision == now),
                    (None, Err(Error::Conflict { .. })) => {}
                    (want, got) => panic!("{want:?} {got:?}"),
                }
            }
            Step::ReadAt(back, limit) => {
                let (at, want) = &states[states.len().saturating_sub(1 + back as usize % 8)];
                match store.range(&RangeQuery { prefix: "/k/".into(), at: Some(*at), ..Default::default() }).await {
                    Ok(_) => check_range(&*store, want, Some(*at), limit as usize).await,
                    Err(Error::Compacted { oldest, .. }) => assert!(*at < oldest),
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Reopen => {
                drop(store);
                store = engine.open().await;
                assert!(engine.is_etcd() || store.revision().await.unwrap() == now);
            }
        }
        check_range(&*store, &states.last().unwrap().1, None, 0).await;
    }
}

fn operations(ops: Vec<(u8, u8, Option<u8>)>, state: &State) -> Vec<Op> {
    let mut seen = std::collections::BTreeSet::new();
    ops.into_iter()
        .filter(|(key, ..)| seen.insert(*key))
        .map(|(key, expect, value)| {
            let key = format!("/k/{key}");
            let expect = match (expect, state.get(&key)) {
                (0, _) => Expect::Any,
                (1, Some(found)) => Expect::Modified(found.1),
                _ => Expect::Absent,
            };
            value.map_or_else(|| delete(&key, expect), |v| put(&key, expect, &v.to_string()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_store_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(Engine::log_with(small()), steps));
    }
}

#[test]
fn etcd_does_what_the_model_does() {
    let held = Engine::etcd();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let steps = proptest::collection::vec(step(), 1..80);
    let played = runner.run(&steps, |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(Engine::etcd(), steps));
        Ok(())
    });
    drop(held);
    played.unwrap();
}
