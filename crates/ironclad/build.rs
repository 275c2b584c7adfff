//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A megabyte less: the addresses that are settled at the start stand in a bitmap. glibc reads it from 2.36 on.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
