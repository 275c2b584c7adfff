//! Following the objects of one resource.

use futures::StreamExt;
use ironclad_api::GroupResource;
use ironclad_api::source::{Change, Source};
use tokio_util::sync::CancellationToken;

/// Hands every change of a resource to `take`, in order, until `token` is cancelled or the source ends.
pub(crate) fn follow(
    source: &dyn Source,
    resource: &GroupResource,
    token: &CancellationToken,
    mut take: impl FnMut(Change) + Send + 'static,
) {
    let mut changes = source.subscribe(resource);
    let token = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                change = changes.next() => match change {
                    Some(change) => take(change),
                    None => return,
                },
            }
        }
    });
}
