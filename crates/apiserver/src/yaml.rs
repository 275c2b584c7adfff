//! YAML in and out, as the library of stock reads and writes it.

mod scalar;
mod write;

pub(crate) use ironclad_api::yaml::parse;
pub(crate) use write::to_string;

#[cfg(test)]
mod tests;
