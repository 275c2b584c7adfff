//! The functions of the language and of Kubernetes' libraries, one file for each library.
//!
//! Invariant: a function depends on its arguments only; what it costs is counted by the caller.

pub(crate) mod authorizer;
mod convert;
mod format;
mod image;
mod lists;
mod network;
pub(crate) mod opaque;
pub(crate) mod operators;
mod quantity;
pub(crate) mod regex;
mod semver;
mod strings;
pub(crate) mod time;
pub(crate) mod url;

use crate::error::Error;
use crate::value::Val;

/// What carries out a call; the receiver is the first argument.
pub(crate) type Func = for<'a> fn(&[Val<'a>]) -> Result<Val<'a>, Error>;

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<Func> {
    operators::find(name)
        .or_else(|| convert::find(name))
        .or_else(|| strings::find(name))
        .or_else(|| lists::find(name))
        .or_else(|| regex::find(name))
        .or_else(|| time::find(name))
        .or_else(|| url::find(name))
        .or_else(|| network::find(name))
        .or_else(|| quantity::find(name))
        .or_else(|| semver::find(name))
        .or_else(|| format::find(name))
        .or_else(|| image::find(name))
        .or_else(|| authorizer::find(name))
}
