//! Images that nobody uses go when the disk fills up, the one that was used longest ago first.

use crate::stats;
use crate::worker::Shared;
use ironclad_client::events::EventType;
use ironclad_cri::Image;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// From this use of the disk on, in hundredths, images go, until it is below [`LOW`].
pub(crate) const HIGH: u64 = 85;
pub(crate) const LOW: u64 = 80;
/// A disk with that much left is not full, however large it is.
const PLENTY: u64 = 5 << 30;
const PERIOD: Duration = Duration::from_mins(5);
/// No image goes that came later than this.
const YOUNG: Duration = Duration::from_mins(2);

/// When images were seen first and used last.
#[derive(Default)]
pub(crate) struct Uses(Mutex<HashMap<String, (Instant, Instant)>>);

/// Looks after the images until `token` is cancelled.
pub(crate) async fn run(shared: Shared, token: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        free(&shared, false).await;
    }
}

/// Removes images where that is needed, or `all` that nobody uses; whether any went.
pub(crate) async fn free(shared: &Shared, all: bool) -> bool {
    let runtime = &shared.config.runtime;
    let listed = jiff::Timestamp::now();
    let (Ok(images), Ok(containers)) = (runtime.list_images().await, runtime.list_containers(None).await) else {
        return false;
    };
    let used: HashSet<String> = containers
        .into_iter()
        .flat_map(|c| {
            let mounted: Vec<String> =
                c.config.mounts.iter().filter_map(|m| Some(m.image.as_ref()?.0.clone())).collect();
            std::iter::once(c.config.image).chain(mounted)
        })
        .collect();
    shared.pulls.prune(&images, listed);
    shared.uses.look(&images, &used, Instant::now());
    let disk = stats::disk(&shared.config.root_dir);
    let Some(wanted) = (if all { Some(u64::MAX) } else { too_much(disk.capacity, disk.available) }) else {
        return false;
    };
    let mut freed = 0;
    for image in shared.uses.unused(&images, &used, Instant::now()) {
        if freed >= wanted {
            break;
        }
        match runtime.remove_image(&image.id).await {
            Ok(()) => freed += image.size,
            Err(error) => tracing::warn!(%error, image = image.id, "cannot remove an image"),
        }
    }
    if !all && freed < wanted {
        let text = format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found \
             {freed} bytes eligible to free."
        );
        shared.recorder.event_on(
            crate::node::reference(&shared.config),
            EventType::Warning,
            "FreeDiskSpaceFailed",
            text,
        );
    }
    freed > 0
}

/// How much must go.
fn too_much(capacity: u64, available: u64) -> Option<u64> {
    let used = capacity.saturating_sub(available);
    if capacity == 0 || available >= PLENTY || used < capacity / 100 * HIGH {
        return None;
    }
    Some(used - capacity / 100 * LOW)
}

impl Uses {
    fn look(&self, images: &[Image], used: &HashSet<String>, now: Instant) {
        let mut uses = self.0.lock();
        uses.retain(|id, _| images.iter().any(|i| i.id == *id));
        for image in images {
            let entry = uses.entry(image.id.clone()).or_insert((now, now));
            if used.contains(&image.id) {
                entry.1 = now;
            }
        }
    }

    /// Images that may go, in the order in which they do.
    fn unused(&self, images: &[Image], used: &HashSet<String>, now: Instant) -> Vec<Image> {
        let uses = self.0.lock();
        let of = |i: &Image| uses.get(&i.id).copied().unwrap_or((now, now));
        let mut list: Vec<Image> = images
            .iter()
            .filter(|i| !i.pinned && !used.contains(&i.id) && now.duration_since(of(i).0) >= YOUNG)
            .cloned()
            .collect();
        list.sort_by_key(|i| (of(i).1, of(i).0));
        list
    }
}

/// Bytes and inodes below a directory on its own file system.
pub(crate) fn disk_usage(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(top) = std::fs::symlink_metadata(dir) else { return (0, 0) };
    let (mut bytes, mut inodes) = (0, 0);
    let mut queue = vec![dir.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() {
                continue;
            }
            bytes += meta.blocks() * 512;
            inodes += 1;
            if meta.is_dir() {
                queue.push(entry.path());
            }
        }
    }
    (bytes, inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_when_little_is_left_of_all_it_has() {
        let gib = 1_u64 << 30;
        assert_eq!(too_much(100 * gib, 50 * gib), None);
        assert_eq!(too_much(20 * gib, 4 * gib), None);
        assert!(too_much(20 * gib, 2 * gib).is_some_and(|n| n > gib));
    }

    #[test]
    fn the_image_that_was_used_longest_ago_goes_first_and_young_ones_stay() {
        let image = |id: &str| Image { id: id.into(), ..Image::default() };
        let (images, start) = ([image("a"), image("b"), image("c")], Instant::now());
        let uses = Uses::default();
        let used = |ids: &[&str]| ids.iter().map(|i| (*i).to_owned()).collect::<HashSet<String>>();
        uses.look(&images[..2], &used(&["a", "b"]), start);
        uses.look(&images[..2], &used(&["a"]), start + Duration::from_secs(60));
        let late = start + Duration::from_mins(3);
        uses.look(&images, &used(&[]), late);
        let names: Vec<String> = uses.unused(&images, &used(&[]), late).into_iter().map(|i| i.id).collect();
        assert_eq!(names, ["b", "a"]);
    }
}
