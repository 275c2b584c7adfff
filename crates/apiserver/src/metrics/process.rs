//! What the kernel says of this process, under the names that Prometheus' clients use.

use super::family::{head, sample};

pub(super) fn render(out: &mut String) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    // Ticks of 10 ms and pages of 4 KiB on every Linux that this runs on.
    let (ticks, page) = (100.0, 4096.0);
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok()).unwrap_or_default();
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limits = read("limits");
    let most = limits.lines().find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next());
    let gauges = [
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            most.and_then(|m| m.parse().ok()).unwrap_or(0.0),
        ),
        ("process_open_fds", "Number of open file descriptors.", open as f64),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", number(21) * page),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            boot + number(19) / ticks,
        ),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", number(20)),
    ];
    let cpu = "process_cpu_seconds_total";
    head(out, cpu, "counter", "ALPHA", "Total user and system CPU time spent in seconds.");
    sample(out, cpu, &[], (number(11) + number(12)) / ticks);
    for (name, help, value) in gauges {
        head(out, name, "gauge", "ALPHA", help);
        sample(out, name, &[], value);
    }
}
