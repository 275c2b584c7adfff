//! What changed between two values, as the lines of a unified diff of their JSON.

use super::inside::lines;
use ironclad_json::Value;

/// So many lines stand around a change.
const CONTEXT: usize = 3;
/// Larger comparisons than so many pairs of lines are not made.
const LARGEST: usize = 4 << 20;

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

/// Each line of both, kept, gone or come, by the longest common subsequence between what begins and ends alike.
fn compare<'a>(a: &'a [String], b: &'a [String]) -> Vec<(char, &'a str)> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (x, y) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    if x.len().saturating_mul(y.len()) > LARGEST {
        return Vec::new();
    }
    let width = y.len() + 1;
    let mut best = vec![0u32; (x.len() + 1) * width];
    for i in (0..x.len()).rev() {
        for j in (0..y.len()).rev() {
            best[i * width + j] = if x[i] == y[j] {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let mut steps: Vec<(char, &str)> = a[..head].iter().map(|l| (' ', l.as_str())).collect();
    let (mut i, mut j) = (0, 0);
    while i < x.len() || j < y.len() {
        if i < x.len() && j < y.len() && x[i] == y[j] {
            steps.push((' ', &x[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == y.len() || (i < x.len() && best[(i + 1) * width + j] >= best[i * width + j + 1]) {
            steps.push(('-', &x[i]));
            i += 1;
        } else {
            steps.push(('+', &y[j]));
            j += 1;
        }
    }
    steps.extend(a[a.len() - tail..].iter().map(|l| (' ', l.as_str())));
    steps
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
}
