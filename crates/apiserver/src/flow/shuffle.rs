//! Shuffle sharding: from the hash of a flow a hand of queues, the same each time, and for two flows seldom the same.

/// The distinct queues out of `queues` that a flow may wait in.
pub(super) fn hand(hash: u64, queues: usize, size: usize) -> Vec<usize> {
    let size = size.min(queues);
    let mut hand: Vec<usize> = Vec::with_capacity(size);
    let mut left = hash;
    for dealt in 0..size {
        let choices = (queues - dealt) as u64;
        let mut card = (left % choices) as usize;
        left /= choices;
        // The n-th of the queues that are not in the hand yet; the hand is kept in order.
        let mut at = 0;
        while at < hand.len() && hand[at] <= card {
            card += 1;
            at += 1;
        }
        hand.insert(at, card);
    }
    hand
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_hand_has_distinct_queues_and_is_always_the_same() {
        for (queues, size) in [(1, 1), (8, 8), (64, 6), (128, 6), (3, 8)] {
            for flow in 0..500u64 {
                let hash = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let hand = hand(hash, queues, size);
                assert_eq!(hand, super::hand(hash, queues, size));
                let distinct: HashSet<_> = hand.iter().copied().collect();
                assert_eq!(distinct.len(), size.min(queues), "{hand:?}");
                assert!(hand.iter().all(|q| *q < queues));
            }
        }
    }

    #[test]
    fn every_queue_gets_its_share_of_the_flows() {
        let mut count = [0u32; 64];
        for flow in 0..6400u64 {
            hand(flow.wrapping_mul(0x9e37_79b9_7f4a_7c15), 64, 6).into_iter().for_each(|q| count[q] += 1);
        }
        assert!(count.iter().all(|c| (450..750).contains(c)), "{count:?}");
    }
}
