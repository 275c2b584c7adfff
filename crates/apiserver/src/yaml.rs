//! YAML in and out, as the library of stock reads and writes it.

mod read;
mod scalar;
mod write;

pub(crate) use read::parse;
pub(crate) use write::to_string;

#[cfg(test)]
mod tests;
