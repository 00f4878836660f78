//! Import and export of JSON Lines.

mod support;

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use support::Server;

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// Records of every kind: text, no text, empty values, escapes.
fn records(count: usize) -> String {
    let mut lines = String::new();
    for i in 0..count {
        let line = match i % 4 {
            0 => serde_json::json!({ "key": format!("text:{i}"), "value": format!("välue\n\"{i}\"\u{0}") }),
            1 => {
                serde_json::json!({ "key_base64": STANDARD.encode([0, 255, i as u8, (i >> 8) as u8]), "value": "" })
            }
            2 => {
                serde_json::json!({ "key": format!("bytes:{i}"), "value_base64": STANDARD.encode([0xff, i as u8].repeat(150)) })
            }
            _ => serde_json::json!({ "key": format!("spaced {i}"), "value": "x", "namespace": "other" }),
        };
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    lines
}

fn sorted(text: &str) -> Vec<serde_json::Value> {
    let mut lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line.to_string());
    lines
}

#[test]
fn what_was_imported_is_exported_again() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Server::dev(&[]);
    let (input, output) = (path(folder.path(), "in.jsonl"), path(folder.path(), "out.jsonl"));
    fs::write(&input, format!("{{\"slotkv_export\":1}}\n\n{}", records(1000))).unwrap();
    let done = dev.run(&["import", &input]).expect(0);
    assert_eq!(done.text(), "imported 1000 records: 1000 created, 0 updated; 0 lines refused\n");
    assert_eq!(dev.run(&["count"]).expect(0).text(), "750\n");
    let json = dev.run(&["import", &input, "--json"]).expect(0).text();
    let counts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&counts["updated"], &counts["lines"]), (&1000.into(), &1002.into()));

    let done = dev.run(&["export", &output]).expect(0);
    assert!(done.stderr.contains("exported 750 records"), "{done:?}");
    let other = dev.run(&["export", "--namespace", "other"]).expect(0).text();
    let both = format!("{}{}", fs::read_to_string(&output).unwrap(), other);
    assert!(sorted(&both.replace("{\"slotkv_export\":1}\n", "")) == sorted(&records(1000)));

    // Into another cluster, byte for byte.
    let second = Server::dev(&[]);
    second.run_with(&["import", "-"], both.as_bytes()).expect(0);
    let ordered = |dev: &Server| dev.run(&["export", "--ordered"]).expect(0).stdout;
    assert!(ordered(&dev) == ordered(&second));
}

#[test]
fn the_last_of_several_lines_with_one_key_wins() {
    let dev = Server::dev(&[]);
    let lines: String =
        (0..2000).map(|i| format!("{{\"key\":\"k{}\",\"value\":\"{i}\"}}\n", i % 3)).collect();
    dev.run_with(&["import", "-"], lines.as_bytes()).expect(0);
    for (key, value) in [("k0", "1998"), ("k1", "1999"), ("k2", "1997")] {
        assert_eq!(dev.run(&["get", key]).expect(0).text(), value);
    }
}

#[test]
fn refused_lines_are_told_by_number_and_the_rest_is_imported() {
    let dev = Server::dev(&[]);
    let long = "x".repeat(40 << 10);
    let lines = format!(
        "{{\"key\":\"a\",\"value\":\"1\"}}\nnonsense\n{{\"key\":\"b\"}}\n{{\"key\":\"{long}\",\"value\":\"\"}}\n{{\"key\":\"c\",\"value\":\"2\"}}"
    );
    let done = dev.run_with(&["import", "-"], lines.as_bytes()).expect(5);
    assert_eq!(done.text(), "imported 2 records: 2 created, 0 updated; 3 lines refused\n");
    for why in ["line 2: no JSON object", "line 3: wants either value or value_base64", "line 4: TOO_LARGE"] {
        assert!(done.stderr.contains(why), "{why} in {}", done.stderr);
    }
    let stopped = dev.run_with(&["import", "-", "--refused-max", "2"], "x\n".repeat(50).as_bytes()).expect(5);
    assert!(stopped.stderr.contains("2 lines refused (--refused-max), stopped"), "{stopped:?}");
    let newer = dev.run_with(&["import", "-"], b"{\"slotkv_export\":2}\n").expect(2);
    assert!(newer.stderr.contains("format 2"), "{newer:?}");
}

#[test]
fn an_import_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (input, state) = (path(folder.path(), "in.jsonl"), path(folder.path(), "state"));
    let dev = Server::dev(&[]);
    let text = records(400);
    let half: usize = text.lines().take(200).map(|line| line.len() + 1).sum();
    fs::write(&input, &text[..half]).unwrap();
    dev.run(&["import", &input, "--resume", &state]).expect(0);
    fs::write(&input, &text).unwrap();
    let done = dev.run(&["import", &input, "--resume", &state]).expect(0);
    assert_eq!(done.text(), "imported 400 records: 400 created, 0 updated; 0 lines refused\n");
    let again = dev.run(&["import", &input, "--resume", &state]).expect(0);
    assert_eq!(again.text(), done.text());
    fs::write(&input, text.replace("välue", "valeur")).unwrap();
    let other = dev.run(&["import", &input, "--resume", &state]).expect(2);
    assert!(other.stderr.contains("not the file that the state file belongs to"), "{other:?}");
}

/// The command, for which no file may grow beyond so many bytes, as on a disk that is full.
fn limited(mut command: Command, bytes: usize) -> Command {
    let limit = libc::rlimit { rlim_cur: bytes as libc::rlim_t, rlim_max: bytes as libc::rlim_t };
    let limit = move || {
        // SAFETY: plain system calls, the pointer is to a value of this closure. The signal would end the process where
        // a full disk is only an error.
        let refused = unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN) == libc::SIG_ERR
                || libc::setrlimit(libc::RLIMIT_FSIZE, &limit) != 0
        };
        if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: what runs between fork and exec are two system calls and reads nothing that another thread may hold.
    unsafe { command.pre_exec(limit) };
    command
}

#[test]
fn an_import_that_lost_its_cluster_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let (input, state, data) =
        (path(folder.path(), "in.jsonl"), path(folder.path(), "state"), path(folder.path(), "data"));
    // One at a time, they take several seconds on any machine; the state is written after the first.
    const RECORDS: usize = 60_000;
    fs::write(&input, records(RECORDS)).unwrap();
    let args = ["--data", &data, "--log", "off"];
    let dev = Server::dev(&args);
    let import = ["import", &input, "--resume", &state, "--patience", "1s", "--deadline-ms", "300"];
    let mut command = dev.command(&import);
    command.args(["--in-flight", "1"]);
    let running = std::thread::spawn(move || support::run(command, b""));
    while !Path::new(&state).exists() {
        std::thread::yield_now();
    }
    drop(dev);
    let done = running.join().unwrap();
    assert!(matches!(done.code, Some(3 | 4)) && done.stderr.contains("given up after 1s"), "{done:?}");
    let dev = Server::dev(&args);
    let done = dev.run(&import).expect(0);
    assert!(done.text().starts_with(&format!("imported {RECORDS} records")), "{done:?}");
    assert_eq!(dev.run(&["count"]).expect(0).text(), format!("{}\n", RECORDS / 4 * 3));
}

#[test]
fn an_export_that_found_its_disk_full_goes_on_later_and_leaves_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let (output, state) = (path(folder.path(), "out.jsonl"), path(folder.path(), "state"));
    let dev = Server::dev(&[]);
    dev.run_with(&["import", "-"], records(20_000).as_bytes()).expect(0);
    let whole = dev.run(&["export"]).expect(0).stdout;
    let export = ["export", &output, "--resume", &state];
    let mut before = 0;
    for room in [whole.len() / 2, whole.len() * 3 / 4] {
        let done = support::run(limited(dev.command(&export), room), b"").expect(3);
        assert!(done.stderr.contains("cannot write"), "{done:?}");
        let state: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
        assert_ne!(state["cursor"], "", "it is to go on from within the scan");
        let offset = state["offset"].as_u64().unwrap();
        assert!(before < offset && offset < room as u64, "{state}");
        before = offset;
    }
    let done = dev.run(&export).expect(0);
    assert!(fs::read(&output).unwrap() == whole);
    assert_eq!(done.stderr, format!("exported 15000 records, {} bytes\n", whole.len()));
}

#[test]
fn pipes_and_devices_are_read_and_written_like_files() {
    let dev = Server::dev(&[]);
    let done = dev.run_with(&["import", "/dev/stdin"], records(1000).as_bytes()).expect(0);
    assert!(done.text().starts_with("imported 1000 records"), "{done:?}");
    let whole = dev.run(&["export"]).expect(0).stdout;
    let through = dev.run(&["export", "/dev/stdout"]).expect(0);
    assert!(through.stdout == whole && through.stderr.starts_with("exported 750 records"), "{through:?}");
    for args in [["import", "/dev/stdin"], ["export", "/dev/stdout"]] {
        let refused = dev.run(&[&args[..], &["--resume", "state"]].concat()).expect(2);
        assert!(refused.stderr.contains("--resume wants a regular file"), "{refused:?}");
    }
    dev.run(&["export", "/dev/null"]).expect(0);
}

#[test]
fn an_import_that_waits_for_the_writer_of_a_fifo_ends_at_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = path(folder.path(), "fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = support::slotkv();
    let mut child = command.args(["import", &fifo]).spawn().unwrap();
    // Nobody writes, so it sleeps in the call that opens the fifo; there is nothing else that it waits for.
    let status = format!("/proc/{}/status", child.id());
    while !fs::read_to_string(&status).unwrap().contains("State:\tS") {
        std::thread::yield_now();
    }
    support::signal(child.id(), libc::SIGTERM);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn an_export_whose_reader_goes_away_just_ends() {
    let dev = Server::dev(&[]);
    dev.run_with(&["import", "-"], records(4000).as_bytes()).expect(0);
    for target in ["-", "/dev/stdout"] {
        let mut command = dev.command(&["export", target]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{target}");
    }
}

#[test]
fn lines_that_name_the_imports_own_namespace_keep_their_order_too() {
    let dev = Server::dev(&[]);
    let line = |i: usize| match i % 2 {
        0 => format!("{{\"key\":\"k\",\"value\":\"{i}\"}}\n"),
        _ => format!("{{\"key\":\"k\",\"value\":\"{i}\",\"namespace\":\"own\"}}\n"),
    };
    let lines: String = (0..2000).map(line).collect();
    dev.run_with(&["import", "-", "--namespace", "own"], lines.as_bytes()).expect(0);
    assert_eq!(dev.run(&["get", "k", "--namespace", "own"]).expect(0).text(), "1999");
}

#[test]
fn an_export_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (output, state) = (path(folder.path(), "out.jsonl"), path(folder.path(), "state"));
    let dev = Server::dev(&[]);
    dev.run_with(&["import", "-"], records(4000).as_bytes()).expect(0);
    let whole = dev.run(&["export"]).expect(0).stdout;
    dev.run(&["export", &output, "--resume", &state]).expect(0);
    assert!(fs::read(&output).unwrap() == whole);
    // As after a crash: more in the file than the state knows.
    let mut longer = whole.clone();
    longer.extend_from_slice(b"{\"key\":\"ha");
    fs::write(&output, &longer).unwrap();
    dev.run(&["export", &output, "--resume", &state]).expect(0);
    assert!(fs::read(&output).unwrap() == whole);
    let other = dev.run(&["export", &output, "--resume", &state, "--prefix", "x"]).expect(2);
    assert!(other.stderr.contains("belongs to another export"), "{other:?}");
    fs::write(&output, b"short").unwrap();
    let other = dev.run(&["export", &output, "--resume", &state]).expect(2);
    assert!(other.stderr.contains("not the file"), "{other:?}");
}
