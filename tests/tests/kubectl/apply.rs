//! Apply, patch and diff in all their forms: who owns which fields, what conflicts, what is refused.

use ironclad_testkit::Namespace;

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'nginx:alpine'}
";

fn managers(ns: &Namespace<'_>, object: &str) -> Vec<String> {
    let path = "-o=jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation}/{.subresource} {end}";
    let all = ns.ok(&["get", object, "--show-managed-fields", path]);
    all.split_whitespace().map(str::to_owned).collect()
}

pub(crate) fn an_unchanged_manifest_is_unchanged(ns: &Namespace<'_>) {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: nginx:alpine\n    \
        ports: [{containerPort: 80}]\n    resources: {requests: {cpu: 100m, memory: 64Mi}}\n";
    assert_eq!(ns.apply(pod), "pod/p created\n");
    ns.wait("pod/p", "condition=Ready");
    assert_eq!(ns.apply(pod), "pod/p unchanged\n");
    assert_eq!(ns.with_input(&["diff", "-f", "-"], pod).ok(), "");
    assert_eq!(ns.apply(DEPLOYMENT), "deployment.apps/web created\n");
    assert_eq!(ns.apply(DEPLOYMENT), "deployment.apps/web unchanged\n");
}

pub(crate) fn from_client_side_to_server_side(ns: &Namespace<'_>) {
    ns.apply(DEPLOYMENT);
    assert!(managers(ns, "deploy/web").contains(&"kubectl-client-side-apply/Update/".to_owned()));
    let server_side = &["apply", "--server-side", "-f", "-"];
    let without = DEPLOYMENT.replace("  replicas: 0\n", "");
    assert_eq!(ns.with_input(server_side, DEPLOYMENT).ok(), "deployment.apps/web serverside-applied\n");
    let now = managers(ns, "deploy/web");
    assert!(now.contains(&"kubectl/Apply/".to_owned()), "{now:?}");
    assert!(!now.iter().any(|m| m.starts_with("kubectl-client-side-apply")), "{now:?}");
    // What was kubectl's own goes when kubectl no longer says it.
    ns.with_input(server_side, &without).ok();
    assert_eq!(ns.field("deploy/web", ".spec.replicas"), "1");
}

pub(crate) fn conflicts_are_shown_and_forced(ns: &Namespace<'_>) {
    let apply = |manager: &str, replicas: u32, more: &[&str]| {
        let field = format!("--field-manager={manager}");
        let args = [&["apply", "--server-side", "-f", "-", &field], more].concat();
        ns.with_input(&args, &DEPLOYMENT.replace("replicas: 0", &format!("replicas: {replicas}")))
    };
    apply("one", 0, &[]).ok();
    let refused = apply("two", 2, &[]).err();
    let want = "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas";
    assert!(refused.contains(want), "{refused}");
    apply("two", 2, &["--force-conflicts"]).ok();
    assert_eq!(ns.field("deploy/web", ".spec.replicas"), "2");
    ns.ok(&["scale", "deploy/web", "--replicas=0"]);
    let refused = apply("two", 2, &[]).err();
    let want = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert!(refused.contains(want), "{refused}");
}

pub(crate) fn patches_of_every_sort(ns: &Namespace<'_>) {
    ns.apply(DEPLOYMENT);
    let patch = |sort: &str, text: &str| ns.kubectl(&["patch", "deploy", "web", &format!("--type={sort}"), "-p", text]);
    let sidecar = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}"#;
    assert_eq!(patch("strategic", sidecar).ok(), "deployment.apps/web patched\n");
    assert_eq!(ns.field("deploy/web", ".spec.template.spec.containers[*].name"), "side web");
    let gone = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}"#;
    patch("strategic", gone).ok();
    assert_eq!(ns.field("deploy/web", ".spec.template.spec.containers[*].name"), "web");
    let same = r#"{"spec":{"replicas":0}}"#;
    assert_eq!(patch("merge", same).ok(), "deployment.apps/web patched (no change)\n");
    let test =
        r#"[{"op":"test","path":"/spec/replicas","value":5},{"op":"replace","path":"/spec/replicas","value":1}]"#;
    let refused = patch("json", test).err();
    assert!(refused.contains("the server rejected our request due to an error in our request"), "{refused}");
    let refused = patch("strategic", r#"{"spec":{"replicas":"x"}}"#).err();
    assert!(refused.contains("Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32"), "{refused}");
    let scaled =
        ns.ok(&["patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#]);
    assert_eq!(scaled, "scale.autoscaling/web patched\n");
}

pub(crate) fn unknown_fields_are_told(ns: &Namespace<'_>) {
    let wrong = DEPLOYMENT.replace("  replicas: 0\n", "  replicas: 0\n  nothing: 1\n");
    let strict = ns.with_input(&["create", "-f", "-"], &wrong).err();
    let want = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.nothing\"";
    assert!(strict.contains(want), "{strict}");
    let warned = ns.with_input(&["create", "--validate=warn", "-f", "-"], &wrong);
    assert!(warned.stderr.contains("Warning: unknown field \"spec.nothing\""), "{warned:?}");
    warned.ok();
    let refused = ns.with_input(&["apply", "--server-side", "--validate=false", "-f", "-"], &wrong).err();
    assert!(refused.contains(".spec.nothing: field not declared in schema"), "{refused}");
}
