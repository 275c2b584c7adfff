//! The modes of impersonation: what each lets somebody become, and what must be allowed for it.
//!
//! A constrained mode asks twice: whether the real user may do *this* while acting so (`impersonate-on:MODE:VERB`), and
//! whether they may act as that user at all (`impersonate:MODE`).

use super::{Impersonated, Wanted};
use crate::{Attributes, Authorizer, Decision, forbidden, metrics};
use ironclad_api::{ApiError, UserInfo, names, user};
use std::collections::BTreeMap;
use std::time::Instant;

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many values on, the permission for all of them is asked first.
const MANY: usize = 4;

/// A way of acting as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

/// From the narrowest to the widest.
pub(super) const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let good = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    good.then_some((namespace, name))
}

fn node(name: &str) -> Option<&str> {
    name.strip_prefix("system:node:").filter(|n| names::dns1123_subdomain(n).is_empty())
}

type Result<T> = std::result::Result<T, ApiError>;

/// The mode in which a verb is asked for.
fn mode_of(verb: &str) -> &str {
    let rest = verb.strip_prefix("impersonate-on:").or_else(|| verb.strip_prefix("impersonate:"));
    rest.map_or("legacy", |rest| rest.split(':').next().unwrap_or_default())
}

async fn require(authorizer: &dyn Authorizer, attributes: &Attributes) -> Result<()> {
    let began = Instant::now();
    let decision = authorizer.authorize(attributes).await;
    let word = if matches!(decision, Decision::Allow(_)) { "allowed" } else { "denied" };
    let labels = [("decision", word), ("mode", mode_of(&attributes.verb))];
    metrics::IMPERSONATION_CHECKS.add(&labels, 1);
    metrics::IMPERSONATION_CHECK_TIMES.took(&labels, began.elapsed());
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    /// As metrics show it.
    pub(super) fn shown(self) -> &'static str {
        if self == Self::Legacy { "legacy" } else { self.name() }
    }

    fn verb(self) -> String {
        match self {
            Self::Legacy => "impersonate".to_owned(),
            other => format!("impersonate:{}", other.name()),
        }
    }

    /// Whether the mode is for such a user at all.
    fn fits(self, wanted: &Wanted, real: &UserInfo) -> bool {
        let node = node(&wanted.name);
        match self {
            Self::AssociatedNode => {
                let own = real.extra.get(NODE_NAME).filter(|v| v.len() == 1).map(|v| v[0].as_str());
                wanted.only_name() && node.is_some() && account(&real.name).is_some() && own == node
            }
            Self::ArbitraryNode => wanted.only_name() && node.is_some(),
            Self::ServiceAccount => wanted.only_name() && account(&wanted.name).is_some(),
            Self::UserInfo => node.is_none() && account(&wanted.name).is_none(),
            Self::Legacy => true,
        }
    }

    /// Who asks, as this mode's questions name them.
    fn asker(self, real: &UserInfo) -> UserInfo {
        let mut asker = real.clone();
        if self == Self::AssociatedNode {
            // The answer must hold for all nodes, so nothing in the question tells them apart.
            let keys = real.extra.keys().cloned().collect();
            asker.extra = BTreeMap::from([(NODE_KEYS.to_owned(), keys)]);
        }
        asker
    }

    /// As whom the request goes on; `None` when the mode is not for such users.
    pub(super) async fn take(
        self,
        wanted: &Wanted,
        request: &Attributes,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<Impersonated>> {
        if !self.fits(wanted, &request.user) {
            return Ok(None);
        }
        let asker = self.asker(&request.user);
        if self != Self::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.name(), request.verb);
            require(authorizer, &Attributes { verb, user: asker.clone(), ..request.clone() }).await?;
        }
        let ask = |group: &str, resource: &str, name: &str| Attributes {
            user: asker.clone(),
            verb: self.verb(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        };
        let own_group = if self == Self::Legacy { "" } else { AUTHENTICATION };
        let mut groups = wanted.groups.clone();
        let mut name = ask(own_group, "users", &wanted.name);
        if let Some(node) = node(&wanted.name).filter(|_| self != Self::Legacy) {
            name.resource = "nodes".into();
            name.name = if self == Self::AssociatedNode { "*".to_owned() } else { node.to_owned() };
            groups = vec!["system:nodes".to_owned()];
        }
        if let Some((namespace, account)) = account(&wanted.name) {
            name = Attributes { namespace: namespace.into(), ..ask(own_group, "serviceaccounts", account) };
            if groups.is_empty() {
                groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        require(authorizer, &name).await?;
        if !wanted.uid.is_empty() {
            require(authorizer, &ask(AUTHENTICATION, "uids", &wanted.uid)).await?;
        }
        self.groups(wanted, &ask(own_group, "groups", ""), authorizer).await?;
        self.extra(wanted, &ask(AUTHENTICATION, "userextras", ""), authorizer).await?;
        let user = UserInfo {
            groups: complete(&wanted.name, groups),
            name: wanted.name.clone(),
            uid: wanted.uid.clone(),
            extra: wanted.extra.clone(),
        };
        let constraint = if self == Self::Legacy { String::new() } else { self.verb() };
        Ok(Some(Impersonated { user, constraint }))
    }

    async fn groups(self, wanted: &Wanted, ask: &Attributes, authorizer: &dyn Authorizer) -> Result<()> {
        let named = |name: &str| Attributes { name: name.into(), ..ask.clone() };
        if self != Self::Legacy {
            if wanted.groups.iter().any(String::is_empty) {
                return Err(forbidden(ask, "impersonating the empty string group is not allowed"));
            }
            if wanted.groups.iter().any(|g| g == user::MASTERS) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(forbidden(&named(user::MASTERS), why));
            }
            if wanted.groups.len() >= MANY && require(authorizer, &named("*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in &wanted.groups {
            require(authorizer, &named(group)).await?;
        }
        Ok(())
    }

    async fn extra(self, wanted: &Wanted, ask: &Attributes, authorizer: &dyn Authorizer) -> Result<()> {
        let named = |key: &str, value: &str| Attributes { subresource: key.into(), name: value.into(), ..ask.clone() };
        if self != Self::Legacy {
            if let Some(why) = wanted.extra.iter().find_map(|(key, values)| wrong(key, values)) {
                return Err(forbidden(ask, &why));
            }
            let count = wanted.extra.values().map(Vec::len).sum::<usize>();
            if count >= MANY && require(authorizer, &named("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            for value in values {
                require(authorizer, &named(key, value)).await?;
            }
        }
        Ok(())
    }
}

/// What constrained modes do not take as something else that is known of a user.
fn wrong(key: &str, values: &[String]) -> Option<String> {
    let path = |(domain, path): (&str, &str)| names::dns1123_subdomain(domain).is_empty() && !path.is_empty();
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    if !key.split_once('/').is_some_and(path) {
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")"
        ));
    }
    if key != key.to_lowercase() {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}

/// The groups, with the one of everybody who is or is not somebody.
fn complete(name: &str, mut groups: Vec<String>) -> Vec<String> {
    let missing = if name == user::ANONYMOUS {
        Some(user::ALL_UNAUTHENTICATED)
    } else if groups.iter().any(|g| g == user::ALL_UNAUTHENTICATED) {
        None
    } else {
        Some(user::ALL_AUTHENTICATED)
    };
    if let Some(missing) = missing.filter(|m| !groups.iter().any(|g| g == m)) {
        groups.push(missing.to_owned());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::{LastModes, impersonated, wanted};
    use super::*;
    use crate::Rules;
    use async_trait::async_trait;
    use http::HeaderMap;
    use parking_lot::Mutex;

    /// Allows what is listed, as `verb group/resource/subresource/namespace/name`, and notes every question.
    #[derive(Default)]
    struct Listed(Vec<&'static str>, Mutex<Vec<String>>);

    #[async_trait]
    impl Authorizer for Listed {
        async fn authorize(&self, a: &Attributes) -> Decision {
            let asked = format!("{} {}/{}/{}/{}/{}", a.verb, a.group, a.resource, a.subresource, a.namespace, a.name);
            let known = self.0.iter().any(|l| *l == asked || l.strip_suffix('*').is_some_and(|p| asked.starts_with(p)));
            self.1.lock().push(asked);
            if known { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
        }

        async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
            Rules::default()
        }
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (key, value) in list {
            map.append(*key, value.parse().unwrap());
        }
        map
    }

    fn listing_pods(real: UserInfo) -> Attributes {
        Attributes {
            user: real,
            verb: "list".into(),
            namespace: "a".into(),
            resource: "pods".into(),
            version: "v1".into(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    async fn take(allowed: Vec<&'static str>, list: &[(&'static str, &str)]) -> Result<Impersonated> {
        let request = listing_pods(UserInfo::new("bob", &[]));
        let found =
            impersonated(&headers(list), &request, &Listed(allowed, Mutex::default()), &LastModes::default()).await;
        found.map(|f| f.unwrap())
    }

    #[tokio::test]
    async fn every_value_is_asked_for() {
        let given = [
            ("impersonate-user", "jane"),
            ("impersonate-group", "devs"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2fproject", "x"),
        ];
        let all = vec![
            "impersonate /users///jane",
            "impersonate /groups///devs",
            "impersonate authentication.k8s.io/uids///7",
            "impersonate authentication.k8s.io/userextras/acme.com/project//x",
        ];
        let jane = take(all.clone(), &given).await.unwrap();
        assert_eq!(
            (jane.user.groups, jane.constraint.as_str()),
            (vec!["devs".into(), "system:authenticated".into()], "")
        );
        for missing in 0..all.len() {
            let mut fewer = all.clone();
            fewer.remove(missing);
            assert_eq!(take(fewer, &given).await.unwrap_err().code, 403, "without {}", all[missing]);
        }
    }

    #[tokio::test]
    async fn a_constrained_mode_needs_both_permissions() {
        let (on, who) =
            ("impersonate-on:user-info:list /pods//a/", "impersonate:user-info authentication.k8s.io/users///jane");
        let jane = [("impersonate-user", "jane")];
        let found = take(vec![on, who], &jane).await.unwrap();
        assert_eq!((found.user.name.as_str(), found.constraint.as_str()), ("jane", "impersonate:user-info"));
        assert!(take(vec![who], &jane).await.is_err(), "not for lists");
        assert!(take(vec![on], &jane).await.is_err(), "not as jane");
        let error = take(Vec::new(), &jane).await.unwrap_err();
        let first = "pods is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"a\"";
        assert_eq!(error.message, first);
    }

    #[tokio::test]
    async fn no_constrained_mode_gives_the_group_that_may_do_everything() {
        let everything = vec!["impersonate-on:user-info:*", "impersonate:user-info *"];
        let masters = [("impersonate-user", "jane"), ("impersonate-group", "system:masters")];
        let error = take(everything.clone(), &masters).await.unwrap_err();
        assert!(error.message.ends_with("impersonating the system:masters group is not allowed"), "{error}");
        assert!(take(everything.clone(), &[("impersonate-user", "jane"), ("impersonate-group", "")]).await.is_err());
        let bad = [("impersonate-user", "jane"), ("impersonate-extra-plain", "x")];
        assert!(take(everything.clone(), &bad).await.is_err(), "a key without a domain");
        for other in ["system:node:a", "system:serviceaccount:a:b"] {
            assert!(
                take(everything.clone(), &[("impersonate-user", other)]).await.is_err(),
                "{other} has its own mode"
            );
        }
        let legacy = vec!["impersonate /users///jane", "impersonate /groups///system:masters"];
        assert!(take(legacy, &masters).await.unwrap().user.is_in(user::MASTERS));
    }

    #[tokio::test]
    async fn nodes_and_accounts_have_modes_of_their_own() {
        let account = [("impersonate-user", "system:serviceaccount:a:web")];
        let allowed = vec![
            "impersonate-on:serviceaccount:list *",
            "impersonate:serviceaccount authentication.k8s.io/serviceaccounts//a/web",
        ];
        let found = take(allowed.clone(), &account).await.unwrap();
        let groups = ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"];
        assert_eq!(
            (found.user.groups, found.constraint.as_str()),
            (groups.map(str::to_owned).to_vec(), "impersonate:serviceaccount")
        );
        let more = [account[0], ("impersonate-group", "ops")];
        assert!(take(allowed, &more).await.is_err(), "groups are the server's");
        let allowed =
            vec!["impersonate-on:arbitrary-node:list *", "impersonate:arbitrary-node authentication.k8s.io/nodes///n1"];
        let found = take(allowed, &[("impersonate-user", "system:node:n1")]).await.unwrap();
        assert!(found.user.is_in("system:nodes"));
    }

    #[tokio::test]
    async fn an_agent_acts_as_its_own_node_only() {
        let mut agent = UserInfo::new("system:serviceaccount:a:agent", &[]);
        agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
        let allowed = vec![
            "impersonate-on:associated-node:list *",
            "impersonate:associated-node authentication.k8s.io/nodes///*",
        ];
        let of = async |name: &str, real: &UserInfo| {
            let listed = Listed(allowed.clone(), Mutex::default());
            let request = listing_pods(real.clone());
            impersonated(&headers(&[("impersonate-user", name)]), &request, &listed, &LastModes::default()).await
        };
        let found = of("system:node:n1", &agent).await.unwrap().unwrap();
        assert_eq!(
            (found.user.name.as_str(), found.constraint.as_str()),
            ("system:node:n1", "impersonate:associated-node")
        );
        assert!(of("system:node:n2", &agent).await.is_err(), "another node");
        agent.extra.insert(NODE_NAME.into(), vec!["n1".into(), "n2".into()]);
        assert!(of("system:node:n2", &agent).await.is_err(), "two names are none");
        let person = UserInfo { name: "bob".into(), ..agent };
        assert!(of("system:node:n1", &person).await.is_err(), "no service account");
    }

    #[test]
    fn who_is_somebody_is_told_apart_from_who_is_nobody() {
        let of = |name: &str, groups: &[&str]| complete(name, groups.iter().map(|g| (*g).to_owned()).collect());
        assert_eq!(of("jane", &[]), ["system:authenticated"]);
        assert_eq!(of("system:anonymous", &[]), ["system:unauthenticated"]);
        assert_eq!(of("jane", &["system:unauthenticated"]), ["system:unauthenticated"]);
        let named = wanted(&headers(&[("impersonate-user", "jane")])).unwrap().unwrap();
        assert!(Mode::UserInfo.fits(&named, &UserInfo::default()));
    }
}
