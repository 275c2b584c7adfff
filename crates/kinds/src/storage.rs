//! Storage classes and what CSI drivers need.

mod attachment;
mod capacity;
mod class;
mod driver;
mod node;

pub(crate) use attachment::ATTACHMENT;
pub(crate) use capacity::CAPACITY;
pub(crate) use class::{ATTRIBUTES, CLASS};
pub(crate) use driver::DRIVER;
pub(crate) use node::NODE;

#[cfg(test)]
mod tests;
