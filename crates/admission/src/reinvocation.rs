//! Calling mutating plugins again when a later one changed what an earlier one saw.
//!
//! Invariant: the chain runs at most twice for one write.

use ironclad_json::Value;
use std::collections::{HashMap, HashSet};

/// How far the mutation of one write has come.
#[derive(Clone, Debug, Default)]
pub struct Reinvocation {
    /// The chain runs for the second time.
    second: bool,
    /// Something was changed that an earlier plugin may want to see.
    needed: bool,
    /// Who was asked and wants to be asked again when needed.
    asked: HashSet<String>,
    /// Who is to be asked again.
    wanted: HashSet<String>,
    /// The object was patched before.
    patched: bool,
    /// What each plugin left behind.
    left: HashMap<&'static str, Option<Value>>,
}

impl Reinvocation {
    /// A plugin begins. Says whether it is to ask only those that want to be asked again.
    pub(crate) fn begin(&mut self, plugin: &'static str, object: Option<&Value>) -> bool {
        let changed = self.left.get(plugin).is_some_and(|left| left.as_ref() != object);
        // Somebody else changed the object since.
        if self.second && changed {
            self.want_all();
        }
        self.second
    }

    /// The number of the run, from zero.
    pub(crate) fn round(&self) -> u8 {
        u8::from(self.second)
    }

    /// Whether somebody is to be asked in the second run.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.wanted.contains(id)
    }

    /// Somebody was asked who wants to see later changes.
    pub(crate) fn asked(&mut self, id: &str) {
        self.asked.insert(id.to_owned());
    }

    /// The object was changed.
    pub(crate) fn changed(&mut self) {
        self.needed = true;
        self.want_all();
    }

    /// Whether nobody patched the object before; asked when somebody does.
    pub(crate) fn first_patch(&mut self) -> bool {
        !std::mem::replace(&mut self.patched, true)
    }

    /// A plugin ends. What it leaves is kept only where somebody may want to be asked again.
    pub(crate) fn end(&mut self, plugin: &'static str, object: Option<&Value>) {
        if !self.asked.is_empty() {
            self.left.insert(plugin, object.cloned());
        }
    }

    /// Whether the chain is to run again; true at most once.
    pub(crate) fn again(&mut self) -> bool {
        let again = self.needed && !self.second;
        self.second |= again;
        again
    }

    fn want_all(&mut self) {
        self.wanted.extend(self.asked.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn an_earlier_webhook_is_asked_again_when_a_later_one_changed_the_object() {
        let mut run = Reinvocation::default();
        assert!(!run.begin("webhooks", Some(&json!(1))));
        run.asked("first");
        run.changed();
        run.asked("second");
        run.end("webhooks", Some(&json!(2)));
        assert!(run.again());
        assert!(run.begin("webhooks", Some(&json!(2))));
        assert!(run.wants("first") && !run.wants("second"));
        assert!(!run.again());
    }

    #[test]
    fn a_change_by_the_server_itself_wakes_everybody() {
        let mut run = Reinvocation::default();
        run.begin("webhooks", None);
        run.changed();
        run.asked("only");
        run.end("webhooks", Some(&json!(1)));
        assert!(run.again());
        assert!(run.begin("webhooks", Some(&json!(2))));
        assert!(run.wants("only"));
    }
}
