#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ironclad_hostile::run("json", data));
