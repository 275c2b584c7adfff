//! Who makes a request: what authentication found out, what authorization and admission look at.

use std::collections::BTreeMap;

/// An authenticated user, as in `authentication.k8s.io/v1 UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// User name, for example `system:node:a` or `system:serviceaccount:default:web`.
    pub name: String,
    /// Unique over time, where the authenticator knows one.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// What else the authenticator found out.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Everybody who was authenticated is in this group.
pub const ALL_AUTHENTICATED: &str = "system:authenticated";
/// Who was not authenticated is in this group.
pub const ALL_UNAUTHENTICATED: &str = "system:unauthenticated";
/// Members may do everything; authorization is not asked.
pub const MASTERS: &str = "system:masters";
/// Name of a request without credentials.
pub const ANONYMOUS: &str = "system:anonymous";

impl UserInfo {
    /// A user with these groups, and with `system:authenticated`.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        if name != ANONYMOUS && !groups.iter().any(|g| g == ALL_AUTHENTICATED) {
            groups.push(ALL_AUTHENTICATED.to_owned());
        }
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// Who sends no credentials.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, &[ALL_UNAUTHENTICATED])
    }

    /// Whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
