//! How long expressions take to compile and to evaluate, under stock's names.

use ironclad_api::metrics::{Kind, Metric, Series, page};
use std::sync::{Arc, LazyLock};

const BOUNDS: Kind = Kind::Histogram(&ironclad_api::metrics::USUAL);

const fn times(name: &'static str, help: &'static str) -> Metric {
    Metric { name, stability: "BETA", help, kind: BOUNDS }
}

static COMPILATIONS: Metric = times("apiserver_cel_compilation_duration_seconds", "CEL compilation time in seconds.");
static EVALUATIONS: Metric = times("apiserver_cel_evaluation_duration_seconds", "CEL evaluation time in seconds.");

pub(crate) static COMPILED: LazyLock<Arc<Series>> = LazyLock::new(|| COMPILATIONS.of(&[]));
pub(crate) static EVALUATED: LazyLock<Arc<Series>> = LazyLock::new(|| EVALUATIONS.of(&[]));

/// The page of all of them.
pub fn render() -> String {
    page(&[&COMPILATIONS, &EVALUATIONS], &[])
}
