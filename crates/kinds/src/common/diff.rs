//! What changed between two values, as the lines of a unified diff of their JSON.

use super::inside::lines;
use ironclad_json::Value;
use std::collections::HashMap;
use std::ops::Range;

/// So many lines stand around a change.
const CONTEXT: usize = 3;
/// Larger comparisons than so many pairs of lines are not made.
const LARGEST: usize = 16 << 20;
/// From so many lines on those that stand everywhere are passed over.
const LONG: usize = 200;

/// The difference between an old and a new value of one of stock's inner types; empty where there is none or it would
/// be too large.
pub(crate) fn unified(old: &Value, new: &Value, of: &str) -> String {
    let (a, b) = (lines(old, of), lines(new, of));
    let steps = compare(&a, &b);
    let mut text = String::new();
    for (from, to) in hunks(&steps) {
        let hunk = &steps[from..to];
        let before = |side: char| steps[..from].iter().filter(|s| s.0 != side).count();
        let count = |side: char| hunk.iter().filter(|s| s.0 != side).count();
        let range = |start: usize, n: usize| match n {
            0 => format!("{start},0"),
            1 => (start + 1).to_string(),
            n => format!("{},{n}", start + 1),
        };
        text += &format!("@@ -{} +{} @@\n", range(before('+'), count('+')), range(before('-'), count('-')));
        for (sign, line) in hunk {
            text.push(*sign);
            text += line;
            text.push('\n');
        }
    }
    text
}

/// Each line of both, kept, gone or come: around the longest block that both have, and so on at both of its sides.
fn compare<'a>(a: &'a [String], b: &'a [String]) -> Vec<(char, &'a str)> {
    if a.len().saturating_mul(b.len()) > LARGEST {
        return Vec::new();
    }
    let mut steps = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    let end = Block { a: a.len(), b: b.len(), size: 0 };
    for block in blocks(a, b).into_iter().chain([end]) {
        steps.extend(a[i..block.a].iter().map(|l| ('-', l.as_str())));
        steps.extend(b[j..block.b].iter().map(|l| ('+', l.as_str())));
        steps.extend(a[block.a..][..block.size].iter().map(|l| (' ', l.as_str())));
        (i, j) = (block.a + block.size, block.b + block.size);
    }
    steps
}

/// Lines that stand in both.
#[derive(Clone, Copy)]
struct Block {
    a: usize,
    b: usize,
    size: usize,
}

/// The blocks that both have, in their order.
fn blocks(a: &[String], b: &[String]) -> Vec<Block> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(j);
    }
    // Of long texts lines that stand everywhere begin no block.
    if b.len() >= LONG {
        places.retain(|_, at| at.len() <= b.len() / 100 + 1);
    }
    let mut found = Vec::new();
    let mut parts = vec![(0..a.len(), 0..b.len())];
    while let Some((x, y)) = parts.pop() {
        let block = longest(a, b, &places, &x, &y);
        if block.size > 0 {
            parts.push((x.start..block.a, y.start..block.b));
            parts.push((block.a + block.size..x.end, block.b + block.size..y.end));
            found.push(block);
        }
    }
    found.sort_unstable_by_key(|block| block.a);
    found
}

/// The longest block of two parts, the first of several; then as far as it goes on with lines that begin none.
fn longest(
    a: &[String],
    b: &[String],
    places: &HashMap<&str, Vec<usize>>,
    x: &Range<usize>,
    y: &Range<usize>,
) -> Block {
    let mut best = Block { a: x.start, b: y.start, size: 0 };
    let mut before: HashMap<usize, usize> = HashMap::new();
    for i in x.clone() {
        let mut ending = HashMap::new();
        for j in places.get(a[i].as_str()).into_iter().flatten().copied().filter(|j| y.contains(j)) {
            let size = j.checked_sub(1).and_then(|j| before.get(&j)).map_or(0, |n| *n) + 1;
            ending.insert(j, size);
            if size > best.size {
                best = Block { a: i + 1 - size, b: j + 1 - size, size };
            }
        }
        before = ending;
    }
    while best.a > x.start && best.b > y.start && a[best.a - 1] == b[best.b - 1] {
        best = Block { a: best.a - 1, b: best.b - 1, size: best.size + 1 };
    }
    while best.a + best.size < x.end && best.b + best.size < y.end && a[best.a + best.size] == b[best.b + best.size] {
        best.size += 1;
    }
    best
}

/// Where the parts with changes begin and end, with their context.
fn hunks(steps: &[(char, &str)]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (i, _) in steps.iter().enumerate().filter(|(_, s)| s.0 != ' ') {
        let (from, to) = (i.saturating_sub(CONTEXT), (i + CONTEXT + 1).min(steps.len()));
        match found.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => found.push((from, to)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn a_change_stands_between_its_neighbours() {
        let (old, new) = (json!({"key": "k", "effect": "e"}), json!({"key": "k", "effect": "f"}));
        let expected = "@@ -1,6 +1,6 @@\n {\n  \"Key\": \"k\",\n  \"Value\": \"\",\n- \"Effect\": \"e\",\n+ \"Effect\": \"f\",\n  \"TimeAdded\": null\n }\n";
        assert_eq!(unified(&old, &new, "Taint"), expected);
        assert_eq!(unified(&old, &old, "Taint"), "");
    }

    #[test]
    fn what_stands_twice_comes_before_the_longer_part_that_stays() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let signs = |a: &str, b: &str| compare(&lines(a), &lines(b)).iter().map(|s| s.0).collect::<String>();
        assert_eq!(signs("[ { x } ] y z", "[ { x } { x } ] y z"), " +++      ");
        assert_eq!(signs("a b", "c d"), "--++");
        assert_eq!(signs("", ""), " ");
    }
}
