use super::*;
use futures::FutureExt;
use ironclad_json::json;

fn level(name: &str, shares: u32, response: &Value) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {"type": "Limited", "limited":
        {"nominalConcurrencyShares": shares, "lendablePercent": 50, "limitResponse": response}}})
}

fn schema(name: &str, level: &str, users: &[&str]) -> Value {
    let subjects: Vec<Value> = users.iter().map(|u| json!({"kind": "User", "user": {"name": u}})).collect();
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 100,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": subjects, "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}})
}

fn queue(queues: u32, limit: u32) -> Value {
    json!({"type": "Queue", "queuing": {"queues": queues, "handSize": queues.min(2), "queueLengthLimit": limit}})
}

fn fairness(seats: u32, schemas: &[Value], levels: &[Value]) -> Arc<Fairness> {
    let fairness = Fairness::new(seats, Duration::from_millis(200), Arc::new(Metrics::default()));
    fairness.configure(schemas, levels);
    fairness
}

const ASKED: Asked<'_> = Asked {
    verb: "get",
    path: "/version",
    is_resource: false,
    group: "",
    resource: "",
    subresource: "",
    namespace: "",
    name: "",
    version: "",
};

async fn enter(fairness: &Arc<Fairness>, user: &str) -> Result<Seat, Why> {
    fairness.enter(&UserInfo::new(user, &[]), &ASKED, |_| 1).await.1
}

#[tokio::test]
async fn a_level_that_rejects_refuses_what_finds_no_seat() {
    let reject = json!({"type": "Reject"});
    let levels = [level("a", 1, &reject), level("b", 1, &reject)];
    let fairness = fairness(4, &[schema("a", "a", &["ann"]), schema("b", "b", &["bob"])], &levels);
    // Two of its own and one that b lends.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(enter(&fairness, "ann").await.expect("there is a seat"));
    }
    assert_eq!(enter(&fairness, "ann").await.err(), Some(Why::ConcurrencyLimit));
    let kept = enter(&fairness, "bob").await.expect("what b never lends is there at once");
    assert_eq!(enter(&fairness, "bob").await.err(), Some(Why::ConcurrencyLimit), "the rest is lent");
    held.pop();
    assert!(enter(&fairness, "bob").await.is_ok(), "what was lent comes back");
    drop(kept);
}

#[tokio::test]
async fn whoever_waits_is_woken_by_what_ends_and_refused_when_it_takes_too_long() {
    let levels = [level("a", 1, &queue(4, 2))];
    let fairness = fairness(1, &[schema("a", "a", &["ann"])], &levels);
    let first = enter(&fairness, "ann").await.expect("there is a seat");
    let mut second = Box::pin(enter(&fairness, "ann"));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    let second = second.now_or_never().expect("woken at once").expect("it has a seat");
    assert_eq!(enter(&fairness, "ann").await.err(), Some(Why::TimeOut));
    assert_eq!(fairness.seats.lock().levels().map(|(_, l)| l.waiting).sum::<usize>(), 0, "it waits no longer");
    drop(second);
    assert!(enter(&fairness, "ann").await.is_ok());
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let levels = [level("a", 1, &queue(1, 2))];
    let fairness = fairness(1, &[schema("a", "a", &["ann"])], &levels);
    let _held = enter(&fairness, "ann").await.expect("there is a seat");
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(enter(&fairness, "ann"))).collect();
    waiting.iter_mut().for_each(|w| assert!(w.now_or_never().is_none()));
    assert_eq!(enter(&fairness, "ann").await.err(), Some(Why::QueueFull));
}

#[tokio::test]
async fn a_loud_flow_does_not_drown_a_quiet_one() {
    let levels = [level("a", 1, &queue(64, 50))];
    let fairness = fairness(1, &[schema("a", "a", &["loud", "quiet"])], &levels);
    let mut held = Some(enter(&fairness, "loud").await.expect("there is a seat"));
    let mut loud: Vec<_> = (0..20).map(|_| Box::pin(enter(&fairness, "loud"))).collect();
    loud.iter_mut().for_each(|w| assert!(w.now_or_never().is_none()));
    let mut quiet = Box::pin(enter(&fairness, "quiet"));
    assert!((&mut quiet).now_or_never().is_none());
    for turn in 0..20 {
        drop(held.take());
        if let Some(seat) = (&mut quiet).now_or_never() {
            assert!(seat.is_ok() && turn <= 3, "the quiet flow came only at turn {turn}");
            return;
        }
        // A future that is done must not be asked again.
        let done = (0..loud.len()).find_map(|i| (&mut loud[i]).now_or_never().map(|seat| (i, seat)));
        let (at, seat) = done.expect("somebody is served each time");
        drop(loud.remove(at));
        held = Some(seat.expect("a seat"));
    }
    panic!("the quiet flow never came");
}

#[tokio::test]
async fn exempt_requests_never_wait_and_the_stock_objects_classify_as_stock_does() {
    let fairness = Fairness::new(600, Duration::from_secs(1), Arc::new(Metrics::default()));
    let user = |name: &str, groups: &[&str]| UserInfo::new(name, groups);
    let resource = |verb, group, resource, namespace| Asked {
        verb,
        group,
        resource,
        namespace,
        is_resource: true,
        path: "",
        ..Asked::default()
    };
    let probe = Asked { verb: "get", path: "/readyz", ..Asked::default() };
    let account = "system:serviceaccount:kube-system:coredns";
    let table = [
        (user("admin", &["system:masters"]), resource("list", "", "pods", ""), "exempt", "exempt"),
        (UserInfo::anonymous(), probe, "probes", "exempt"),
        (user("system:node:a", &["system:nodes"]), resource("list", "", "pods", ""), "system-nodes", "system"),
        (user("system:node:a", &["system:nodes"]), resource("patch", "", "nodes", ""), "system-node-high", "node-high"),
        (
            user("system:kube-scheduler", &[]),
            resource("update", "coordination.k8s.io", "leases", "kube-system"),
            "system-leader-election",
            "leader-election",
        ),
        (user("system:kube-scheduler", &[]), resource("list", "", "pods", ""), "kube-scheduler", "workload-high"),
        (
            user(account, &["system:serviceaccounts"]),
            resource("watch", "", "services", ""),
            "kube-system-service-accounts",
            "workload-high",
        ),
        (
            user("system:serviceaccount:a:b", &["system:serviceaccounts"]),
            resource("get", "", "pods", "a"),
            "service-accounts",
            "workload-low",
        ),
        (user("ann", &[]), resource("get", "", "pods", "a"), "global-default", "global-default"),
    ];
    for (user, asked, schema, level) in table {
        let (class, _) = fairness.classify(&user, &asked);
        assert_eq!((&*class.schema, &*class.level), (schema, level), "{} {asked:?}", user.name);
    }
    let mut held = Vec::new();
    for _ in 0..2000 {
        let master = user("admin", &["system:masters"]);
        held.push(fairness.enter(&master, &ASKED, |_| 1).now_or_never().expect("at once").1.expect("a seat"));
    }
}

#[tokio::test]
async fn a_level_that_is_deleted_stays_until_its_requests_are_done() {
    let levels = [level("a", 1, &queue(4, 2)), level("b", 1, &queue(4, 2))];
    let fairness = fairness(2, &[schema("a", "a", &["ann"])], &levels);
    let held = enter(&fairness, "ann").await.expect("there is a seat");
    fairness.configure(&[], &levels[1..]);
    let names = || fairness.seats.lock().levels().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["a", "b"]);
    drop(held);
    assert_eq!(names(), ["b"]);
}
