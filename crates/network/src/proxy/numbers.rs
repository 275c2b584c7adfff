//! Small numbers for the ports of Services: what the maps know them by.
//!
//! Invariant: two ports never have one number at the same time; a number that was given back is used again.

use std::collections::HashMap;

/// Numbers by the name of what they stand for.
#[derive(Default)]
pub(super) struct Numbers {
    known: HashMap<String, u32>,
    free: Vec<u32>,
}

impl Numbers {
    /// The number of a name, a new one if it has none.
    pub(super) fn take(&mut self, name: &str) -> u32 {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        let number = self.free.pop().unwrap_or(self.known.len() as u32);
        self.known.insert(name.to_owned(), number);
        number
    }

    /// Gives a name's number back.
    pub(super) fn release(&mut self, name: &str) {
        self.free.extend(self.known.remove(name));
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn numbers_are_used_again_and_never_twice() {
        let mut numbers = Numbers::default();
        assert_eq!((numbers.take("a"), numbers.take("b"), numbers.take("a")), (0, 1, 0));
        numbers.release("a");
        assert_eq!((numbers.take("c"), numbers.take("d"), numbers.take("a")), (0, 2, 3));
    }
}
