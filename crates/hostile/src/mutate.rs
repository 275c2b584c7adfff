//! Changes seeds as a fuzzer does, the same way each time: a stable toolchain has no coverage to be led by.

const LONGEST: usize = 8 * 1024;
/// Numbers at which arithmetic breaks.
const EDGES: &[&str] = &[
    "0",
    "-1",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e309",
];

/// A source of changed inputs that depends on its number alone.
pub struct Mutator {
    random: fastrand::Rng,
    words: &'static [&'static str],
}

impl Mutator {
    /// A mutator that inserts `words` besides bytes.
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), words }
    }

    /// An input made of one seed, or of two.
    pub fn next(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = match seeds.is_empty() {
            true => Vec::new(),
            false => seeds[self.random.usize(..seeds.len())].clone(),
        };
        for _ in 0..=self.random.usize(..8) {
            self.change(&mut data, seeds);
        }
        data.truncate(LONGEST);
        data
    }

    fn change(&mut self, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.random.usize(..=data.len());
        let until = at + self.random.usize(..=(data.len() - at).min(16));
        match self.random.u8(..9) {
            0 if at < data.len() => data[at] ^= 1 << self.random.u8(..8),
            1 if at < data.len() => data[at] = self.random.u8(..),
            2 => data.insert(at, self.random.u8(..)),
            3 => drop(data.drain(at..until)),
            4 => {
                let part = data[at..until].to_vec();
                let times = self.random.usize(1..64);
                drop(data.splice(at..at, part.repeat(times)));
            }
            5 => self.insert(data, at, until),
            6 => data.truncate(at),
            7 if !seeds.is_empty() => {
                let other = &seeds[self.random.usize(..seeds.len())];
                let from = self.random.usize(..=other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ => {
                let edge = EDGES[self.random.usize(..EDGES.len())];
                drop(data.splice(at..until, edge.bytes()));
            }
        }
    }

    /// Puts a word in the place of some bytes; latin letters of it stand for bytes.
    fn insert(&mut self, data: &mut Vec<u8>, at: usize, until: usize) {
        if self.words.is_empty() {
            return;
        }
        let word = self.words[self.random.usize(..self.words.len())];
        let bytes: Vec<u8> = match word.chars().all(|c| u32::from(c) < 256) {
            true => word.chars().map(|c| c as u8).collect(),
            false => word.bytes().collect(),
        };
        let end = if self.random.bool() { at } else { until };
        drop(data.splice(at..end, bytes));
    }
}
