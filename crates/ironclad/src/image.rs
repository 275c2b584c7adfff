//! `ironclad image`: the images on this machine.

use crate::cli::Image;
use crate::failure::{Failure, Id, Result};

pub(crate) fn run(_args: Image) -> Result<()> {
    Err(Failure::new(Id::Image, "images cannot be managed yet: this build has no container runtime", ""))
}
