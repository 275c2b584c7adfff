//! CronJobs.

use crate::batch::job;
use crate::common::numbers::not_negative;
use crate::common::pod_defaults;
use crate::common::pod_rules::one_of;
use crate::print;
use crate::read::{fill, fill_zero, flag, size, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(|o| {
        let spec = spec(o);
        fill_zero(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
        pod_defaults::template(spec, &["jobTemplate", "spec", "template"]);
    })
    .checks(validate)
    .named(validate_name)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Schedule", "When jobs start, in cron format."),
                Column::text("Timezone", "The time zone of the schedule."),
                Column::text("Suspend", "Whether no further jobs start."),
                Column::integer("Active", "Number of running jobs."),
                Column::text("Last Schedule", "When a job was started last."),
                Column::age(),
                print::CONTAINERS,
                print::IMAGES,
                print::SELECTOR,
            ]
        },
        cells,
    );

/// Jobs are named after the cron job with eleven characters more.
fn validate_name(name: &str) -> Vec<String> {
    let mut errors = names::dns1123_subdomain(name);
    if name.len() > 52 {
        errors.push("must be no more than 52 characters".to_owned());
    }
    errors
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let schedule = text(o, &["spec", "schedule"]);
    if schedule.is_empty() {
        errors.push(FieldError::required(&at.child("schedule"), ""));
    } else if let Err(why) = check_schedule(schedule) {
        errors.push(FieldError::invalid_str(&at.child("schedule"), schedule, why));
    }
    one_of(&o["spec"], &at, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], true, &mut errors);
    let numbers = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    not_negative(o, &numbers, &mut errors);
    job::check_spec(&o["spec"]["jobTemplate"]["spec"], &at.child("jobTemplate").child("spec"), &mut errors);
    errors
}

/// Checks five cron fields or a `@name`.
fn check_schedule(schedule: &str) -> Result<(), String> {
    if schedule.contains("TZ") {
        return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if let Some(name) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        let every = name.strip_prefix("every ").is_some_and(|d| !d.is_empty());
        return if known.contains(&name) || every {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (field, (low, high)) in fields.iter().zip([(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]) {
        for number in field.split(|c: char| !c.is_ascii_alphanumeric()).filter(|n| !n.is_empty()) {
            match number.parse::<u32>() {
                Ok(n) if n > high => return Err(format!("end of range ({n}) above maximum ({high}): {field}")),
                Ok(n) if n < low && !field.contains('/') => {
                    return Err(format!("beginning of range ({n}) below minimum ({low}): {field}"));
                }
                Err(_) if number.len() != 3 => return Err(format!("failed to parse int from {number}")),
                _ => {}
            }
        }
    }
    Ok(())
}

fn cells(o: &Value) -> Cells {
    let last = text(o, &["status", "lastScheduleTime"]);
    let [names, images] = print::containers(o, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]);
    vec![
        print::name(o),
        json!(text(o, &["spec", "schedule"])),
        print::or_none(o, &["spec", "timeZone"]),
        json!(if flag(o, &["spec", "suspend"]) { "True" } else { "False" }),
        json!(size(o, &["status", "active"])),
        if last.is_empty() { json!(print::NONE) } else { table::since(last) },
        table::age(o),
        names,
        images,
        json!(print::selector(o, &["spec", "jobTemplate", "spec", "selector"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_checked() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan mon-fri", "@daily"] {
            assert_eq!(check_schedule(good), Ok(()), "{good}");
        }
        for bad in ["* * * *", "61 * * * *", "@sometimes", "TZ=UTC * * * * *"] {
            assert!(check_schedule(bad).is_err(), "{bad}");
        }
    }
}
