//! Who asks, and whether they may: authentication, impersonation, authorization of one request.

use crate::request::Info;
use crate::server::{Connection, Inner, user_in_process};
use http::HeaderMap;
use http::request::Parts;
use ironclad_api::{ApiError, GroupResource, Reason, UserInfo};
use ironclad_auth::{Attributes, Credentials, Decision};

impl Inner {
    /// The user of a request, after impersonation.
    pub(crate) async fn user_of(&self, request: &Parts) -> Result<UserInfo, ApiError> {
        if let Some(user) = user_in_process(request) {
            return Ok(user.clone());
        }
        let connection = request.extensions.get::<Connection>().cloned().unwrap_or_default();
        let (headers, uri) = (&request.headers, &request.uri);
        let credentials = Credentials { certificates: &connection.certificates, headers, uri };
        let user = match self.authenticator.authenticate(credentials).await {
            Ok(Some(found)) => found.user,
            Ok(None) => UserInfo::anonymous(),
            Err(error) => {
                tracing::debug!(%error, "a credential was refused");
                return Err(ApiError::unauthorized());
            }
        };
        self.impersonated(user, headers).await
    }

    async fn impersonated(&self, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
        let all = |name: &str| -> Vec<String> {
            headers.get_all(name).iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect()
        };
        let Some(name) = all("impersonate-user").into_iter().next() else {
            if headers.keys().any(|k| k.as_str().starts_with("impersonate-")) {
                return Err(ApiError::bad_request("requested impersonation without impersonating a user"));
            }
            return Ok(user);
        };
        let groups = all("impersonate-group");
        let account: Option<(String, String)> = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|r| r.split_once(':'))
            .map(|(ns, n)| (ns.to_owned(), n.to_owned()));
        let mut wanted = vec![match &account {
            Some((namespace, name)) => ("serviceaccounts", namespace.clone(), name.clone()),
            None => ("users", String::new(), name.clone()),
        }];
        wanted.extend(groups.iter().map(|g| ("groups", String::new(), g.clone())));
        for (resource, namespace, name) in wanted {
            let attributes = Attributes {
                user: user.clone(),
                verb: "impersonate".into(),
                namespace,
                version: "v1".into(),
                resource: resource.into(),
                name,
                is_resource: true,
                ..Attributes::default()
            };
            self.require(&attributes).await?;
        }
        let mut became = UserInfo::new(&name, &groups.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some((namespace, _)) = &account
            && groups.is_empty()
        {
            became.groups.push("system:serviceaccounts".into());
            became.groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        became.uid = all("impersonate-uid").into_iter().next().unwrap_or_default();
        Ok(became)
    }

    /// Whether a request may go on.
    pub(crate) async fn authorize(&self, user: &UserInfo, info: &Info) -> Result<(), ApiError> {
        let attributes = Attributes {
            user: user.clone(),
            verb: info.verb.clone(),
            namespace: info.namespace.clone(),
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            name: info.name.clone(),
            path: info.path.clone(),
            is_resource: info.is_resource,
            field_selector: info.query.get("fieldSelector").to_owned(),
            label_selector: info.query.get("labelSelector").to_owned(),
        };
        self.require(&attributes).await
    }

    async fn require(&self, attributes: &Attributes) -> Result<(), ApiError> {
        match self.authorizer.authorize(attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
        }
    }
}

/// 403 as stock words it.
fn forbidden(a: &Attributes, reason: &str) -> ApiError {
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !a.is_resource {
        let message = format!("forbidden: User {:?} cannot {} path {:?}{because}", a.user.name, a.verb, a.path);
        return ApiError::new(Reason::Forbidden, message);
    }
    let resource = match a.subresource.is_empty() {
        true => a.resource.clone(),
        false => format!("{}/{}", a.resource, a.subresource),
    };
    let place = match a.namespace.is_empty() {
        true => " at the cluster scope".to_owned(),
        false => format!(" in the namespace {:?}", a.namespace),
    };
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?}{place}{because}",
        a.user.name, a.verb, a.group
    );
    ApiError::forbidden(&GroupResource::new(&a.group, &a.resource), &a.name, why)
}
