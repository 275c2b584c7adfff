//! What each plugin of admission took. Every write passes them all, so a series is found by places alone.

use super::family::{Histogram, head};
use super::{ADMISSION, admission};
use ironclad_admission::{Operation, Step};
use std::sync::OnceLock;
use std::time::Duration;

const OPERATIONS: [Operation; 4] = [Operation::Connect, Operation::Create, Operation::Delete, Operation::Update];
const STEPS: [Step; 2] = [Step::Admit, Step::Validate];
const SERIES: usize = OPERATIONS.len() * 2 * STEPS.len();

/// The series of one plugin, each made when it is first needed.
type Series = [OnceLock<Box<Histogram>>; SERIES];

#[derive(Default)]
pub(crate) struct Plugins(OnceLock<Vec<(&'static str, Series)>>);

fn place(operation: Operation, refused: bool, step: Step) -> usize {
    let operation = match operation {
        Operation::Connect => 0,
        Operation::Create => 1,
        Operation::Delete => 2,
        Operation::Update => 3,
    };
    (operation * 2 + usize::from(refused)) * 2 + usize::from(step == Step::Validate)
}

impl Plugins {
    /// Learns the names of the chain's plugins by their places, once.
    pub(crate) fn name(&self, names: impl Iterator<Item = &'static str>) {
        self.0.get_or_init(|| names.map(|name| (name, Series::default())).collect());
    }

    /// The plugin at this place did a step.
    pub(crate) fn record(&self, at: usize, step: Step, operation: Operation, refused: bool, took: Duration) {
        if let Some((_, series)) = self.0.get().and_then(|plugins| plugins.get(at)) {
            series[place(operation, refused, step)].get_or_init(Default::default).record(&ADMISSION, took);
        }
    }

    pub(crate) fn render(&self, out: &mut String) {
        let name = "apiserver_admission_controller_admission_duration_seconds";
        let help = "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).";
        head(out, name, "histogram", "STABLE", help);
        for (plugin, series) in self.0.get().into_iter().flatten() {
            for operation in OPERATIONS {
                for refused in [false, true] {
                    for step in STEPS {
                        let Some(histogram) = series[place(operation, refused, step)].get() else { continue };
                        let labels = admission(plugin, operation.as_str(), step.as_str(), refused);
                        histogram.write(out, name, &labels, &ADMISSION);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_a_place_of_its_own() {
        let mut places: Vec<usize> = OPERATIONS
            .iter()
            .flat_map(|o| STEPS.iter().flat_map(|s| [false, true].map(|refused| place(*o, refused, *s))))
            .collect();
        places.sort_unstable();
        assert_eq!(places, (0..SERIES).collect::<Vec<_>>());
    }

    #[test]
    fn a_step_is_shown_under_the_name_at_its_place() {
        let plugins = Plugins::default();
        plugins.name(["Priority", "ResourceQuota"].into_iter());
        plugins.record(1, Step::Validate, Operation::Create, true, Duration::from_millis(7));
        let mut out = String::new();
        plugins.render(&mut out);
        let labels = r#"{name="ResourceQuota",operation="CREATE",rejected="true",type="validate"}"#;
        let want = format!("apiserver_admission_controller_admission_duration_seconds_count{labels} 1");
        assert!(out.contains(&want), "{out}");
        assert!(!out.contains("Priority"), "{out}");
    }
}
