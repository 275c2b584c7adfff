//! LimitRanges and ResourceQuotas.

mod limit_range;
mod resource_quota;

pub(crate) use limit_range::LIMIT_RANGE;
pub(crate) use resource_quota::QUOTA;
