//! Events that are too large lose what was sent and answered; those that are so even then are not kept.

use ironclad_json::{Value, json};

/// How large events may be, in bytes of JSON.
#[derive(Clone, Copy, Debug)]
pub struct Truncate {
    /// One event.
    pub event: usize,
    /// The events of one batch together.
    pub batch: usize,
}

impl Truncate {
    /// What of an event is kept.
    pub(crate) fn event(&self, event: &Value) -> Option<Value> {
        if size(event) <= self.event {
            return Some(event.clone());
        }
        let mut cut = event.clone();
        let fields = cut.as_object_mut()?;
        // Below Request there is nothing to take away.
        if !matches!(event["level"].as_str(), Some("Request" | "RequestResponse")) {
            return None;
        }
        fields.remove("requestObject");
        fields.remove("responseObject");
        if !event["annotations"].is_object() {
            cut["annotations"] = json!({});
        }
        cut["annotations"]["audit.k8s.io/truncated"] = json!("true");
        (size(&cut) <= self.event).then_some(cut)
    }

    /// Parts of a batch, each no larger than a batch may be.
    pub(crate) fn split<T>(&self, batch: Vec<T>, event: impl Fn(&T) -> &Value) -> Vec<Vec<T>> {
        let (mut out, mut total) = (Vec::new(), 0);
        for one in batch {
            let size = size(event(&one));
            if out.is_empty() || total + size > self.batch {
                out.push(Vec::new());
                total = 0;
            }
            total += size;
            if let Some(last) = out.last_mut() {
                last.push(one);
            }
        }
        out
    }
}

/// The size of an event with the line's end behind it.
fn size(event: &Value) -> usize {
    event.to_string().len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_events_lose_their_objects_and_larger_ones_are_dropped() {
        let truncate = Truncate { event: 200, batch: 400 };
        let large = |level: &str, uri: usize, object: usize| json!({"level": level, "requestURI": "u".repeat(uri), "requestObject": "x".repeat(object), "responseObject": {}});
        let small = large("Request", 10, 10);
        assert_eq!(truncate.event(&small), Some(small));
        let cut = truncate.event(&large("RequestResponse", 10, 300)).unwrap();
        assert_eq!(
            cut,
            json!({"level": "RequestResponse", "requestURI": "uuuuuuuuuu", "annotations": {"audit.k8s.io/truncated": "true"}})
        );
        assert_eq!(truncate.event(&large("Request", 300, 10)), None);
        assert_eq!(truncate.event(&large("Metadata", 300, 0)), None);
    }

    #[test]
    fn batches_are_split_by_size() {
        let truncate = Truncate { event: 100, batch: 100 };
        let events: Vec<Value> = (0..5).map(|_| json!("x".repeat(47))).collect();
        let sizes: Vec<usize> = truncate.split(events, |e| e).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }
}
