//! What is kept of requests, as the flags say.

use crate::cli::api::{self, AuditFlags, Delivery};
use crate::failure::{Context, Failure, Result, config_failure};
use ironclad_apiserver::Auditor;
use ironclad_audit::{Backends, Batch, LogOptions, Mode, Policy, Sink, Throttle, Truncate, WebhookOptions};
use ironclad_remote::Way;
use std::sync::Arc;

/// The auditor; none without a policy or without a place for events.
pub(crate) fn auditor(flags: &AuditFlags, way: &Way) -> Result<Option<Auditor>> {
    let Some(file) = &flags.audit_policy_file else { return Ok(None) };
    let policy = Policy::read(file).map_err(|why| config_failure(format!("loading audit policy file: {why}")))?;
    let mut sinks = Vec::new();
    if flags.audit_log_path.is_some() {
        sinks.push(Sink::log(&log(flags)?).context("cannot use --audit-log-path")?);
    }
    if flags.audit_webhook_config_file.is_some() {
        sinks.push(
            Sink::webhook(&webhook(flags, way)?)
                .map_err(|why| config_failure(format!("initializing audit webhook: {why}")))?,
        );
    }
    Ok((!sinks.is_empty()).then(|| Auditor { policy, backends: Arc::new(Backends::new(sinks)) }))
}

fn log(flags: &AuditFlags) -> Result<LogOptions> {
    let delivery = flags.log.delivery();
    Ok(LogOptions {
        path: flags.audit_log_path.clone().unwrap_or_default(),
        max_age: flags.audit_log_maxage,
        max_backups: flags.audit_log_maxbackup,
        max_size: flags.audit_log_maxsize,
        compress: flags.audit_log_compress,
        legacy: flags.audit_log_format == "legacy",
        mode: mode(&delivery)?,
        truncate: truncate(&delivery)?,
    })
}

fn webhook(flags: &AuditFlags, way: &Way) -> Result<WebhookOptions> {
    let delivery = flags.webhook.delivery();
    Ok(WebhookOptions {
        config: flags.audit_webhook_config_file.clone().unwrap_or_default(),
        mode: mode(&delivery)?,
        truncate: truncate(&delivery)?,
        backoff: flags.audit_webhook_initial_backoff,
        way: way.clone(),
    })
}

fn mode(delivery: &Delivery) -> Result<Mode> {
    let (buffer, size) = delivery.sizes;
    Ok(match delivery.mode {
        api::Mode::Batch => Mode::Batch(Batch { buffer, size, wait: delivery.wait, throttle: throttle(delivery)? }),
        api::Mode::Blocking => Mode::Blocking,
        api::Mode::BlockingStrict => Mode::BlockingStrict,
    })
}

fn throttle(delivery: &Delivery) -> Result<Option<Throttle>> {
    let (plugin, (on, qps, burst)) = (delivery.plugin, delivery.throttle);
    let bad = |what: &str, value: &dyn std::fmt::Display| {
        Err(Failure::internal(
            &format!("invalid audit batch {plugin} throttle {what} {value}"),
            "must be a positive number",
        ))
    };
    match on {
        true if qps <= 0.0 || !qps.is_finite() => bad("QPS", &qps),
        true if burst == 0 => bad("burst", &burst),
        _ => Ok(on.then_some(Throttle { qps, burst })),
    }
}

fn truncate(delivery: &Delivery) -> Result<Option<Truncate>> {
    let (plugin, (on, event, batch)) = (delivery.plugin, delivery.truncate);
    if batch < event {
        let why = format!("must be greater than max event size ({event})");
        return Err(Failure::internal(&format!("invalid audit truncate {plugin} max batch size {batch}"), why));
    }
    Ok(on.then_some(Truncate { event, batch }))
}
