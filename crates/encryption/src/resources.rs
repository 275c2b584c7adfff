//! Which resource a key of the store belongs to, and which patterns of a configuration name it.

/// Prefixes of the store with the resource whose objects lie there.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Longest prefix first, so that `/registry/services/specs/` comes before `/registry/services/`.
    known: Vec<(String, String)>,
}

impl Resources {
    /// From pairs of a prefix (`/registry/secrets/`) and a resource (`secrets`, `deployments.apps`).
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut known: Vec<_> = pairs.into_iter().collect();
        known.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        known.dedup();
        Self { known }
    }

    /// The resource of a key, as `plural` or `plural.group`.
    pub(crate) fn of(&self, key: &str) -> Option<String> {
        if let Some((_, resource)) = self.known.iter().find(|(prefix, _)| key.starts_with(prefix.as_str())) {
            return Some(resource.clone());
        }
        // Custom resources lie under `/registry/<group>/<plural>/`.
        let mut parts = key.strip_prefix("/registry/")?.split('/');
        let (group, plural) = (parts.next()?, parts.next()?);
        (group.contains('.') && parts.next().is_some()).then(|| format!("{plural}.{group}"))
    }
}

/// Whether a pattern (`secrets`, `deployments.apps`, `*.apps`, `*.` for the core group, `*.*`) names a resource.
pub(crate) fn fits(pattern: &str, resource: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some("*") => true,
        Some("") => !resource.contains('.'),
        Some(group) => resource.split_once('.').is_some_and(|(_, of)| of == group),
        None => pattern == resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_resources_and_patterns_name_them() {
        let pairs = [("/registry/secrets/", "secrets"), ("/registry/deployments/", "deployments.apps")];
        let resources = Resources::new(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(resources.of("/registry/secrets/default/a").as_deref(), Some("secrets"));
        assert_eq!(resources.of("/registry/acme.com/widgets/default/a").as_deref(), Some("widgets.acme.com"));
        assert_eq!(resources.of("/registry/unknown/a"), None);
        let table = [
            ("secrets", "secrets", true),
            ("secrets", "secrets.acme.com", false),
            ("*.", "secrets", true),
            ("*.", "widgets.acme.com", false),
            ("*.acme.com", "widgets.acme.com", true),
            ("*.com", "widgets.acme.com", false),
            ("*.*", "secrets", true),
            ("*.*", "widgets.acme.com", true),
        ];
        for (pattern, resource, wanted) in table {
            assert_eq!(fits(pattern, resource), wanted, "{pattern} {resource}");
        }
    }
}
