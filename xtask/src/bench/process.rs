//! What a process uses, as the kernel tells it.

use std::io::{Error, Result};

/// Proportional set size in bytes: what is shared counts in parts.
pub(crate) fn memory(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let pss = text.lines().find_map(|l| l.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    pss.map(|kib| kib * 1024.0).ok_or_else(|| Error::other("no Pss in smaps_rollup"))
}

/// Seconds of processor time used so far, by the program and the kernel for it.
pub(crate) fn processor(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}
