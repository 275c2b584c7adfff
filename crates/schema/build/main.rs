//! Makes the schema bundle from the sources of the package k8s-openapi, whose types are those of the API, and packs the
//! table of the wire format.
//!
//! The package's text never enters the repository: it is read where cargo keeps it, and the result is a compressed
//! file in the build directory.

mod parse;

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let sources = package_dir("k8s-openapi").join("src/v1_37");
    let mut files = Vec::new();
    collect(&sources, &mut files);
    files.sort();
    let mut types: Vec<parse::Type> = files.iter().filter_map(|f| parse::file(&sources, f)).collect();
    types.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(types.len() > 600, "the sources of k8s-openapi have another shape: {} types", types.len());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let wire = package().join("build/wire.txt");
    pack(&out.join("wire.bin"), &std::fs::read_to_string(wire).expect("the table is part of the package"));
    let docs: Vec<Value> = types.iter().map(parse::Type::docs).collect();
    write(&out.join("bundle.bin"), &json!(types.iter().map(parse::Type::shape).collect::<Vec<_>>()));
    write(&out.join("docs.bin"), &Value::Array(docs));
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the package's sources can be read") {
        let path = entry.expect("the package's sources can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Where this package is now: the script may have been built when it was elsewhere.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it").into()
}

/// Where cargo keeps the sources of a dependency.
fn package_dir(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO");
    let manifest = package().join("Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let package = packages.iter().find(|p| p["name"] == name).expect("it is a dependency");
    let manifest = Path::new(package["manifest_path"].as_str().expect("it has a manifest"));
    manifest.parent().expect("a file has a directory").to_owned()
}

fn write(path: &Path, value: &Value) {
    pack(path, &value.to_string());
}

fn pack(path: &Path, text: &str) {
    let file = std::fs::File::create(path).expect("OUT_DIR can be written");
    let mut out = flate2::write::DeflateEncoder::new(file, flate2::Compression::best());
    out.write_all(text.as_bytes()).expect("OUT_DIR can be written");
    out.finish().expect("OUT_DIR can be written");
}
