//! The prompt's history: a file in the XDG state folder, for people only.

use std::path::PathBuf;

use rustyline::{Editor, Helper, history::FileHistory};

/// Lines kept.
pub(crate) const LINES_MAX: usize = 10_000;

/// Where the history is kept; nowhere if the system names no place.
pub(crate) struct History(Option<PathBuf>);

impl History {
    /// The file that was named, else `slotkv/history` in the state folder.
    pub fn new(named: Option<PathBuf>) -> Self {
        Self(named.or_else(default_path))
    }

    /// Takes the lines of earlier shells. A file that cannot be read means none.
    pub fn load<H: Helper>(&self, editor: &mut Editor<H, FileHistory>) {
        let Some(path) = &self.0 else { return };
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        if let Err(error) = editor.load_history(path) {
            tracing::debug!(%error, path = %path.display(), "no history");
        }
    }

    /// Adds the new lines to the file.
    pub fn append<H: Helper>(&self, editor: &mut Editor<H, FileHistory>) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = editor.append_history(path) {
            tracing::debug!(%error, path = %path.display(), "the history is not kept");
        }
    }
}

fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?;
    Some(folder.join("slotkv").join("history"))
}
