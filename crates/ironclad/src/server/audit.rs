//! What is kept of requests, as the flags say.

use crate::cli::api::AuditFlags;
use crate::failure::{Context, Result};
use ironclad_apiserver::Auditor;
use ironclad_audit::{Backends, LogOptions, Policy, Sink, WebhookOptions};
use std::sync::Arc;

/// The auditor; none without a policy or without a place for events.
pub(crate) fn auditor(flags: &AuditFlags) -> Result<Option<Auditor>> {
    let Some(file) = &flags.audit_policy_file else { return Ok(None) };
    let policy = Policy::read(file).context("cannot use --audit-policy-file")?;
    let mut sinks = Vec::new();
    if let Some(path) = &flags.audit_log_path {
        let options = LogOptions {
            path: path.clone(),
            max_age: flags.audit_log_maxage,
            max_backups: flags.audit_log_maxbackup,
            max_size: flags.audit_log_maxsize,
            compress: flags.audit_log_compress,
            blocking: flags.audit_log_mode != crate::cli::api::Mode::Batch,
        };
        sinks.push(Sink::log(&options).context("cannot use --audit-log-path")?);
    }
    if let Some(config) = &flags.audit_webhook_config_file {
        let options = WebhookOptions {
            config: config.clone(),
            buffer: flags.audit_webhook_batch_buffer_size,
            batch: flags.audit_webhook_batch_max_size,
            wait: flags.audit_webhook_batch_max_wait,
            backoff: flags.audit_webhook_initial_backoff,
            blocking: flags.audit_webhook_mode != crate::cli::api::Mode::Batch,
        };
        sinks.push(Sink::webhook(&options).context("cannot use --audit-webhook-config-file")?);
    }
    Ok((!sinks.is_empty()).then(|| Auditor { policy, backends: Arc::new(Backends::new(sinks)) }))
}
