//! How conflicts between managers are told.

use super::managers::Manager;
use super::set::Set;
use ironclad_api::{ApiError, Reason};

/// Who owns which fields that an apply would change.
pub(super) type Conflicts = Vec<(Manager, Set)>;

/// The answer to an apply that conflicts.
pub(super) fn error(mut conflicts: Conflicts) -> ApiError {
    conflicts.sort_by(|(a, _), (b, _)| {
        (&a.name, a.operation, &a.api_version, &a.subresource).cmp(&(
            &b.name,
            b.operation,
            &b.api_version,
            &b.subresource,
        ))
    });
    let described: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(manager, fields)| (manager.describe(), fields.describe())).collect();
    let count: usize = described.iter().map(|(_, fields)| fields.len()).sum();
    let message = match described.as_slice() {
        [(manager, fields)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", fields.concat())
        }
        all => {
            let one = |(manager, fields): &(String, Vec<String>)| {
                format!("conflicts with {manager}:\n- {}", fields.join("\n- "))
            };
            let parts: Vec<String> = all.iter().map(one).collect();
            format!("Apply failed with {count} conflicts: {}", parts.join("\n"))
        }
    };
    let causes = described.iter().flat_map(|(manager, fields)| fields.iter().map(move |f| (manager, f)));
    causes.fold(ApiError::new(Reason::Conflict, message), |error, (manager, field)| {
        error.with_cause("FieldManagerConflict", format!("conflict with {manager}"), field.clone())
    })
}
