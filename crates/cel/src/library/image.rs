//! References to container images.

use super::Func;
use super::opaque::Opaque;
use super::strings::one;
use crate::error::Error;
use crate::value::Val;
use std::fmt;
use std::sync::Arc;

/// `registry/repository:tag@digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    registry: String,
    repository: String,
    tag: String,
    digest: String,
}

impl Image {
    fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = text.split_once('@').map_or((text, ""), |(r, d)| (r, d));
        if text.contains('@') {
            let (algorithm, hex) = digest.split_once(':')?;
            let good = !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
            good.then_some(())?;
        }
        let slash = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = rest[slash..].rfind(':').map_or((rest, ""), |i| (&rest[..slash + i], &rest[slash + i + 1..]));
        let first = name.split('/').next().unwrap_or_default();
        let is_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
        let (registry, path) = if is_host { name.split_once('/')? } else { ("docker.io", name) };
        let part = |p: &str| {
            !p.is_empty()
                && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
                && p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        let tag_good = tag.len() <= 128 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let tag_given = name.len() < rest.len();
        if !path.split('/').all(part) || !tag_good || (tag_given && tag.is_empty()) || name.len() > 255 {
            return None;
        }
        let repository =
            if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let tag = if tag.is_empty() && digest.is_empty() { "latest" } else { tag };
        Some(Self { registry: registry.into(), repository, tag: tag.into(), digest: digest.into() })
    }

    fn identifier(&self) -> &str {
        if self.digest.is_empty() { &self.tag } else { &self.digest }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        if !self.digest.is_empty() {
            write!(f, "@{}", self.digest)?;
        }
        Ok(())
    }
}

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "image" => |a| {
            let text = one(a)?;
            let why = || {
                Error::new(format!(
                    "image parse error during conversion from string: could not parse reference: {text}"
                ))
            };
            Ok(Val::Opaque(Opaque::Image(Arc::new(Image::parse(text).ok_or_else(why)?))))
        },
        "isImage" => |a| Ok(Val::Bool(Image::parse(one(a)?).is_some())),
        "containsDigest" => |a| of(a).map(|i| Val::Bool(!i.digest.is_empty())),
        "registry" => |a| of(a).map(|i| Val::text(i.registry.as_str())),
        "repository" => |a| of(a).map(|i| Val::text(i.repository.as_str())),
        "identifier" => |a| of(a).map(|i| Val::text(i.identifier())),
        "tag" => |a| of(a).map(|i| Val::text(i.tag.as_str())),
        "digest" => |a| of(a).map(|i| Val::text(i.digest.as_str())),
        _ => return None,
    })
}

fn of<'v>(args: &'v [Val<'_>]) -> Result<&'v Image, Error> {
    match args {
        [Val::Opaque(Opaque::Image(image))] => Ok(image),
        _ => Err(Error::overload()),
    }
}
