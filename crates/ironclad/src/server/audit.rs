//! What is kept of requests, as the flags say.

use crate::cli::api::{self, AuditFlags};
use crate::failure::{Context, Failure, Result};
use ironclad_apiserver::Auditor;
use ironclad_audit::{Backends, Batch, LogOptions, Mode, Policy, Sink, Throttle, Truncate, WebhookOptions};
use ironclad_remote::Way;
use std::sync::Arc;
use std::time::Duration;

/// The auditor; none without a policy or without a place for events.
pub(crate) fn auditor(flags: &AuditFlags, way: &Way) -> Result<Option<Auditor>> {
    let Some(file) = &flags.audit_policy_file else { return Ok(None) };
    let policy = Policy::read(file).context("cannot use --audit-policy-file")?;
    let mut sinks = Vec::new();
    if flags.audit_log_path.is_some() {
        sinks.push(Sink::log(&log(flags)?).context("cannot use --audit-log-path")?);
    }
    if flags.audit_webhook_config_file.is_some() {
        sinks.push(Sink::webhook(&webhook(flags, way)?).context("cannot use --audit-webhook-config-file")?);
    }
    Ok((!sinks.is_empty()).then(|| Auditor { policy, backends: Arc::new(Backends::new(sinks)) }))
}

fn log(flags: &AuditFlags) -> Result<LogOptions> {
    let rate = throttle(
        "log",
        flags.audit_log_batch_throttle_enable && flags.audit_log_mode == api::Mode::Batch,
        flags.audit_log_batch_throttle_qps,
        flags.audit_log_batch_throttle_burst,
    )?;
    let sizes = (flags.audit_log_batch_buffer_size, flags.audit_log_batch_max_size);
    let (event, batch) = (flags.audit_log_truncate_max_event_size, flags.audit_log_truncate_max_batch_size);
    Ok(LogOptions {
        path: flags.audit_log_path.clone().unwrap_or_default(),
        max_age: flags.audit_log_maxage,
        max_backups: flags.audit_log_maxbackup,
        max_size: flags.audit_log_maxsize,
        compress: flags.audit_log_compress,
        legacy: flags.audit_log_format == "legacy",
        mode: mode(flags.audit_log_mode, sizes, flags.audit_log_batch_max_wait, rate),
        truncate: truncate("log", flags.audit_log_truncate_enabled, event, batch)?,
    })
}

fn webhook(flags: &AuditFlags, way: &Way) -> Result<WebhookOptions> {
    let rate = throttle(
        "webhook",
        flags.audit_webhook_batch_throttle_enable && flags.audit_webhook_mode == api::Mode::Batch,
        flags.audit_webhook_batch_throttle_qps,
        flags.audit_webhook_batch_throttle_burst,
    )?;
    let sizes = (flags.audit_webhook_batch_buffer_size, flags.audit_webhook_batch_max_size);
    let (event, batch) = (flags.audit_webhook_truncate_max_event_size, flags.audit_webhook_truncate_max_batch_size);
    Ok(WebhookOptions {
        config: flags.audit_webhook_config_file.clone().unwrap_or_default(),
        mode: mode(flags.audit_webhook_mode, sizes, flags.audit_webhook_batch_max_wait, rate),
        truncate: truncate("webhook", flags.audit_webhook_truncate_enabled, event, batch)?,
        backoff: flags.audit_webhook_initial_backoff,
        way: way.clone(),
    })
}

fn mode(mode: api::Mode, (buffer, size): (usize, usize), wait: Duration, throttle: Option<Throttle>) -> Mode {
    match mode {
        api::Mode::Batch => Mode::Batch(Batch { buffer, size, wait, throttle }),
        api::Mode::Blocking => Mode::Blocking,
        api::Mode::BlockingStrict => Mode::BlockingStrict,
    }
}

fn throttle(plugin: &str, on: bool, qps: f64, burst: u32) -> Result<Option<Throttle>> {
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

fn truncate(plugin: &str, on: bool, event: usize, batch: usize) -> Result<Option<Truncate>> {
    if batch < event {
        let why = format!("must be greater than max event size ({event})");
        return Err(Failure::internal(&format!("invalid audit truncate {plugin} max batch size {batch}"), why));
    }
    Ok(on.then_some(Truncate { event, batch }))
}
