//! What holds of every apply and every merge, tried with objects made at random.

use super::*;
use crate::bundle;
use crate::patch;
use ironclad_api::GroupVersionKind;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

fn id() -> crate::TypeId {
    bundle().kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap()
}

fn schema() -> Schema<'static> {
    Schema::new(bundle(), Shape::Object(id()))
}

fn manager(name: &str, operation: Operation, time: u32) -> Manager {
    let (api_version, time) = ("apps/v1".to_owned(), format!("2026-01-01T00:00:{time:02}Z"));
    Manager { name: name.into(), operation, api_version, subresource: String::new(), time }
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

fn labels() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(word(), word(), 0..4).prop_map(|m| json!(m))
}

/// Lists whose items are told apart by a name stand only once for each.
fn named(item: impl Strategy<Value = Value>, key: &'static str) -> impl Strategy<Value = Value> {
    prop::collection::vec(item, 1..4).prop_map(move |items| {
        let mut seen = Vec::new();
        let fresh = items.into_iter().filter(|i| {
            let new = !seen.contains(&i[key]);
            seen.push(i[key].clone());
            new
        });
        Value::Array(fresh.collect())
    })
}

fn port() -> impl Strategy<Value = Value> {
    (1..4, prop::option::of(word())).prop_map(|(port, name): (i32, Option<String>)| {
        trim(json!({"containerPort": port, "protocol": "TCP", "name": name}))
    })
}

fn container() -> impl Strategy<Value = Value> {
    (word(), prop::option::of(word()), prop::option::of(named(port(), "containerPort")), prop::option::of(labels()))
        .prop_map(|(name, image, ports, limits)| {
            let limits = limits.map(|l| l.as_object().into_iter().flatten().map(|(k, _)| (k.clone(), json!("1"))).collect::<Value>());
            trim(json!({"name": name, "image": image, "ports": ports, "resources": limits.map(|l| json!({"limits": l}))}))
        })
}

/// Without what is null, as objects are once they were decoded.
fn trim(mut value: Value) -> Value {
    without_nulls(&mut value);
    value
}

fn config() -> impl Strategy<Value = Value> {
    let replicas = prop::option::of(0..4i32);
    let tolerations = prop::option::of(prop::collection::vec(word().prop_map(|k| json!({"key": k})), 1..3));
    (replicas, prop::option::of(labels()), prop::option::of(named(container(), "name")), tolerations).prop_map(
        |(replicas, labels, containers, tolerations)| {
            let spec = json!({"replicas": replicas, "template": {"metadata": {"labels": labels},
                "spec": {"containers": containers, "tolerations": tolerations}}});
            let head = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec});
            let mut config = trim(head);
            check::config(bundle(), &Shape::Object(id()), &mut config).unwrap();
            config
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Apply(&'static str, Value, bool),
    Update(&'static str, Value),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["one", "two", "three"]);
    prop_oneof![
        3 => (name.clone(), config(), any::<bool>()).prop_map(|(n, c, f)| Step::Apply(n, c, f)),
        1 => (name, config()).prop_map(|(n, c)| Step::Update(n, c)),
    ]
}

/// The object after a step; a conflict leaves it as it was.
fn after(live: &Value, step: &Step, time: u32) -> Value {
    match step {
        Step::Apply(name, config, force) => {
            let who = manager(name, Operation::Apply, time);
            apply(&schema(), live, config, &who, *force).unwrap_or_else(|_| live.clone())
        }
        Step::Update(name, config) => {
            // What is stored is complete.
            let mut new = schema().stored(config.clone());
            track(&schema(), live, &mut new, &manager(name, Operation::Update, time));
            new
        }
    }
}

/// Whether a set names nothing but lists and maps: of those that have become empty nothing is stored.
fn is_hollow(place: Place<'_>, set: &Set) -> bool {
    set.nodes.iter().all(|(element, node)| {
        let inner = match element {
            PathElement::Field(name) => place.child(name).0,
            _ => place.item(),
        };
        let listed = matches!(inner.shape(), Shape::List(..) | Shape::Map(..));
        (!node.member || listed) && is_hollow(inner, &node.below)
    })
}

fn owned_is_there(object: &Value) -> TestCaseResult {
    let managed = Managed::read(object).map_err(TestCaseError::fail)?;
    // The empty values that a typed server writes can be owned too.
    let there = schema().typed(object);
    let mut set = merge::with_fields(schema().root(), &fields::field_set(schema().root(), &there));
    let all = compare::compare(schema().root(), &json!({}), &there);
    set = set.union(&all.added);
    for (manager, fields) in managed.entries {
        let absent = fields.minus(&set);
        let hollow = absent.is_empty() || is_hollow(schema().root(), &absent);
        prop_assert!(hollow, "{} owns {:?} of {object}", manager.name, absent.describe());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_note_made_quickly_is_the_one_made_in_full(steps in prop::collection::vec((0..3usize, config()), 1..8)) {
        let mut live = Value::Null;
        for (time, (name, config)) in steps.into_iter().enumerate() {
            let who = manager(["one", "two", "three"][name], Operation::Update, time as u32);
            // Every other write is a small change of what is there.
            let mut new = if time % 2 == 0 || live.is_null() { config } else { live.clone() };
            if time % 2 == 1 {
                new["spec"]["replicas"] = json!(time);
            }
            let mut full = new.clone();
            track(&schema(), &live, &mut new, &who);
            track_in_full(&schema(), &live, &mut full, &who);
            prop_assert_eq!(&new, &full);
            live = new;
        }
    }

    #[test]
    fn nobody_owns_what_is_not_there(steps in prop::collection::vec(step(), 1..6)) {
        let mut live = Value::Null;
        for (time, step) in (0..).zip(&steps) {
            live = after(&live, step, time);
            if !live.is_null() {
                owned_is_there(&live)?;
            }
        }
    }

    #[test]
    fn an_apply_again_changes_nothing(steps in prop::collection::vec(step(), 0..4), config in config()) {
        let live = (0..).zip(&steps).fold(Value::Null, |live, (time, step)| after(&live, step, time));
        let who = manager("one", Operation::Apply, 20);
        let once = apply(&schema(), &live, &config, &who, true).unwrap();
        let later = manager("one", Operation::Apply, 30);
        let again = apply(&schema(), &once, &config, &later, false).unwrap();
        prop_assert_eq!(again, once);
    }

    #[test]
    fn what_was_applied_stands(steps in prop::collection::vec(step(), 0..4), config in config()) {
        let live = (0..).zip(&steps).fold(Value::Null, |live, (time, step)| after(&live, step, time));
        let result = apply(&schema(), &live, &config, &manager("one", Operation::Apply, 20), true).unwrap();
        let merged = merge::merge(schema().root(), &result, &config);
        prop_assert_eq!(merged, result);
    }

    #[test]
    fn who_applies_nothing_more_leaves_nothing(config in config()) {
        let one = manager("one", Operation::Apply, 1);
        let made = apply(&schema(), &Value::Null, &config, &one, false).unwrap();
        let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}});
        let left = apply(&schema(), &made, &empty, &one, false).unwrap();
        let fields = fields::field_set(schema().root(), &config);
        let always = fields::field_set(schema().root(), &schema().stored(json!({})));
        let still = fields::field_set(schema().root(), &left).intersection(&fields).minus(&always);
        prop_assert!(strip(still.clone()).is_empty(), "{:?}", still.describe());
        prop_assert!(left["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn merging_is_idempotent_and_keeps_what_it_is_given(a in config(), b in config()) {
        let place = schema();
        let once = merge::merge(place.root(), &a, &b);
        prop_assert_eq!(&merge::merge(place.root(), &once, &b), &once);
        prop_assert_eq!(merge::merge(place.root(), &a, &a), a.clone());
        let set = |v: &Value| fields::field_set(place.root(), v);
        prop_assert!(set(&a).union(&set(&b)).minus(&set(&once)).describe().iter().all(|p| p.ends_with("tolerations")
            || empty_leaf(&a, &b)), "{a} {b} {once}");
    }

    #[test]
    fn a_change_is_nothing_only_for_equals(a in config(), b in config()) {
        let change = compare::compare(schema().root(), &a, &b);
        prop_assert_eq!(change.touched().is_empty() && change.removed.is_empty(), a == b);
    }

    #[test]
    fn fields_come_back_as_they_were_written(a in config()) {
        let set = fields::field_set(schema().root(), &a);
        prop_assert_eq!(Set::from_value(&set.to_value()).unwrap(), set);
    }

    #[test]
    fn a_strategic_patch_again_changes_nothing(target in config(), change in config()) {
        let once = patch::strategic(bundle(), id(), &target, &change).unwrap();
        prop_assert_eq!(&patch::strategic(bundle(), id(), &once, &change).unwrap(), &once);
        prop_assert_eq!(patch::strategic(bundle(), id(), &target, &json!({})).unwrap(), target);
    }

    #[test]
    fn a_merge_patch_is_what_it_says(target in config(), change in config()) {
        let mut once = target.clone();
        patch::merge(&mut once, &change).unwrap();
        let mut again = once.clone();
        patch::merge(&mut again, &change).unwrap();
        prop_assert_eq!(again, once);
    }
}

/// An empty object is a field of its own only as long as nothing is in it.
fn empty_leaf(a: &Value, b: &Value) -> bool {
    let any = |v: &Value| v.to_string().contains("{}");
    any(a) || any(b)
}
