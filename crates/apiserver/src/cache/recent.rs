//! The objects that parts of the server looked at last, so that each look at the same namespace need not decode it.
//!
//! Invariant: what is held is bounded by number and by size.

use ironclad_json::Value;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many objects are held.
const HELD: usize = 32;
/// None that is larger than this, encoded.
const LARGEST: usize = 8 << 10;

#[derive(Default)]
pub(crate) struct Recent(Mutex<VecDeque<Arc<Value>>>);

impl Recent {
    /// Holds an object that was decoded of so many bytes.
    pub(crate) fn hold(&self, value: &Arc<Value>, bytes: usize) {
        if bytes > LARGEST {
            return;
        }
        let mut held = self.0.lock();
        let old = if held.len() < HELD { None } else { held.pop_front() };
        held.push_back(value.clone());
        drop(held);
        // Outside of the lock: it may be the last that holds it.
        drop(old);
    }
}
