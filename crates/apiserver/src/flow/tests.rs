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
    fairness.enter(&UserInfo::new(user, &[]), &ASKED, |_| Work::ONE).await.1
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
        held.push(fairness.enter(&master, &ASKED, |_| Work::ONE).now_or_never().expect("at once").1.expect("a seat"));
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

#[tokio::test]
async fn the_seats_of_a_write_are_free_only_when_its_watchers_have_the_event() {
    let levels = [level("a", 1, &json!({"type": "Reject"}))];
    let fairness = fairness(4, &[schema("a", "a", &["ann"])], &levels);
    let user = UserInfo::new("ann", &[]);
    let write = |_| Work { seats: 4, after: Duration::from_secs(1), watchers: None };
    let seat = fairness.enter(&user, &ASKED, write).await.1.expect("there are seats");
    drop(seat);
    assert_eq!(enter(&fairness, "ann").await.err(), Some(Why::ConcurrencyLimit), "its watchers keep the seats");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(enter(&fairness, "ann").await.is_ok());
}

/// An elephant sends without an end, mice now and then: each mouse is served within a few turns, and what the level serves
/// is shared between those who want it.
#[tokio::test]
async fn an_elephant_does_not_starve_mice() {
    // The runtime would have its futures pause for others otherwise.
    tokio::task::unconstrained(async { herd() }).await;
}

fn herd() {
    const MICE: usize = 8;
    let mice: Vec<String> = (0..MICE).map(|m| format!("mouse-{m}")).collect();
    let names: Vec<&str> = mice.iter().map(String::as_str).chain(["elephant"]).collect();
    let levels = [level("a", 1, &queue(128, 50))];
    let fairness = fairness(4, &[schema("a", "a", &names)], &levels);
    let mut elephants: Vec<_> = Vec::new();
    let mut held = std::collections::VecDeque::new();
    let (mut served, mut turns_of_mice) = (0_usize, Vec::new());
    let mut waiting: Vec<(usize, std::pin::Pin<Box<_>>)> = Vec::new();
    for turn in 0..400 {
        while elephants.len() < 40 {
            elephants.push(Box::pin(enter(&fairness, "elephant")));
            if let Some(seat) = elephants.last_mut().and_then(|e| e.now_or_never()) {
                elephants.pop();
                held.push_back(seat.expect("a seat"));
            }
        }
        if turn % 10 == 0 {
            let mouse = &mice[(turn / 10) % MICE];
            let mut asked = Box::pin(enter(&fairness, mouse));
            match (&mut asked).now_or_never() {
                Some(seat) => {
                    turns_of_mice.push(0);
                    held.push_back(seat.expect("a seat"));
                }
                None => waiting.push((turn, asked)),
            }
        }
        drop(held.pop_front());
        if let Some((at, seat)) = (0..elephants.len()).find_map(|i| (&mut elephants[i]).now_or_never().map(|s| (i, s)))
        {
            drop(elephants.remove(at));
            held.push_back(seat.expect("a seat"));
            served += 1;
        }
        if let Some((at, seat)) = (0..waiting.len()).find_map(|i| (&mut waiting[i].1).now_or_never().map(|s| (i, s))) {
            turns_of_mice.push(turn - waiting.remove(at).0);
            held.push_back(seat.expect("a seat"));
        }
    }
    assert!(turns_of_mice.len() >= 38, "{} mice were served", turns_of_mice.len());
    let slowest = turns_of_mice.iter().max().copied().unwrap_or_default();
    assert!(slowest <= 8, "a mouse waited {slowest} turns");
    assert!(served >= 300, "the elephant is served with what is left: {served}");
}
