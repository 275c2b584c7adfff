//! Where the processors' time goes, thread by thread, from what the kernel counts: nothing is sampled and nothing is
//! interrupted. Written in the form of pprof (`profile.proto`), so that its tools read it.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, HashMap};
use std::io::{Result, Write};
use std::time::{Duration, SystemTime};

/// The kernel counts in ticks of 10 ms on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// A thread's time in user mode and in the kernel, in ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    name: String,
    user: u64,
    system: u64,
}

/// What each thread used since it began, by its number.
pub(super) fn usage() -> Result<HashMap<u64, Used>> {
    let mut all = HashMap::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        // A thread may end while it is looked at.
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { continue };
        let number = thread.file_name().to_string_lossy().parse();
        if let (Ok(number), Some(used)) = (number, of_stat(&stat)) {
            all.insert(number, used);
        }
    }
    Ok(all)
}

/// The names of the threads and how many bear them.
fn threads() -> Result<BTreeMap<String, u64>> {
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    usage()?.into_values().for_each(|t| *names.entry(t.name).or_default() += 1);
    Ok(names)
}

/// Counts of one moment: what is counted, and values by names.
pub(super) struct Counts {
    types: &'static [(&'static str, &'static str)],
    values: Vec<(String, Vec<u64>)>,
}

/// Memory that belongs to no file, which is what the program allocated and has not given back.
fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    Ok(kilobytes.unwrap_or(0) << 10)
}

/// What a profile of counts holds.
pub(super) fn counts(name: &str) -> Result<Counts> {
    const MEMORY: &[(&str, &str)] =
        &[("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
    const WAITS: &[(&str, &str)] = &[("contentions", "count"), ("delay", "nanoseconds")];
    let each = |names: BTreeMap<String, u64>| names.into_iter().map(|(name, count)| (name, vec![count])).collect();
    Ok(match name {
        "allocs" | "heap" => {
            let bytes = memory()?;
            Counts { types: MEMORY, values: vec![("anonymous memory".to_owned(), vec![0, bytes, 0, bytes])] }
        }
        "goroutine" => {
            let mut values: Vec<(String, Vec<u64>)> = each(threads()?);
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                values.insert(0, ("tasks".to_owned(), vec![runtime.metrics().num_alive_tasks() as u64]));
            }
            Counts { types: &[("goroutine", "count")], values }
        }
        "threadcreate" => Counts { types: &[("threadcreate", "count")], values: each(threads()?) },
        _ => Counts { types: WAITS, values: Vec::new() },
    })
}

impl Counts {
    /// For people.
    pub(super) fn text(&self, name: &str) -> String {
        let total: u64 = self.values.iter().filter_map(|(_, v)| v.last()).sum();
        let head = format!("{name} profile: total {total}\n");
        self.values
            .iter()
            .fold(head, |out, (name, values)| format!("{out}{} {name}\n", values.last().copied().unwrap_or_default()))
    }

    /// For pprof.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut out = Profile::default();
        for (kind, unit) in self.types {
            let fields = [(1, out.text(kind)), (2, out.text(unit))];
            bytes(&mut out.body, 1, &message(&fields));
        }
        for (name, values) in &self.values {
            let mut sample = Vec::new();
            bytes(&mut sample, 1, &packed(&[out.location(name)]));
            bytes(&mut sample, 2, &packed(values));
            bytes(&mut out.body, 2, &sample);
        }
        out.finish(SystemTime::now())
    }
}

fn of_stat(stat: &str) -> Option<Used> {
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Used { name, user, system })
}

/// What was used between two looks, by the names of threads.
pub(super) fn between(before: &HashMap<u64, Used>, after: &HashMap<u64, Used>) -> BTreeMap<String, (u64, u64)> {
    let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (number, now) in after {
        let (user, system) = before.get(number).map_or((0, 0), |b| (b.user, b.system));
        let (user, system) = (now.user.saturating_sub(user), now.system.saturating_sub(system));
        if user + system > 0 {
            let sum = all.entry(now.name.clone()).or_default();
            *sum = (sum.0 + user, sum.1 + system);
        }
    }
    all
}

/// The profile as pprof reads it: each stack is a mode of a thread.
pub(super) fn encode(used: &BTreeMap<String, (u64, u64)>, began: SystemTime, lasted: Duration) -> Result<Vec<u8>> {
    let mut out = Profile::default();
    let value = |out: &mut Profile, kind: &str, unit: &str| {
        let fields = [(1, out.text(kind)), (2, out.text(unit))];
        message(&fields)
    };
    for (kind, unit) in [("samples", "count"), ("cpu", "nanoseconds")] {
        let ty = value(&mut out, kind, unit);
        bytes(&mut out.body, 1, &ty);
    }
    for (name, (user, system)) in used {
        let thread = out.location(name);
        for (mode, ticks) in [("user", *user), ("system", *system)] {
            if ticks > 0 {
                let mode = out.location(mode);
                let mut sample = Vec::new();
                bytes(&mut sample, 1, &packed(&[mode, thread]));
                bytes(&mut sample, 2, &packed(&[ticks, ticks * TICK.as_nanos() as u64]));
                bytes(&mut out.body, 2, &sample);
            }
        }
    }
    let period = value(&mut out, "cpu", "nanoseconds");
    number(&mut out.body, 10, lasted.as_nanos() as u64);
    bytes(&mut out.body, 11, &period);
    number(&mut out.body, 12, TICK.as_nanos() as u64);
    out.finish(began)
}

/// A profile that grows.
#[derive(Default)]
struct Profile {
    body: Vec<u8>,
    /// Texts by their places in the table, which begins with 1.
    texts: HashMap<String, u64>,
    locations: HashMap<String, u64>,
}

impl Profile {
    fn text(&mut self, text: &str) -> u64 {
        let next = self.texts.len() as u64 + 1;
        *self.texts.entry(text.to_owned()).or_insert(next)
    }

    /// The number of a place with one function of this name.
    fn location(&mut self, name: &str) -> u64 {
        if let Some(known) = self.locations.get(name) {
            return *known;
        }
        let (id, text) = (self.locations.len() as u64 + 1, self.text(name));
        let function = message(&[(1, id), (2, text), (3, text)]);
        let line = message(&[(1, id)]);
        let mut location = message(&[(1, id)]);
        bytes(&mut location, 4, &line);
        bytes(&mut self.body, 4, &location);
        bytes(&mut self.body, 5, &function);
        self.locations.insert(name.to_owned(), id);
        id
    }

    /// The whole, packed, with the time at which it began.
    fn finish(mut self, began: SystemTime) -> Result<Vec<u8>> {
        let mut sorted: Vec<(&String, &u64)> = self.texts.iter().collect();
        sorted.sort_by_key(|(_, at)| **at);
        // The first text is the empty one.
        bytes(&mut self.body, 6, b"");
        sorted.iter().for_each(|(text, _)| bytes(&mut self.body, 6, text.as_bytes()));
        let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        number(&mut self.body, 9, began.as_nanos() as u64);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&self.body)?;
        packed.finish()
    }
}

fn message(fields: &[(u32, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(tag, value)| number(&mut out, *tag, *value));
    out
}

fn packed(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|v| varint(&mut out, *v));
    out
}

fn number(out: &mut Vec<u8>, tag: u32, value: u64) {
    varint(out, u64::from(tag << 3));
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    varint(out, u64::from(tag << 3 | 2));
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_be_called_anything() {
        let stat = "7 (tokio (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 12 3 0 0 20 0 1 0";
        assert_eq!(of_stat(stat), Some(Used { name: "tokio (a) b".to_owned(), user: 12, system: 3 }));
    }

    #[test]
    fn only_what_was_used_meanwhile_counts() {
        let used = |name: &str, user, system| Used { name: name.to_owned(), user, system };
        let before = HashMap::from([(1, used("a", 10, 1)), (2, used("b", 5, 5))]);
        let after = HashMap::from([(1, used("a", 14, 1)), (2, used("b", 5, 5)), (3, used("a", 1, 2))]);
        assert_eq!(between(&before, &after), BTreeMap::from([("a".to_owned(), (5, 2))]));
    }

    #[test]
    fn own_work_is_seen() {
        let before = usage().unwrap();
        let end = std::time::Instant::now() + Duration::from_millis(300);
        let mut sum = 0u64;
        while std::time::Instant::now() < end {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert_ne!(sum, 1);
        assert!(!between(&before, &usage().unwrap()).is_empty());
    }
}
