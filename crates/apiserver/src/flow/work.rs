//! How much work a request is, with stock's numbers: seats while it is served, and for a write seats for as long as the
//! watchers of its resource take to get the event.

use std::time::Duration;

const BYTES_PER_SEAT: usize = 100_000;
/// A list is streamed out of the cache: no more than this lies in memory at once.
const MOST_BYTES: usize = 1_000_000;
const WATCHES_PER_SEAT: usize = 10;
/// How long an event keeps one seat busy for so many watchers.
const EVENT: Duration = Duration::from_millis(5);
/// The most seats of a list and of a write.
const MOST_OF_LIST: u32 = 100;
const MOST_OF_WRITE: u32 = 10;

/// The work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Seats that it takes.
    pub(crate) seats: u32,
    /// How long it keeps them after its end.
    pub(crate) after: Duration,
    /// For a write: who gets its event.
    pub(crate) watchers: Option<usize>,
}

impl Work {
    pub(crate) const ONE: Self = Self { seats: 1, after: Duration::ZERO, watchers: None };

    /// A list of so many objects that take so many bytes together. `most` is what one request of its level may take.
    pub(crate) fn of_list(objects: usize, bytes: usize, limit: Option<usize>, most: u32) -> Self {
        let read = limit.map_or(objects, |limit| objects.min(limit));
        let memory = (bytes / objects.max(1)).saturating_mul(read).min(MOST_BYTES);
        let seats = memory.div_ceil(BYTES_PER_SEAT).max(1) as u32;
        Self { seats: seats.min(most.clamp(1, MOST_OF_LIST)), ..Self::ONE }
    }

    /// A write that so many watchers see. Where fewer seats than the watchers deserve may be taken, they are kept longer.
    pub(crate) fn of_write(watchers: usize, most: u32) -> Self {
        if watchers < WATCHES_PER_SEAT {
            return Self { watchers: Some(watchers), ..Self::ONE };
        }
        let deserved = watchers.div_ceil(WATCHES_PER_SEAT) as u32;
        let seats = deserved.min(most.clamp(1, MOST_OF_WRITE));
        let after = EVENT.saturating_mul(deserved).checked_div(seats).unwrap_or_default();
        Self { seats, after, watchers: Some(watchers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_read() {
        let table = [
            (0, 0, None, 100, 1),
            (10, 1_000, None, 100, 1),
            (100, 250_000, None, 100, 3),
            (100, 250_000, Some(10), 100, 1),
            (10_000, 20_000_000, None, 100, 10),
            (10_000, 20_000_000, None, 4, 4),
            (10_000, 20_000_000, None, 0, 1),
        ];
        for (objects, bytes, limit, most, seats) in table {
            let work = Work::of_list(objects, bytes, limit, most);
            assert_eq!(work, Work { seats, ..Work::ONE }, "{objects} {bytes} {limit:?} {most}");
        }
    }

    #[test]
    fn writes_work_for_their_watchers_whatever_seats_there_are() {
        let table = [
            (0, 100, 1, 0),
            (9, 100, 1, 0),
            (10, 100, 1, 5),
            (45, 100, 5, 5),
            (1_000, 100, 10, 50),
            (1_000, 2, 2, 250),
        ];
        for (watchers, most, seats, after) in table {
            let work = Work::of_write(watchers, most);
            let after = Duration::from_millis(after);
            assert_eq!(work, Work { seats, after, watchers: Some(watchers) }, "{watchers} {most}");
        }
    }
}
