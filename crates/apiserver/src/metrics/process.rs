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
    let space = limits.lines().find_map(|l| l.strip_prefix("Max address space")?.split_whitespace().next());
    let network = network(&read("net/netstat"));
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
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            // Without a limit it is the largest number that there is.
            space.and_then(|s| s.parse().ok()).unwrap_or(u64::MAX as f64),
        ),
    ];
    let cpu = "process_cpu_seconds_total";
    head(out, cpu, "counter", "", "Total user and system CPU time spent in seconds.");
    sample(out, cpu, &[], (number(11) + number(12)) / ticks);
    for (name, help, value) in gauges {
        head(out, name, "gauge", "", help);
        sample(out, name, &[], value);
    }
    for (name, help, value) in [
        ("process_network_receive_bytes_total", "Number of bytes received by the process over the network.", network.0),
        ("process_network_transmit_bytes_total", "Number of bytes sent by the process over the network.", network.1),
    ] {
        head(out, name, "counter", "", help);
        sample(out, name, &[], value);
    }
}

/// Bytes that came in and went out, of a table whose lines of names each have one of values behind them.
fn network(netstat: &str) -> (u64, u64) {
    let mut lines = netstat.lines().filter(|l| l.starts_with("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return (0, 0) };
    let of = |wanted: &str| {
        let mut both = names.split_whitespace().zip(values.split_whitespace());
        both.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    };
    (of("InOctets"), of("OutOctets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_by_their_names() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 70 90\n";
        assert_eq!((network(text), network("")), ((70, 90), (0, 0)));
    }
}
