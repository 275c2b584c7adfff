//! CronJobs.

use crate::apps::{POD_NAMES, name_warning, template_warnings};
use crate::batch::{job_rules, schedule};
use crate::common::numbers::not_negative_at;
use crate::common::pod_defaults;
use crate::common::pod_rules::one_of;
use crate::declared::Step::{Field, Required};
use crate::print;
use crate::read::{child, each, fill, fill_zero, flag, has, size, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};

/// Jobs are named after the cron job with eleven characters more.
const NAME_MAX: usize = 52;

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(|o| {
        let spec = spec(o);
        fill_zero(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
        let job = child(child(spec, "jobTemplate"), "spec");
        pod_defaults::template(job, &["template"]);
        each(job, &["podFailurePolicy", "rules"], |rule| {
            each(rule, &["onPodConditions"], |c| fill_zero(c, "status", "True"));
        });
    })
    .checks(|o| {
        let mut errors = ErrorList::new();
        if object::name(o).len() > NAME_MAX {
            let why = format!("must be no more than {NAME_MAX} characters");
            errors.push(FieldError::invalid_str(&Path::new("metadata").child("name"), object::name(o), why));
        }
        errors.extend(validate(o, false));
        errors
    })
    .checks_update(|new, old| {
        // A zone in the schedule stays allowed where it was stored before it was refused.
        validate(new, text(old, &["spec", "schedule"]).contains("TZ"))
    })
    .declares(const { &[Field("spec", &[Field("schedule", &[Required])])] })
    .warns(|new, old| {
        let mut warnings: Vec<String> = name_warning(new, old, POD_NAMES).into_iter().collect();
        if text(new, &["spec", "schedule"]).contains("TZ") {
            warnings.push("CRON_TZ or TZ used in spec.schedule is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        warnings.extend(template_warnings(new, old, &["spec", "jobTemplate", "spec", "template"], &[&["spec"]]));
        warnings
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Schedule", "When jobs start, in cron format."),
                Column::text("Timezone", "The time zone of the schedule."),
                print::typed("Suspend", "boolean", "Whether no further jobs start."),
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

fn validate(o: &Value, zone_in_schedule: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    let (given, schedule_at) = (text(spec, &["schedule"]), at.child("schedule"));
    let zone = spec.get("timeZone").and_then(Value::as_str);
    if given.is_empty() {
        errors.push(FieldError::required(&schedule_at, "").covered());
    } else {
        if let Err(why) = schedule::check(given) {
            errors.push(FieldError::invalid_str(&schedule_at, given, why));
        }
        if given.contains("TZ") && (!zone_in_schedule || zone.is_some()) {
            let why = if zone_in_schedule {
                "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            } else {
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            };
            errors.push(FieldError::invalid_str(&schedule_at, given, why));
        }
    }
    not_negative_at(spec, &at, &["startingDeadlineSeconds"], &mut errors);
    if let Some(zone) = zone
        && let Err(why) = schedule::check_zone(zone)
    {
        errors.push(FieldError::invalid_str(&at.child("timeZone"), zone, why));
    }
    one_of(spec, &at, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], true, &mut errors);
    let (job, job_at) = (&spec["jobTemplate"]["spec"], at.child("jobTemplate").child("spec"));
    job_rules::check_spec(job, &job_at, &mut errors);
    if has(job, &["selector"]) {
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&job_at.child("selector"), &job["selector"], why));
    }
    if flag(job, &["manualSelector"]) {
        let at = job_at.child("manualSelector");
        errors.push(FieldError::not_supported(&at, &json!(true), &["nil", "false"]));
    }
    not_negative_at(spec, &at, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], &mut errors);
    errors
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
