//! The shim alone, for tests and for a runtime without the rest of Ironclad around it.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "shim" => ironclad_runtime::shim_main(rest),
        _ => {
            eprintln!("usage: ironclad-shim shim DIRECTORY");
            std::process::exit(2);
        }
    }
}
