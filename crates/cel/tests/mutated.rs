//! Expressions as people write them, damaged in the ways in which a fuzzer damages them: parts left out, doubled, moved
//! from one to another, repeated many times. Compiling and evaluating end within their limits, and neither panics.

use ironclad_cel::{Activation, Budget, Environment, PER_CALL_LIMIT, Type, Val};
use ironclad_json::{Value, json};
use proptest::prelude::*;

const CORPUS: &[&str] = &[
    "self.replicas <= self.max && (!has(self.min) || self.min <= self.replicas)",
    "self.items.all(x, self.items.exists_one(y, y.name == x.name))",
    "self.items.map(x, x.name).join(',').matches('^[a-z,]+$')",
    "self.map.all(k, k.startsWith('a') || self.map[k].size() < 5)",
    "self.items.transformMap(i, v, i > 0, v.name).size() <= 3",
    "self.text.replace('a', self.text).replace('b', self.text).size() < 100",
    "optional.of(self.items).optMap(a, a + a).optMap(a, a + a).orValue([]).size() > 1",
    "self.?missing.orValue('x') == 'x' ? self.text : '%d %d'.format([1, 2])",
    "'%s %d %.3f'.format([self.text, self.replicas, 1.5])",
    "[1, 2, 3].slice(0, 2) + lists.range(5).reverse() == [1, 2]",
    "self.items.sortBy(x, x.name).distinct().map(x, x.name).sort() != []",
    "[[1], [2, 3]].flatten().size() + dyn([dyn(1), dyn([2])]).flatten(5).size() > 0",
    "duration('1h30m') < duration(self.text) || timestamp('2024-01-01T00:00:00Z').getFullYear() > 2000",
    "url('https://a.example/x?y=1').getQuery()['y'][0] == '1'",
    "cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && isQuantity('1Gi') && semver('1.2.3').major() == 1",
    "quantity('1Gi').add(quantity('1Mi')).isGreaterThan(quantity('500Mi'))",
    "self.text.findAll('(a+)+b', 3).size() >= 0 && self.text.split('').size() < 10000",
    "sets.contains([1, 2], [self.replicas]) || {'a': [1u, 2u], 'b': []}.a.sum() == 3u",
    "r'\\d+' + string(b'abc'.size()) == '\\u00e9' || -9223372036854775807 - 1 < 0",
    "!format.dns1123Label().validate(self.text).hasValue()",
];

fn object() -> Value {
    let items: Vec<Value> = (0..20).map(|i| json!({"name": format!("n{i}"), "port": i})).collect();
    json!({"replicas": 3, "max": 5, "text": "ab".repeat(500), "items": items, "map": {"a": "1", "b": ["x"]}})
}

/// Runs a source; what it may cost is what one rule may.
fn run(source: &str) {
    let env = Environment::new().with("self", Type::Dyn).with("oldSelf", Type::Dyn);
    let Ok(program) = env.compile(source) else { return };
    let value = object();
    let mut activation = Activation::new();
    activation.set("self", Val::json(&value, None));
    activation.set("oldSelf", Val::json(&value, None));
    let mut budget = Budget::new(PER_CALL_LIMIT / 10);
    let outcome = program.eval(&activation, &mut budget);
    if let Ok(value) = outcome {
        assert!(budget.used() <= PER_CALL_LIMIT / 10, "{source}");
        drop(value.to_json());
    }
}

/// What is done to a source.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index, prop::sample::Index),
    Double(prop::sample::Index, prop::sample::Index, usize),
    Splice(prop::sample::Index, usize, prop::sample::Index, prop::sample::Index),
    Put(prop::sample::Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let odd = prop::sample::select(vec![
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        "?",
        "'",
        "\"",
        "\\",
        "9223372036854775808",
        "1e999",
        "0x",
        "-",
        "!",
        ".map(x, x)",
        ".all(x, true)",
        ".optMap(a, a + a)",
        ".replace('', self.text)",
        " in ",
        "\u{0}",
        "\u{1F600}",
        "//",
        "lists.range(999999999)",
        "self.items.map(x, self.items)",
        ".flatten(99)",
        ".matches('(a*)*$')",
    ]);
    prop_oneof![
        (at(), at()).prop_map(|(a, b)| Damage::Cut(a, b)),
        (at(), at(), 2..40_usize).prop_map(|(a, b, n)| Damage::Double(a, b, n)),
        (at(), 0..CORPUS.len(), at(), at()).prop_map(|(a, n, b, c)| Damage::Splice(a, n, b, c)),
        (at(), odd).prop_map(|(a, o)| Damage::Put(a, o)),
    ]
}

fn between(text: &[char], a: prop::sample::Index, b: prop::sample::Index) -> (usize, usize) {
    let (a, b) = (a.index(text.len() + 1), b.index(text.len() + 1));
    (a.min(b), a.max(b))
}

fn damaged(source: &str, all: Vec<Damage>) -> String {
    let mut text: Vec<char> = source.chars().collect();
    for one in all {
        match one {
            Damage::Cut(a, b) => {
                let (from, to) = between(&text, a, b);
                text.drain(from..to.min(from + 20));
            }
            Damage::Double(a, b, times) => {
                let (from, to) = between(&text, a, b);
                let part = text[from..to].repeat(times);
                text.splice(to..to, part);
            }
            Damage::Splice(at, other, a, b) => {
                let other: Vec<char> = CORPUS[other].chars().collect();
                let (from, to) = between(&other, a, b);
                let at = at.index(text.len() + 1);
                text.splice(at..at, other[from..to].iter().copied());
            }
            Damage::Put(at, odd) => {
                let at = at.index(text.len() + 1);
                text.splice(at..at, odd.chars());
            }
        }
        text.truncate(20_000);
    }
    text.into_iter().collect()
}

/// More cases than usual where they are asked for (`PROPTEST_CASES`).
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(1_500), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_expressions_end(source in prop::sample::select(CORPUS), all in prop::collection::vec(damage(), 0..5)) {
        run(&damaged(source, all));
    }
}

#[test]
fn what_is_not_damaged_compiles() {
    for source in CORPUS {
        let env = Environment::new().with("self", Type::Dyn).with("oldSelf", Type::Dyn);
        if let Err(error) = env.compile(source) {
            panic!("{source}: {error}");
        }
        run(source);
    }
}

/// Short expressions whose values would grow without bounds.
#[test]
fn values_do_not_grow_without_bounds() {
    let chain = |start: &str, step: &str| format!("{start}{}", step.repeat(60));
    for source in [
        chain("optional.of([1])", ".optMap(a, a + a)"),
        chain("optional.of('ab')", ".optMap(a, a + a)"),
        chain("optional.of('ab')", ".optMap(a, a.replace('', a))"),
        chain("optional.of(['ab'])", ".optMap(a, [a.join(''), a.join(''), a.join('')])"),
        chain("optional.of('ab')", ".optMap(a, '%s%s%s'.format([a, a, a]))"),
        chain("optional.of([[1]])", ".optMap(a, dyn([a, a, a]).flatten(1))"),
        chain("optional.of(dyn([1]))", ".optMap(a, dyn([a, a, a, a]))") + ".value().flatten(100).size() > 0",
        chain("self.items", ".map(x, self.items)"),
        "lists.range(1000000).map(x, lists.range(1000000)).size() > 0".to_owned(),
    ] {
        run(&source);
    }
}
