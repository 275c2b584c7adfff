//! What `/debug/api_priority_and_fairness/` shows: levels, queues and waiting requests, as columns.

use super::Fairness;
use std::fmt::Write;

impl Fairness {
    /// The dump of that name.
    pub(crate) fn dump(&self, name: &str, details: bool) -> Option<String> {
        let rows = match name {
            "dump_priority_levels" => self.levels(),
            "dump_queues" => self.queues(),
            "dump_requests" => self.requests(details),
            _ => return None,
        };
        Some(aligned(&rows))
    }

    fn levels(&self) -> Vec<Vec<String>> {
        let heads =
            ["PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests"];
        let mut rows = vec![heads.map(str::to_owned).into()];
        for (name, level) in self.seats.lock().levels() {
            let active = level.queues.iter().filter(|q| !q.waiting.is_empty()).count();
            rows.push(vec![
                name.to_string(),
                active.to_string(),
                level.is_idle().to_string(),
                level.quiescing.to_string(),
                level.waiting.to_string(),
                level.executing.to_string(),
            ]);
        }
        rows
    }

    fn queues(&self) -> Vec<Vec<String>> {
        let heads = [
            "PriorityLevelName",
            "Index",
            "PendingRequests",
            "ExecutingRequests",
            "SeatsInUse",
            "NextDispatchR",
            "InitialSeatsSum",
            "MaxSeatsSum",
            "TotalWorkSum",
        ];
        let mut rows = vec![heads.map(str::to_owned).into()];
        for (name, level) in self.seats.lock().levels() {
            if level.queues.is_empty() {
                rows.push(std::iter::once(name.to_string()).chain((1..heads.len()).map(|_| "<none>".into())).collect());
            }
            for (index, queue) in level.queues.iter().enumerate() {
                let seats: u32 = queue.waiting.iter().map(|w| w.width).sum();
                rows.push(vec![
                    name.to_string(),
                    index.to_string(),
                    queue.waiting.len().to_string(),
                    queue.executing.to_string(),
                    queue.seats.to_string(),
                    format!("{:.8}ss", queue.next),
                    seats.to_string(),
                    seats.to_string(),
                    format!("{:.8}ss", f64::from(seats) * 0.003),
                ]);
            }
        }
        rows
    }

    fn requests(&self, details: bool) -> Vec<Vec<String>> {
        let heads = [
            "PriorityLevelName",
            "FlowSchemaName",
            "QueueIndex",
            "RequestIndexInQueue",
            "FlowDistingsher",
            "ArriveTime",
            "InitialSeats",
            "FinalSeats",
            "AdditionalLatency",
        ];
        let more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
        let shown = heads.into_iter().chain(more.into_iter().filter(|_| details));
        let mut rows = vec![shown.map(str::to_owned).collect::<Vec<_>>()];
        for (name, level) in self.seats.lock().levels() {
            for (queue, of_queue) in level.queues.iter().enumerate() {
                for (index, waiter) in of_queue.waiting.iter().enumerate() {
                    let note = &waiter.note;
                    let arrived = jiff::Timestamp::try_from(note.arrived).unwrap_or_default();
                    let mut row = vec![
                        name.to_string(),
                        note.schema.to_string(),
                        queue.to_string(),
                        index.to_string(),
                        note.flow.clone(),
                        arrived.to_string(),
                        waiter.width.to_string(),
                        "0".to_owned(),
                        "0s".to_owned(),
                    ];
                    if details {
                        let texts = [
                            &note.user,
                            &note.verb,
                            &note.path,
                            &note.namespace,
                            &note.name,
                            &note.version,
                            &note.resource,
                            &note.subresource,
                        ];
                        row.extend(texts.into_iter().cloned());
                    }
                    rows.push(row);
                }
            }
        }
        rows
    }
}

/// Columns of equal width, with commas, as scripts expect them.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count() + 1).max().unwrap_or(0).max(7) + 1;
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (at, (text, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match at + 1 == columns {
                true => write!(out, "{text}"),
                false => write!(out, "{:<width$}", format!("{text},")),
            };
        }
        out.push('\n');
    }
    out
}
