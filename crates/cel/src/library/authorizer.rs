//! Authorization checks: expressions build them, the activation answers them.

use super::Func;
use super::opaque::Opaque;
use crate::error::Error;
use crate::value::Val;
use std::sync::Arc;

/// Who asks, and for the API group where one was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Builder {
    /// Namespace and name of a service account that is asked about instead of the user.
    pub account: Option<(String, String)>,
    /// The API group.
    pub group: Option<String>,
}

/// What may be done?
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the library's functions")]
pub struct Check {
    pub account: Option<(String, String)>,
    /// A path that is no resource; the other fields are then empty.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
    pub verb: String,
}

/// The answer to a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while it was decided, where something did.
    pub error: Option<String>,
}

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "path" => path,
        "group" => group,
        "serviceAccount" => account,
        "resource" => resource,
        "subresource" => |a| refine(a, |c, text| c.subresource = text),
        "namespace" => |a| refine(a, |c, text| c.namespace = text),
        "name" => |a| refine(a, |c, text| c.name = text),
        "fieldSelector" => |a| refine(a, |c, text| c.field_selector = text),
        "labelSelector" => |a| refine(a, |c, text| c.label_selector = text),
        "check" => check,
        "allowed" => |a| decision(a).map(|d| Val::Bool(d.allowed)),
        "reason" => |a| decision(a).map(|d| Val::text(d.reason.as_str())),
        "error" => |a| decision(a).map(|d| Val::text(d.error.as_deref().unwrap_or_default())),
        "errored" => |a| decision(a).map(|d| Val::Bool(d.error.is_some())),
        _ => return None,
    })
}

fn parts<'v>(args: &'v [Val<'_>]) -> Result<(&'v Builder, &'v str), Error> {
    match args {
        [Val::Opaque(Opaque::Builder(builder)), Val::Text(text)] => Ok((builder, text)),
        _ => Err(Error::overload()),
    }
}

fn checking<'a>(check: Check) -> Val<'a> {
    Val::Opaque(Opaque::Check(Arc::new(check)))
}

fn path<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (builder, path) = parts(args)?;
    if path.trim().is_empty() {
        return Err(Error::new("path must not be empty"));
    }
    Ok(checking(Check { account: builder.account.clone(), path: Some(path.to_owned()), ..Check::default() }))
}

fn group<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (builder, group) = parts(args)?;
    let builder = Builder { group: Some(group.to_owned()), ..builder.clone() };
    Ok(Val::Opaque(Opaque::Builder(Arc::new(builder))))
}

fn account<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let [Val::Opaque(Opaque::Builder(builder)), Val::Text(namespace), Val::Text(name)] = args else {
        return Err(Error::overload());
    };
    if !ironclad_api::names::dns1123_subdomain(name).is_empty() {
        return Err(Error::new("Invalid service account name"));
    }
    if !ironclad_api::names::dns1123_label(namespace).is_empty() {
        return Err(Error::new("Invalid service account namespace"));
    }
    let builder = Builder { account: Some((namespace.to_string(), name.to_string())), ..(**builder).clone() };
    Ok(Val::Opaque(Opaque::Builder(Arc::new(builder))))
}

fn resource<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (builder, resource) = parts(args)?;
    if resource.trim().is_empty() {
        return Err(Error::new("resource must not be empty"));
    }
    let group = builder.group.clone().unwrap_or_default();
    Ok(checking(Check { account: builder.account.clone(), group, resource: resource.to_owned(), ..Check::default() }))
}

fn refine<'a>(args: &[Val<'a>], set: fn(&mut Check, String)) -> Result<Val<'a>, Error> {
    let [Val::Opaque(Opaque::Check(check)), Val::Text(text)] = args else { return Err(Error::overload()) };
    let mut check = (**check).clone();
    set(&mut check, text.to_string());
    Ok(checking(check))
}

/// Always asks; the evaluator looks for the answer in the activation.
fn check<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let [Val::Opaque(Opaque::Check(check)), Val::Text(verb)] = args else { return Err(Error::overload()) };
    Err(Error::Pending(Box::new(Check { verb: verb.to_string(), ..(**check).clone() })))
}

fn decision<'v>(args: &'v [Val<'_>]) -> Result<&'v Decision, Error> {
    match args {
        [Val::Opaque(Opaque::Decision(decision))] => Ok(decision),
        _ => Err(Error::overload()),
    }
}
