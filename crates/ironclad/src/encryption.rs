//! `ironclad encryption`: the key that seals Secrets on the disk. A server that runs follows the file by itself; one
//! that does not seals everything anew when it starts.

use crate::cli::{Encryption, Which};
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use ironclad_encryption::Keyring;

pub(crate) fn run(args: &Encryption) -> Result<()> {
    let (Encryption::Rotate { which } | Encryption::Prune { which }) = args;
    let keys = keyring(which)?;
    match args {
        Encryption::Rotate { .. } => {
            let name = keys.rotate().context("cannot rotate the key")?;
            eprintln!(" ✓ Secrets are sealed with the key {name} from now on");
        }
        Encryption::Prune { .. } => {
            keys.prune().context("cannot forget older keys")?;
            eprintln!(" ✓ Only the newest key is left");
        }
    }
    Ok(())
}

fn keyring(which: &Which) -> Result<Keyring> {
    match Cluster::load(&which.data_dir)? {
        Some(cluster) => Ok(Keyring::new(&cluster.encryption_file())),
        None => {
            let cause = format!("there is no cluster in {}", which.data_dir.display());
            Err(Failure::new(Id::DataDirUnusable, cause, "Give the cluster's directory with --data-dir."))
        }
    }
}
