//! Room for recursion: what walks deep trees does so on a stack of its own, whatever stack the caller has left.

use std::thread::{Builder, scope};

/// Enough for the deepest tree that the parser lets through, also without optimisation.
const STACK: usize = 32 << 20;

/// Runs `f` here where it is known to be `shallow`, else on a large stack. None where no thread can be had.
pub(crate) fn run<T: Send>(shallow: bool, f: impl FnOnce() -> T + Send) -> Option<T> {
    if shallow {
        return Some(f());
    }
    scope(|s| {
        let thread = Builder::new().name("cel".to_owned()).stack_size(STACK).spawn_scoped(s, f).ok()?;
        match thread.join() {
            Ok(value) => Some(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
