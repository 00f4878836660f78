//! Every surface declares what `specification.toml` says, and nothing else.

use std::path::Path;

use slotkv_specification::{compare, sources::Sources, specification::Specification};

const CLIENT_KT: &str = "kotlin/src/main/kotlin/slotkv/Client.kt";
const ERRORS_KT: &str = "kotlin/src/main/kotlin/slotkv/Errors.kt";
const STATUS_GO: &str = "examples/go/slotkv/status.go";

fn sources() -> Sources {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

fn differences(sources: &Sources) -> Vec<String> {
    let text = sources.text("bindings/specification/specification.toml");
    let specification = Specification::parse(text).unwrap();
    compare::differences(&specification, sources, &compare::surfaces(sources))
}

#[test]
fn every_surface_declares_what_the_specification_says() {
    let differences = differences(&sources());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Takes the lines from the one that begins with `first` to the one that is `last` out of a file.
fn without(sources: &Sources, path: &str, first: &str, last: &str) -> Sources {
    sources.with(path, |text| {
        let mut lines = text.lines();
        let mut kept: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with(first)).collect();
        assert!(kept.len() < text.lines().count(), "{path} has no line {first:?}");
        if !text.lines().any(|line| line.starts_with(first) && line.ends_with(last)) {
            lines.by_ref().find(|line| line.ends_with(last)).expect(last);
        }
        kept.extend(lines);
        kept.join("\n")
    })
}

/// The differences that a changed text makes, by their surface.
fn found(sources: &Sources, surface: &str) -> String {
    let prefix = format!("{surface}: ");
    differences(sources).into_iter().filter(|one| one.starts_with(&prefix)).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_operation_that_a_surface_lacks_is_found() {
    let sources = sources();
    for (surface, path, first, last, missing) in [
        ("rust", "core/src/operations.rs", "    pub async fn put_many", "    }", "put_many"),
        ("c", "include/slotkv.h", "slotkv_code_t slotkv_put_many(", ";", "slotkv_put_many"),
        ("cpp", "include/slotkv.hpp", "    Result put_many(", "    }", "put_many"),
        ("asyncio", "python/slotkv/_slotkv.pyi", "    def explain(", "...", "explain"),
        ("node", "node/index.d.ts", "  deleteIfVersion(", ")", "deleteIfVersion"),
        ("kotlin", CLIENT_KT, "    suspend fun count(", "toLong()", "count"),
        ("node", "node/lib/client.js", "  deleteIfVersion(", "  }", "lib/client.js has no deleteIfVersion"),
    ] {
        let mut sources = without(&sources, path, first, last);
        if surface == "asyncio" {
            // The first that is found is that of the blocking client.
            assert!(found(&sources, "python").contains("there is no explain"));
            sources = without(&sources, path, first, last);
        }
        let found = found(&sources, surface);
        assert!(found.contains(missing), "{surface} without {missing}:\n{found}");
    }
}

#[test]
fn an_operation_that_one_surface_has_alone_is_found() {
    let sources = sources();
    for (surface, path, before, alone) in [
        (
            "rust",
            "core/src/operations.rs",
            "    /// Whether a key exists.",
            "    pub fn touch(&self) {\n    }\n",
        ),
        (
            "c",
            "include/slotkv.h",
            "/**\n * Whether a key exists",
            "slotkv_code_t slotkv_touch(slotkv_client_t client);\n",
        ),
        (
            "cpp",
            "include/slotkv.hpp",
            "    /// Whether a key exists.",
            "    Result touch(int x) { return {}; }\n",
        ),
        (
            "python",
            "python/slotkv/_slotkv.pyi",
            "    def has(self, key",
            "    def touch(self) -> None: ...\n",
        ),
        ("node", "node/index.d.ts", "  /** Whether a key exists. */", "  touch(): void\n"),
        (
            "kotlin",
            CLIENT_KT,
            "    /** Whether a key exists. */",
            "    /** */\n    suspend fun touch(key: ByteArray) = 5\n\n",
        ),
        ("node", "node/lib/client.js", "  has(key, told) {", "  touch() {\n  }\n"),
    ] {
        let sources = sources.with(path, |text| {
            let at = text.find(before).expect(before);
            format!("{}{alone}{}", &text[..at], &text[at..])
        });
        let found = found(&sources, surface);
        assert!(found.contains("touch"), "{path}:\n{found}");
    }
}

#[test]
fn an_option_a_field_and_an_error_that_a_surface_lacks_are_found() {
    let sources = sources();
    for (surface, path, from, to, missing) in [
        ("rust", "core/src/options.rs", "    pub ping: Duration,\n", "", "Options has no ping"),
        ("c", "include/slotkv.h", "    uint32_t ping_interval_ms;\n", "", "has no ping_interval_ms"),
        ("cpp", "include/slotkv.hpp", "    bool keys_only = false;\n", "", "Range has no keys_only"),
        ("python", "python/slotkv/_slotkv.pyi", "        keys_only: bool = False,\n", "", "keys_only"),
        ("node", "node/index.d.ts", "  pingIntervalMs?: number\n", "", "pingIntervalMs"),
        (
            "node",
            "node/index.d.ts",
            "  pingIntervalMs?: number\n",
            "  pingInterval?: number\n",
            "pingInterval,",
        ),
        ("rust", "core/src/stats.rs", "    pub redirects: u64,\n", "", "Stats has no redirects"),
        ("c", "include/slotkv.h", "    uint64_t redirects;\n", "", "has no redirects"),
        (
            "python",
            "python/slotkv/_slotkv.pyi",
            "    @property\n    def redirects(self) -> int: ...\n",
            "",
            "redirects",
        ),
        ("node", "node/index.d.ts", "  redirects: number\n", "", "has no redirects"),
        ("node", "node/index.d.ts", "  redirects: number\n", "  redirects: bigint\n", "redirects is bigint"),
        ("c", "include/slotkv.h", "    SLOTKV_CODE_DAMAGED = 30,\n", "", "no SLOTKV_CODE_DAMAGED"),
        (
            "c",
            "include/slotkv.h",
            "    SLOTKV_CODE_DAMAGED = 30,\n",
            "    SLOTKV_CODE_DAMAGED = 31,\n",
            "is 31",
        ),
        (
            "python",
            "python/slotkv/errors.py",
            "class DamagedError(SlotkvError):",
            "class _D:",
            "no DamagedError",
        ),
        ("python", "python/slotkv/errors.py", "        30: DamagedError,\n", "", "DAMAGED is"),
        (
            "python",
            "python/slotkv/errors.py",
            "code, kind = 24,",
            "code, kind = 23,",
            "code of CallCancelledError",
        ),
        ("node", "node/index.d.ts", "export class DamagedError", "class DamagedError", "no DamagedError"),
        (
            "node",
            "node/lib/errors.js",
            "retry: 'never' }, 30)",
            "retry: 'ask' }, 30)",
            "retry of DamagedError",
        ),
        ("kotlin", CLIENT_KT, "    keysOnly: Boolean = false,\n", "", "keysOnly"),
        ("kotlin", "bindings/uniffi/src/view.rs", "    pub redirects: u64,\n", "", "has no redirects"),
        ("go", STATUS_GO, "\tRottenSlots uint64\n", "", "has no RottenSlots"),
        ("go", STATUS_GO, "\tRottenSlots uint64\n", "\tRottenSlots int\n", "RottenSlots is int, not uint64"),
        ("go", STATUS_GO, "\tCopies []ReplicaStatus\n", "\tCopies []string\n", "not []ReplicaStatus"),
        ("go", STATUS_GO, "\tLive bool\n", "\tLive bool\n\tAlone bool\n", "Alone is not in"),
        ("kotlin", ERRORS_KT, "    30 -> DamagedException(failure)\n", "", "DAMAGED is"),
        ("kotlin", ERRORS_KT, "open class DamagedException", "class DamageException", "no DamagedException"),
        (
            "node",
            "node/index.d.ts",
            "  pingIntervalMs?: number\n",
            "  pingIntervalMs?: bigint\n",
            "is bigint",
        ),
        (
            "c",
            "include/slotkv.h",
            "    uint32_t ping_interval_ms;",
            "    uint64_t ping_interval_ms;",
            "is uint64_t",
        ),
        ("python", "python/slotkv/_slotkv.pyi", "page_items: int = 0", "page_items: float = 0", "is float"),
        ("node", "node/index.d.ts", "  | 'DAMAGED'\n", "", "ErrorKind"),
    ] {
        let sources = sources.with(path, |text| {
            assert!(text.contains(from), "{path} has no {from:?}");
            text.replacen(from, to, 1)
        });
        let found = found(&sources, surface);
        assert!(found.contains(missing), "{path} without {from:?}:\n{found}");
    }
}

#[test]
fn a_default_a_bound_and_a_sentence_that_a_comment_lacks_are_found() {
    let sources = sources();
    for (surface, path, from, to, missing) in [
        ("rust", "core/src/options.rs", "Default 300 ms", "Default 301 ms", "default 300"),
        ("c", "include/slotkv.h", "up to 300000; 5000", "up to 300001; 5000", "bound 300000"),
        ("cpp", "include/slotkv.hpp", "up to 16; 1.", "up to 16; 2.", "default 1"),
        ("python", "bindings/python/src/client.rs", "Default 16384", "Default 1024", "default 16384"),
        ("node", "node/index.d.ts", "by default 16,384", "by default 6,384", "default 16384"),
        (
            "node",
            "node/index.d.ts",
            "/** Whether a key exists. */",
            "/** If a key exists. */",
            "Whether a key exists",
        ),
        (
            "asyncio",
            "bindings/python/src/aio.rs",
            "/// Removes a key.",
            "/// Deletes a key.",
            "Removes a key",
        ),
        ("rust", "core/src/stats.rs", "/// Calls begun.", "/// Begun calls.", "Calls begun"),
        (
            "go",
            STATUS_GO,
            "Different are copies",
            "Different is how many",
            "does not begin with \"Copies, its own included",
        ),
        ("kotlin", CLIENT_KT, "by default 16,384", "by default 6,384", "default 16384"),
        (
            "c",
            "include/slotkv.h",
            "Codes: NOT_A_NUMBER, OVERFLOW",
            "Codes: OVERFLOW",
            "does not name NOT_A_NUMBER",
        ),
    ] {
        let sources = sources.with(path, |text| {
            assert!(text.contains(from), "{path} has no {from:?}");
            text.replacen(from, to, 1)
        });
        let found = found(&sources, surface);
        assert!(found.contains(missing), "{path} with {to:?}:\n{found}");
    }
}

#[test]
fn an_exception_that_nothing_needs_is_found() {
    let sources = sources().with("bindings/specification/specification.toml", |text| {
        format!("{text}\n[[exception]]\nsurfaces = [\"node\"]\nitem = \"count\"\nbecause = \"it counts on its fingers\"\n")
    });
    assert!(found(&sources, "node").contains("count is there"));
}
