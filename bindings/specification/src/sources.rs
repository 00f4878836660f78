//! The texts that declare the surfaces.

use std::{collections::BTreeMap, fs, io, path::Path};

/// Files that are read, from the root of the workspace.
const FILES: &[&str] = &[
    "bindings/python/src/aio.rs",
    "bindings/python/src/client.rs",
    "bindings/python/src/results.rs",
    "bindings/python/src/view.rs",
    "bindings/specification/specification.toml",
    "bindings/uniffi/src/results.rs",
    "bindings/uniffi/src/view.rs",
    "core/src/client.rs",
    "core/src/command.rs",
    "core/src/count.rs",
    "core/src/error.rs",
    "core/src/explain.rs",
    "core/src/operations.rs",
    "core/src/options.rs",
    "core/src/range.rs",
    "core/src/scan.rs",
    "core/src/stats.rs",
    "examples/go/slotkv/status.go",
    "include/slotkv.h",
    "include/slotkv.hpp",
    "kotlin/src/main/kotlin/slotkv/Client.kt",
    "kotlin/src/main/kotlin/slotkv/Errors.kt",
    "node/index.d.ts",
    "node/index.mjs",
    "node/lib/client.js",
    "node/lib/errors.js",
    "proto/proto/slotkv/v1/admin.proto",
    "python/slotkv/_slotkv.pyi",
    "python/slotkv/aio.py",
    "python/slotkv/errors.py",
];

/// The texts, by path.
#[derive(Clone, Debug)]
pub struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Reads them below the root of the workspace.
    pub fn read(root: &Path) -> io::Result<Self> {
        let read = |path: &&str| {
            let text = fs::read_to_string(root.join(path))
                .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
            Ok(((*path).to_owned(), text))
        };
        FILES.iter().map(read).collect::<io::Result<_>>().map(Self)
    }

    /// The text of a file; a file that is not among them is empty.
    pub fn text(&self, path: &str) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }

    /// The same sources, but one text changed.
    pub fn with(&self, path: &str, change: impl FnOnce(&str) -> String) -> Self {
        let mut sources = self.clone();
        sources.0.insert(path.to_owned(), change(self.text(path)));
        sources
    }
}
