//! `ironclad image`: the images on this machine.

use crate::cli::{Image, Which};
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use crate::node;
use ironclad_runtime::ImageStore;
use std::path::Path;

pub(crate) fn run(args: Image) -> Result<()> {
    crate::preflight::root()?;
    ironclad_auth::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(act(args))
}

fn open(which: &Which) -> Result<ImageStore> {
    let cluster = Cluster::load(&which.data_dir)?.ok_or_else(|| {
        let cause = format!("there is no cluster in {}", which.data_dir.display());
        Failure::new(Id::NotRunning, cause, "Start one with `ironclad up`.")
    })?;
    node::images(&cluster)
}

fn failed(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Id::Image, format!("cannot {what}: {why}"), "")
}

async fn act(args: Image) -> Result<()> {
    match args {
        Image::Import { which, files } => {
            let runtime = open(&which)?;
            for file in files {
                import(&runtime, &file).await?;
            }
        }
        Image::List { which } => {
            let images = open(&which)?.list_images().await.map_err(|e| failed("list the images", e))?;
            println!("{:<60} {:<14} SIZE", "IMAGE", "ID");
            for image in images {
                let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
                let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
                for name in names {
                    println!("{name:<60} {id:<14} {} MiB", image.size >> 20);
                }
            }
        }
        Image::Rm { which, images } => {
            let runtime = open(&which)?;
            for image in images {
                let there = runtime.image_status(&image).await.map_err(|e| failed("look for the image", e))?;
                if there.is_none() {
                    return Err(Failure::new(
                        Id::Image,
                        format!("there is no image {image:?}"),
                        "See `ironclad image list`.",
                    ));
                }
                runtime.remove_image(&image).await.map_err(|e| failed("remove the image", e))?;
                println!("{image} removed");
            }
        }
    }
    Ok(())
}

async fn import(runtime: &ImageStore, file: &Path) -> Result<()> {
    let names = if file.as_os_str() == "-" {
        runtime.import(std::io::stdin()).await
    } else {
        let open = std::fs::File::open(file);
        runtime.import(open.map_err(|e| failed(&format!("open {}", file.display()), e))?).await
    };
    for name in names.map_err(|e| failed(&format!("import {}", file.display()), e))? {
        println!("{name}");
    }
    Ok(())
}
