//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A megabyte less: the addresses that are settled at the start stand in a bitmap. glibc reads it from 2.36 on.
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        // Here the linker is LLD, which keeps functions of the same code once where nobody asks for their addresses.
        if target("ARCH") == "x86_64" {
            println!("cargo::rustc-link-arg-bins=-Wl,--icf=safe");
        }
    }
}
