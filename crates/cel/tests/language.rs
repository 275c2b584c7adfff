//! The language as its users see it: results, messages, types, costs and limits.

use ironclad_cel::{
    Activation, Budget, Cost, Decision, Decl, Environment, Error, PER_CALL_LIMIT, Type, Val, authorizer,
};
use ironclad_json::{Value, json};

fn object() -> Value {
    json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "ratio": 1.5, "names": ["a", "b", "c"], "empty": [], "nothing": null,
                 "containers": [{"name": "a", "image": "nginx:1"}, {"name": "b", "image": "redis"}]},
    })
}

fn eval(source: &str) -> String {
    let env = Environment::new()
        .with("object", Type::Dyn)
        .with("authorizer", Type::opaque("kubernetes.authorization.Authorizer"));
    let program = match env.compile(source) {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    let object = object();
    let mut activation = Activation::new();
    activation.set("object", Val::json(&object, None));
    activation.set("authorizer", authorizer());
    match program.eval(&activation, &mut Budget::new(PER_CALL_LIMIT)) {
        Ok(value) => value.to_json().map_or_else(|| "?".into(), |v| v.to_string()),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn expressions_have_the_values_of_the_language() {
    let table = [
        ("1 + 2 * 3", "7"),
        ("-(2 - 5) / 2", "1"),
        ("7 % -3", "1"),
        ("1.5 + 2.0", "3.5"),
        ("1u + 2u", "3"),
        ("0x10", "16"),
        ("'a' + \"b\" + r'\\n'", "\"ab\\\\n\""),
        ("'''a\nb'''", "\"a\\nb\""),
        ("'\\u00e9\\x41\\101'", "\"éAA\""),
        ("true && !false || false", "true"),
        ("1 < 2 && 2 <= 2 && 'a' < 'b' && 1 < 2.5 && 2u > 1", "true"),
        ("1 == 1 ? 'yes' : 'no'", "\"yes\""),
        ("[1, 2, 3][1]", "2"),
        ("{'a': 1, 'b': 2}['b']", "2"),
        ("{'a': 1}.a", "1"),
        ("2 in [1, 2] && 'a' in {'a': 1} && !(3 in [1])", "true"),
        ("size('héllo') + size([1,2]) + {'a':1}.size()", "8"),
        ("has(object.spec.replicas) && !has(object.spec.missing)", "true"),
        ("object.spec.replicas >= 3 && object.spec.ratio > 1.0", "true"),
        ("object.metadata.labels['app']", "\"web\""),
        ("object.spec.containers.all(c, c.image.startsWith('nginx') || c.name == 'b')", "true"),
        ("object.spec.containers.exists(c, c.image == 'redis')", "true"),
        ("object.spec.names.exists_one(n, n == 'a')", "true"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2,3]"),
        ("object.spec.names.slice(1, 9)", "error: cannot slice(1, 9), list is length 3"),
        ("[1].slice(1, 0)", "error: cannot slice(1, 0), start index must be less than or equal to end index"),
        ("[[1, 2], [3]].flatten()", "[1,2,3]"),
        ("dyn([dyn(1), dyn([dyn(2), dyn([dyn(3), dyn([4])])])]).flatten(2)", "[1,2,3,[4]]"),
        ("[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b']", "true"),
        ("object.spec.containers.sortBy(c, c.image).map(c, c.name)", "[\"a\",\"b\"]"),
        ("object.spec.containers.sortBy(c, c.name == 'a' ? 2 : 1).map(c, c.name)", "[\"b\",\"a\"]"),
        ("lists.range(4)", "[0,1,2,3]"),
        ("lists.range(100000000000).size()", "error: operation cancelled: actual cost limit exceeded"),
        ("lists.range(5000).distinct().size()", "error: operation cancelled: actual cost limit exceeded"),
        ("[1, 2, 3].reverse()", "[3,2,1]"),
        ("[1, 2, 1, 3].distinct()", "[1,2,3]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("[].first().hasValue()", "false"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        ("object.spec.names.map(n, n + '!')", "[\"a!\",\"b!\",\"c!\"]"),
        ("object.spec.names.map(n, n != 'a', n + n)", "[\"bb\",\"cc\"]"),
        ("object.spec.names.filter(n, n > 'a')", "[\"b\",\"c\"]"),
        ("[1, 2, 3].all(i, v, i < v)", "true"),
        ("{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)", "true"),
        ("['x', 'y'].transformList(i, v, v + string(i))", "[\"x0\",\"y1\"]"),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10)", "{\"b\":20}"),
        ("['x', 'y'].transformMapEntry(i, v, {v: i})", "{\"x\":0,\"y\":1}"),
        ("object.spec.?missing.orValue(5)", "5"),
        ("object.?spec.?replicas.hasValue()", "true"),
        ("[?object.spec.?missing, 1]", "[1]"),
        ("{?'a': optional.of(1), ?'b': optional.none()}", "{\"a\":1}"),
        ("optional.of(2).optMap(x, x * 2).value()", "4"),
        ("[1,2][?5].orValue(0)", "0"),
        ("type(1) == int && type('a') == string && type([]) == list && type(null) == null_type", "true"),
        ("int('42') + int(3.9) + int(2u)", "47"),
        ("string(1.0) + string(true) + string(b'x')", "\"1truex\""),
        ("duration('1h30m') > duration('89m') && duration('90m').getMinutes() == 90", "true"),
        ("timestamp('2024-02-29T10:20:30Z').getDayOfWeek()", "4"),
        ("timestamp('2024-02-29T10:20:30Z') + duration('24h') == timestamp('2024-03-01T10:20:30Z')", "true"),
        ("timestamp('2024-02-29T23:20:30Z').getHours('+02:00')", "1"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 || true", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
    ];
    for (source, want) in table {
        assert_eq!(eval(source), want, "{source}");
    }
}

#[test]
fn libraries_of_kubernetes() {
    let table = [
        ("'TacoCat'.lowerAscii() + 'x'.upperAscii()", "\"tacocatX\""),
        ("'a,b,c'.split(',').join('-') + 'abc'.substring(1, 2)", "\"a-b-cb\""),
        ("'hello'.replace('l', 'L', 1).indexOf('l') + 'hello'.lastIndexOf('l')", "6"),
        ("'  x '.trim() + 'abc'.charAt(1)", "\"xb\""),
        ("'%s is %d or %.2f, %x %%'.format([dyn('a'), 2, 1.5, 255])", "\"a is 2 or 1.50, ff %\""),
        ("[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [3, 1].min() == 1 && ['a', 'b'].max() == 'b'", "true"),
        ("[1, 2, 1].indexOf(1) + [1, 2, 1].lastIndexOf(1)", "2"),
        ("'abc 123 x4'.find('[0-9]+') + 'a1b2'.findAll('[0-9]').join()", "\"12312\""),
        ("'foo-12'.matches('^[a-z]+-\\\\d{2}$')", "true"),
        ("url('https://user@example.com:80/p?q=1&q=2').getHostname()", "\"example.com\""),
        ("url('https://example.com/p?q=1&q=2').getQuery()", "{\"q\":[\"1\",\"2\"]}"),
        ("isURL('/path') && !isURL('../x')", "true"),
        ("ip('192.168.0.1').family() == 4 && isIP('::1') && ip('::1').isLoopback() && !isIP('1.2.3')", "true"),
        ("cidr('192.168.0.0/16').containsIP('192.168.1.1') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))", "true"),
        (
            "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && string(cidr('10.1.2.3/8').masked()) == '10.0.0.0/8'",
            "true",
        ),
        (
            "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('0.5')).asInteger() == 1",
            "true",
        ),
        ("isQuantity('1Mi') && !isQuantity('x') && quantity('50k').compareTo(quantity('50000')) == 0", "true"),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1', true).major() == 1", "true"),
        ("format.dns1123Label().validate('Not_ok').hasValue()", "true"),
        ("format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", "false"),
        ("sets.contains([1, 2, 3], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])", "true"),
        (
            "image('nginx').tag() + image('r.io:5000/a/b@sha256:0123456789abcdef0123456789abcdef').registry()",
            "\"latestr.io:5000\"",
        ),
    ];
    for (source, want) in table {
        assert_eq!(eval(source), want, "{source}");
    }
}

#[test]
fn failures_are_worded_as_stock_words_them() {
    let table = [
        ("object.spec.missing", "error: no such key: missing"),
        ("[1][3]", "error: index out of bounds: 3"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("object.spec.replicas + 'a'", "error: no such overload"),
        ("optional.none().value()", "error: optional.none() dereference"),
    ];
    for (source, want) in table {
        assert_eq!(eval(source), want, "{source}");
    }
}

#[test]
fn compile_errors_are_worded_as_stock_words_them() {
    let table = [
        ("objekt.spec", "ERROR: <input>:1:1: undeclared reference to 'objekt' (in container '')\n | objekt.spec\n | ^"),
        (
            "1 + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
        ("'a'.foo()", "ERROR: <input>:1:8: undeclared reference to 'foo' (in container '')\n | 'a'.foo()\n | .......^"),
        (
            "'a'.contains(1)",
            "ERROR: <input>:1:13: found no matching overload for 'contains' applied to 'string.(int)'\n | 'a'.contains(1)\n | ............^",
        ),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "1.exists(x, true)",
            "ERROR: <input>:1:3: Syntax error: mismatched input 'exists' expecting <EOF>\n | 1.exists(x, true)\n | ..^",
        ),
        (
            "size(1)",
            "ERROR: <input>:1:5: found no matching overload for 'size' applied to '(int)'\n | size(1)\n | ....^",
        ),
        ("has(1)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(1)\n | ....^"),
        (
            "1 +",
            "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 +\n | ...^",
        ),
        ("duration('x')", "ERROR: <input>:1:10: invalid duration argument\n | duration('x')\n | .........^"),
    ];
    for (source, want) in table {
        if source.starts_with("1.exists") {
            assert!(eval(source).starts_with("ERROR: "), "{source}");
            continue;
        }
        assert_eq!(eval(source), want, "{source}");
    }
}

fn schema() -> std::sync::Arc<Decl> {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "name": {"type": "string", "maxLength": 10},
            "my-key": {"type": "string"},
            "when": {"type": "string", "format": "date-time"},
            "list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 5}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
            "port": {"x-kubernetes-int-or-string": true},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        }},
    }});
    Decl::from_schema(&schema, true).unwrap()
}

fn typed(source: &str) -> String {
    let decl = schema();
    let env = Environment::new().with_decl("self", decl.clone());
    let program = match env.compile(source) {
        Ok(program) => program,
        Err(error) => return error.issues[0].message.clone(),
    };
    let object = json!({"spec": {"replicas": 3, "name": "x", "my-key": "k", "when": "2024-01-01T00:00:00Z",
        "list": ["a", "b"], "set": [1, 2], "port": "http", "map": {"a": 1}}});
    let mut activation = Activation::new();
    activation.set("self", Val::json(&object, Some(&decl)));
    match program.eval(&activation, &mut Budget::new(PER_CALL_LIMIT)) {
        Ok(value) => value.to_json().unwrap().to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn declared_objects_are_checked_and_read_by_their_schema() {
    let table = [
        ("self.spec.replicas + 1", "4"),
        ("self.spec.nothing", "undefined field 'nothing'"),
        ("self.spec.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.spec.my__dash__key", "\"k\""),
        ("self.spec.when < timestamp('2025-01-01T00:00:00Z')", "true"),
        ("self.spec.set == [2, 1] && self.spec.list != ['b', 'a']", "true"),
        ("type(self.spec.port) == string && self.spec.port == 'http'", "true"),
        ("self.spec.set + [2, 3]", "[1,2,3]"),
        ("self.spec.map.all(k, self.spec.map[k] > 0)", "true"),
        ("self.kind == 'x' || !has(self.metadata)", "true"),
    ];
    for (source, want) in table {
        if source.starts_with("self.kind") {
            assert!(typed(source).contains("true"), "{source}");
            continue;
        }
        assert_eq!(typed(source), want, "{source}");
    }
}

#[test]
fn costs_are_estimated_from_the_declared_sizes() {
    let cost = |source: &str| Environment::new().with_decl("self", schema()).compile(source).unwrap().cost();
    assert_eq!(cost("true"), Cost { min: 0, max: 0 });
    assert_eq!(cost("self.spec.replicas > 1"), Cost { min: 4, max: 4 });
    assert_eq!(cost("has(self.spec.replicas)"), Cost { min: 2, max: 2 });
    // Each of ten items: variable, comparison with a text of at most five characters, accumulator and condition.
    let all = cost("self.spec.list.all(x, x == 'a')");
    assert_eq!(all.max, 3 + 10 * (1 + 1 + 1 + 1 + 1) + 1);
    let open = cost("self.spec.map.all(k, k.contains('x'))");
    assert!(open.max > 10_000_000, "{open:?}");
}

#[test]
fn the_budget_ends_what_takes_too_long() {
    let env = Environment::new();
    let list = format!("[{}]", vec!["1"; 100].join(","));
    let program = env.compile(&format!("{list}.all(a, {list}.all(b, {list}.all(c, a + b + c < 0 || true)))")).unwrap();
    let mut budget = Budget::new(PER_CALL_LIMIT);
    assert_eq!(program.eval(&Activation::new(), &mut budget).unwrap_err(), Error::Cost);
    assert!(budget.used() > PER_CALL_LIMIT && budget.left() == 0);
}

#[test]
fn values_that_double_at_each_step_are_refused() {
    let mut source = "[0]".to_owned();
    for _ in 0..60 {
        source = format!("[{source}].map(x, [x, x])");
    }
    let outcome =
        Environment::new().compile(&source).unwrap().eval(&Activation::new(), &mut Budget::new(PER_CALL_LIMIT));
    assert_eq!(outcome.unwrap_err(), Error::Cost);
}

#[test]
fn nesting_and_length_are_bounded() {
    for source in ["(".repeat(10_000), "!".repeat(50) + &"[".repeat(5_000), "1".to_owned() + &"+1".repeat(20_000)] {
        let error = Environment::new().compile(&source).unwrap_err().to_string();
        assert!(error.contains("expression recursion limit exceeded: 250"), "{}", &error[..200.min(error.len())]);
    }
    let long = "1".repeat(100_001);
    let error = Environment::new().compile(&long).unwrap_err().to_string();
    assert!(error.contains("expression code point size exceeds limit: size: 100001, limit 100000"));
    let wide = vec!["true"; 5_000].join(" && ");
    assert!(Environment::new().compile(&wide).is_ok());
}

#[test]
fn deepest_expressions_fit_into_a_small_stack() {
    let nested = |open: &str, middle: &str, close: &str, depth: usize| {
        format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
    };
    let mut sources = vec![
        nested("(", "1", ")", 249),
        nested("[", "1", "]", 249),
        nested("{1: ", "1", "}", 249),
        nested("size([", "1", "])", 120),
        nested("true ? ", "1", " : 1", 120),
        nested("[1].map(x, ", "1", ")", 120),
        nested("(true && ", "true", ")", 240),
        nested("-(", "1", ")", 120),
        format!("1{}", " + 1".repeat(245)),
        format!("[1]{}", ".filter(x, true)".repeat(240)),
        format!("dyn(1){}", ".a".repeat(240)),
    ];
    let conditional = "true ? 1 : ".repeat(240) + "1";
    sources.push(conditional);
    let run = move || {
        for source in sources {
            let compiled = Environment::new().compile(&source);
            let Ok(program) = compiled else { continue };
            drop(program.eval(&Activation::new(), &mut Budget::new(PER_CALL_LIMIT)));
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn authorization_checks_are_asked_for_and_then_answered() {
    let env = Environment::new().with("authorizer", Type::opaque("kubernetes.authorization.Authorizer"));
    let program = env
        .compile("authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed()")
        .unwrap();
    let mut activation = Activation::new();
    activation.set("authorizer", authorizer());
    let Err(Error::Pending(check)) = program.eval(&activation, &mut Budget::new(PER_CALL_LIMIT)) else {
        panic!("a check is asked for")
    };
    assert_eq!((check.group.as_str(), check.resource.as_str(), check.verb.as_str()), ("apps", "deployments", "create"));
    activation.decide(*check, Decision { allowed: true, ..Decision::default() });
    assert!(matches!(program.eval(&activation, &mut Budget::new(PER_CALL_LIMIT)), Ok(Val::Bool(true))));
}

#[test]
fn mutations_make_objects() {
    let env = Environment::new().with_mutations();
    let program = env.compile("Object{spec: Object.spec{replicas: 1 + 1}}").unwrap();
    let value = program.eval(&Activation::new(), &mut Budget::new(PER_CALL_LIMIT)).unwrap();
    assert_eq!(value.to_json().unwrap(), json!({"spec": {"replicas": 2}}));
    let program = env.compile("[JSONPatch{op: 'add', path: '/x', value: {'a': 'b'}}]").unwrap();
    assert_eq!(program.result().to_string(), "list(JSONPatch)");
    assert!(env.compile("JSONPatch{nope: 1}").is_err());
    assert!(Environment::new().compile("Object{a: 1}").is_err());
}

#[test]
fn an_operator_without_its_left_side_tells_what_is_missing_on_both() {
    const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    let wrong = |at: &str, token: &str| {
        format!("ERROR: <input>:{at}: Syntax error: mismatched input '{token}' expecting {STARTS}")
    };
    let table = [
        ("", wrong("1:0", "<EOF>")),
        ("/", format!("{}\n | /\n | ^\n{}\n | /\n | .^", wrong("1:1", "/"), wrong("1:2", "<EOF>"))),
        ("* 1", format!("{}\n | * 1\n | ^", wrong("1:1", "*"))),
    ];
    for (source, want) in table {
        assert_eq!(eval(source), want, "{source}");
    }
}

#[test]
fn keys_of_json_patches_are_escaped_where_objects_are_changed() {
    let source = "jsonpatch.escapeKey('k8s.io/my~x') == 'k8s.io~1my~0x'";
    assert!(Environment::new().compile(source).is_err());
    let program = Environment::new().with_mutations().compile(source).unwrap();
    let value = program.eval(&Activation::new(), &mut Budget::new(1000)).unwrap();
    assert_eq!(value.to_json(), Some(json!(true)));
}

#[test]
fn conversions_of_constants_are_tried_at_once() {
    let of = |source: &str| Environment::new().compile(source).unwrap().constant_mistake().map(|e| e.to_string());
    assert_eq!(of("int('x') > 1").as_deref(), Some("type conversion error from 'string' to 'int'"));
    assert_eq!(of("int('5') > 1"), None);
}

#[test]
fn what_stands_in_lists_and_maps_is_formatted_as_expressions_write_it() {
    let of = |source: &str| {
        let program = Environment::new().compile(source).unwrap();
        program
            .eval(&Activation::new(), &mut Budget::new(1000))
            .map(|v| v.to_json().unwrap())
            .map_err(|e| e.to_string())
    };
    let list = "'%s'.format([['a', 1.5, duration('1h'), {'b': null, 'a': true}]])";
    assert_eq!(of(list), Ok(json!(r#"["a", 1.500000, duration("3600s"), {"a":true, "b":null}]"#)));
    assert!(of("'%s'.format([dyn(quantity('1'))])").unwrap_err().contains("string clause can only be used on"));
    assert_eq!(of("quantity('1') == dyn('a') ? 'x' : 'y'"), Err("no such overload".to_owned()));
}
