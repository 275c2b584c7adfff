//! Every parser over its seeds and over thousands of changes of them. `FUZZ_ROUNDS` and `FUZZ_SEED` make more of it.

use ironclad_hostile::{Mutator, TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const ROUNDS: usize = 20_000;
/// What a worker of the server has.
const STACK: usize = 2 << 20;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

fn directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name)
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let at = directory(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&at)
        .unwrap_or_else(|e| panic!("{}: {e}", at.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

fn feed(target: &Target, data: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err() {
        let shown = String::from_utf8_lossy(data);
        panic!("{} fails with {} bytes {}: {shown}", target.name, data.len(), data.escape_ascii());
    }
}

fn hammer(target: &'static Target) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    seeds.iter().for_each(|seed| feed(target, seed));
    let mut mutator = Mutator::new(number("FUZZ_SEED", 1) as u64, target.words);
    for _ in 0..number("FUZZ_ROUNDS", ROUNDS) {
        feed(target, &mutator.next(&seeds));
    }
}

#[test]
fn every_parser_survives_its_seeds_and_what_is_made_of_them() {
    let only = std::env::var("FUZZ_TARGET").ok();
    let chosen = TARGETS.iter().filter(|t| only.as_deref().is_none_or(|o| o == t.name));
    let threads: Vec<_> = chosen
        .map(|target| {
            let builder = std::thread::Builder::new().name(target.name.to_owned()).stack_size(STACK);
            builder.spawn(move || hammer(target)).unwrap()
        })
        .collect();
    let failed: Vec<String> = threads
        .into_iter()
        .filter_map(|t| t.thread().name().map(str::to_owned).filter(|_| t.join().is_err()))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_fuzz_target_is_in_the_list_and_every_parser_has_one() {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(at)
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut listed: Vec<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}
