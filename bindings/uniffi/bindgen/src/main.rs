//! Generates UniFFI's module for a language out of the built library: `slotkv-uniffi-bindgen LIBRARY LANGUAGE FOLDER`. The
//! same as UniFFI's own command, without what that needs to be one.

use std::process::ExitCode;

use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths};
use uniffi_bindgen::{BindgenPaths, BindgenPathsLayer};

/// Where the crate and its `uniffi.toml` are.
const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

struct Crate;

impl BindgenPathsLayer for Crate {
    fn get_crate_root(&self, name: &str) -> Option<camino::Utf8PathBuf> {
        (name == "slotkv_uniffi").then(|| CRATE.into())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, language, folder] = &arguments[..] else {
        eprintln!("usage: slotkv-uniffi-bindgen LIBRARY LANGUAGE FOLDER");
        return ExitCode::from(2);
    };
    let language = match language.as_str() {
        "kotlin" => TargetLanguage::Kotlin,
        "python" => TargetLanguage::Python,
        "swift" => TargetLanguage::Swift,
        other => {
            eprintln!("slotkv-uniffi-bindgen: no language {other:?}");
            return ExitCode::from(2);
        }
    };
    let options = GenerateOptions {
        languages: vec![language],
        source: library.into(),
        out_dir: folder.into(),
        ..GenerateOptions::default()
    };
    let mut paths = BindgenPaths::default();
    paths.add_layer(Crate);
    match generate_with_bindgen_paths(options, paths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slotkv-uniffi-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
