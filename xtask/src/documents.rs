//! Runs the code blocks of the documentation, so that what it shows is what happens.
//!
//! In README.md and docs/**: ```` ```python ````, ```` ```js ````, ```` ```kotlin ````, ```` ```c ````, ```` ```cpp ```` and
//! ```` ```go ```` blocks are programs of their own (those of Kotlin in a project whose `pom.xml` is the ```` ```xml ```` block
//! before them);
//! ```` ```rust ```` blocks are doctests; in ```` ```console ```` blocks each line behind `$ ` is run by the shell and what follows is compared with
//! its output, where a line `...` stands for any lines. Blocks in other languages (`sh`, `text`, `toml`) are not run.
//! Every document has a cluster of its own; the address [`ADDRESS`] in its blocks stands for it, and `slotkv` finds it
//! by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::c::{self, Language, Linkage};
use crate::cluster::Dev;
use crate::go::Go;
use crate::install_c::Installed;
use crate::kotlin;
use crate::node::Package;
use crate::process;
use crate::project::{self, Profile};
use crate::venv::Venv;

/// What documents call the cluster.
const ADDRESS: &str = "127.0.0.1:7700";

/// Runs every block of every document; how many. An error names the first that fails.
pub fn run(slotkv: &Path, venv: &Venv, node: &Package, kotlin: &kotlin::Package, go: &Go) -> Outcome<u64> {
    let libraries = Libraries::build()?;
    let installed = c::prepare()?;
    let mut passed = 0;
    for document in documents()? {
        let text = fs::read_to_string(&document)?;
        let blocks = blocks(&text);
        let shown = document.strip_prefix(project::root()).unwrap_or(&document).display().to_string();
        let count = |language| blocks.iter().filter(|block| block.language == language).count();
        let (rust, python, js, console) = (count("rust"), count("python"), count("js"), count("console"));
        let (c, kt, in_go) = (count("c") + count("cpp"), count("kotlin"), count("go"));
        if rust + python + js + c + kt + in_go + console == 0 {
            continue;
        }
        let cluster = Dev::start(slotkv, "dev-docs", &[])?;
        let at = |text: &str| text.replace(ADDRESS, cluster.address());
        let project = match kt {
            0 => None,
            _ => Some(compile_kotlin(&blocks, at).map_err(|error| format!("{shown}: {error}"))?),
        };
        for block in &blocks {
            let outcome = match block.language {
                "python" => run_python(venv, &at(&block.text)),
                "js" => run_js(node, &at(&block.text)),
                "kotlin" => run_kotlin(kotlin, project.as_deref(), block),
                "c" | "cpp" => run_c(&installed, block, &at(&block.text)),
                "go" => run_go(go, &at(&block.text)),
                "console" => run_console(slotkv, &cluster.uri, &at(&block.text)),
                _ => Ok(()),
            };
            outcome.map_err(|error| format!("{shown}:{}: {error}", block.line))?;
        }
        if rust > 0 {
            libraries.test(&document, &at(&text)).map_err(|error| format!("{shown}: {error}"))?;
        }
        println!(
            "  {shown}: {rust} Rust, {python} Python, {js} Node, {kt} Kotlin, {c} C and C++, {in_go} Go, {console} console"
        );
        passed += (rust + python + js + c + kt + in_go + console) as u64;
    }
    Ok(passed)
}

fn documents() -> Outcome<Vec<PathBuf>> {
    let mut found = vec![project::root().join("README.md")];
    let mut folders = vec![project::root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

struct Block<'a> {
    language: &'a str,
    /// Line number of its first line.
    line: usize,
    text: String,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in document.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { language: language.trim(), line: number + 2, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn run_python(venv: &Venv, program: &str) -> Outcome<()> {
    let out =
        process::tied(venv.python().args(["-W", "error", "-c", program])).stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{}\n{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

/// A module of its own, as `slotkv` is found from it.
fn run_js(node: &Package, program: &str) -> Outcome<()> {
    let dir = tempdir()?;
    node.link(&dir)?;
    let script = dir.join("block.mjs");
    fs::write(&script, program)?;
    let out = process::tied(Command::new("node").arg(&script)).stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(fs::remove_dir_all(dir)?);
    }
    Err(format!("{}\n{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

/// A project as the document tells to make it, with every block as a program of its own; its folder.
fn compile_kotlin(blocks: &[Block], at: impl Fn(&str) -> String) -> Outcome<PathBuf> {
    let pom =
        blocks.iter().find(|block| block.language == "xml").ok_or("no pom.xml for its Kotlin blocks")?;
    let folder = project::scratch().join("kotlin/document");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let sources = folder.join("src/main/kotlin");
    fs::create_dir_all(&sources)?;
    fs::write(folder.join("pom.xml"), &pom.text)?;
    for block in blocks.iter().filter(|block| block.language == "kotlin") {
        let name = kotlin_name(block);
        let program = format!("package {name}; {}", at(&block.text));
        fs::write(sources.join(format!("{name}.kt")), program)?;
    }
    let log = project::scratch().join("logs/mvn-document.log");
    process::logged("mvn compile in a new folder", &log, kotlin::maven(&folder).arg("compile"))?;
    Ok(folder)
}

fn kotlin_name(block: &Block) -> String {
    format!("block{}", block.line)
}

fn run_kotlin(kotlin: &kotlin::Package, project: Option<&Path>, block: &Block) -> Outcome<()> {
    let classes = project.ok_or("no project")?.join("target/classes");
    let name = kotlin_name(block);
    let mut command = Command::new("java");
    command.arg("-cp").arg(kotlin.class_path(&[classes]));
    command.arg(format!("{name}.{}", kotlin::main_class(&name)));
    let out = process::tied(&mut command).stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{}\n{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

fn run_c(installed: &Installed, block: &Block, program: &str) -> Outcome<()> {
    let (compiler, language) =
        if block.language == "c" { ("gcc", Language::C) } else { ("g++", Language::Cpp) };
    let source = tempdir()?.join(format!("block-{}.{}", block.line, block.language));
    fs::write(&source, program)?;
    let program = c::compile(installed, compiler, language, Linkage::Shared, &source)?;
    let out = process::tied(installed.run(&mut Command::new(program))).stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(fs::remove_file(source)?);
    }
    Err(format!("{}\n{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

fn run_go(go: &Go, program: &str) -> Outcome<()> {
    let dir = tempdir()?.join("go");
    let out = process::tied(&mut Command::new(go.program(&dir, program)?)).stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(fs::remove_dir_all(dir)?);
    }
    Err(format!("{}\n{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

/// Runs the lines behind `$ ` and compares what they print.
fn run_console(slotkv: &Path, uri: &str, text: &str) -> Outcome<()> {
    let dir = tempdir()?;
    let mut path = slotkv.parent().ok_or("no folder")?.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    for (command, expected) in console_steps(text) {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(&dir)
            .env("PATH", &path)
            .env("SLOTKV_URI", uri);
        let out = process::tied(&mut shell).stdin(Stdio::null()).output()?;
        let printed = String::from_utf8_lossy(&out.stdout).into_owned();
        if !matches(&expected, &printed.lines().collect::<Vec<_>>()) {
            return Err(format!("`{command}` printed\n{printed}instead of\n{}\n", expected.join("\n")).into());
        }
    }
    Ok(fs::remove_dir_all(dir)?)
}

fn console_steps(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut steps: Vec<(String, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => {}
        }
    }
    steps
}

/// Whether the printed lines are the expected ones, where `...` stands for any number of lines.
fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        (Some((line, expected)), Some((found, printed))) => {
            line.trim_end() == found.trim_end() && matches(expected, printed)
        }
        _ => false,
    }
}

fn tempdir() -> Outcome<PathBuf> {
    let dir = project::scratch().join(format!("docs-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The compiled crates that Rust blocks use, as `rustdoc --test` wants them.
struct Libraries {
    externs: Vec<String>,
}

impl Libraries {
    /// Builds all libraries and picks those that blocks use out of what cargo reports.
    fn build() -> Outcome<Self> {
        let mut build = project::cargo();
        build.args(["build", "--quiet", "--lib", "--message-format=json"]).args(project::SELECTION);
        let report = process::output(&mut build)?;
        let mut externs = Vec::new();
        for line in String::from_utf8_lossy(&report).lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            let name = message["target"]["name"].as_str().unwrap_or_default();
            if message["reason"] != "compiler-artifact" || !["slotkv", "tokio"].contains(&name) {
                continue;
            }
            let files = message["filenames"].as_array().map(Vec::as_slice).unwrap_or_default();
            let rlib = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".rlib"));
            externs.extend(rlib.map(|file| format!("{name}={file}")));
        }
        Ok(Self { externs })
    }

    /// Runs the Rust blocks of `text` as doctests.
    fn test(&self, document: &Path, text: &str) -> Outcome<()> {
        let name = document.file_name().ok_or("no name")?;
        let copy = tempdir()?.join(name);
        fs::write(&copy, text)?;
        let mut rustdoc = Command::new("rustdoc");
        rustdoc.args(["--test", "--edition", "2024"]).arg(&copy);
        rustdoc.arg("-L").arg(Profile::Debug.dir().join("deps"));
        for library in &self.externs {
            rustdoc.args(["--extern", library]);
        }
        process::logged(
            &format!("rustdoc --test {}", name.to_string_lossy()),
            &copy.with_extension("log"),
            &mut rustdoc,
        )?;
        Ok(fs::remove_dir_all(tempdir()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_language_and_place() {
        let blocks = blocks("a\n```python\nx = 1\n```\n```console\n$ ls\n```\n");
        assert_eq!((blocks[0].language, blocks[0].line, blocks[0].text.as_str()), ("python", 3, "x = 1\n"));
        assert_eq!(blocks[1].language, "console");
    }

    #[test]
    fn dots_stand_for_any_lines() {
        assert!(matches(&["a", "...", "c"], &["a", "b", "b", "c"]));
        assert!(matches(&["a", "...", "c"], &["a", "c"]));
        assert!(!matches(&["a", "...", "c"], &["a", "b"]));
        assert!(!matches(&["a"], &["a", "b"]));
    }
}
