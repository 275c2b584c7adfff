//! The table that is printed: what, how much, and how it compares with the stock server on the same machine.

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    value: String,
    stock: String,
    ratio: Option<f64>,
}

impl Report {
    /// A rate: more is better. `note` says at what latency or size.
    pub(crate) fn rate(&mut self, what: &str, value: f64, unit: &str, stock: Option<f64>, note: &str) {
        self.add(what, value, unit, stock, stock.map(|s| value / s), note);
    }

    /// A cost: less is better.
    pub(crate) fn cost(&mut self, what: &str, value: f64, unit: &str, stock: Option<f64>, note: &str) {
        self.add(what, value, unit, stock, stock.map(|s| s / value), note);
    }

    fn add(&mut self, what: &str, value: f64, unit: &str, stock: Option<f64>, ratio: Option<f64>, note: &str) {
        let number = |v: f64| if v >= 100.0 { format!("{v:.0} {unit}") } else { format!("{v:.2} {unit}") };
        let shown = if note.is_empty() { number(value) } else { format!("{} ({note})", number(value)) };
        println!("{what}: {shown}");
        let row = Row { what: what.to_owned(), value: shown, stock: stock.map(number).unwrap_or_default(), ratio };
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("?");
        println!("\n{build} build, {cores} cores for server and clients together, load average {load}\n");
        println!("| what | here | stock 1.20, etcd 3.4 | times better |\n|---|---|---|---|");
        for row in &self.rows {
            let ratio = row.ratio.map(|r| format!("{r:.1}")).unwrap_or_default();
            println!("| {} | {} | {} | {ratio} |", row.what, row.value, row.stock);
        }
    }
}

/// The value below which so many percent lie, in milliseconds.
pub(crate) fn percentile(times: &mut [std::time::Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e3)
}
