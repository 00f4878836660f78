//! The shell from a pipe: what it says, and what it survives.

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use support::{Server, dev_on_free_ports, run, slotkv};

#[test]
fn every_command_answers() {
    let dev = Server::dev(&[]);
    let script = br#"
        # a comment
        put k "a \x00\xff b"
        put k two
        get k
        has k
        cas k 0 three
        del k
        del k
        get k
        has k
        incr n 5
        incr n -7
        put "user:1" x
        put "user:2" ""
        count user:
        scan user: --ordered
        scan --prefix user: --ordered --limit 1 --keys-only
        ns other
        ns
        count
        ns ""
        count
        help get
    "#;
    let done = dev.run_with(&["shell"], script).expect(0);
    assert_eq!(done.stderr, "");
    let text = done.text();
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    assert!(next().starts_with("created  (version "));
    assert!(next().starts_with("updated  (version "));
    assert!(next().starts_with("\"two\"  (version "));
    assert_eq!(next(), "yes");
    assert!(next().starts_with("unmet: the key has version"));
    for expected in ["deleted", "not found", "not found", "no", "5", "-2"] {
        assert_eq!(next(), expected);
    }
    assert!(next().starts_with("created"));
    assert!(next().starts_with("created"));
    for expected in ["2", "\"user:1\" \"x\"", "\"user:2\" \"\"", "\"user:1\""] {
        assert_eq!(next(), expected);
    }
    assert!(next().starts_with("go on with --cursor "));
    for expected in [
        "\"other\"",
        "0",
        "3",
        "get KEY",
        "    print the value and the version of a key, and what is left of its time",
    ] {
        assert_eq!(next(), expected);
    }
    assert_eq!(next(), "");
}

#[test]
fn bad_input_is_told_and_the_next_line_is_read() {
    let dev = Server::dev(&[]);
    let script = b"fly\nget\nput \"open\nput k \\q\n\xff\xfe\nincr k x\nput k v\nincr k\nget k";
    let done = dev.run_with(&["shell"], script).expect(0);
    for (line, why) in [
        (1, "unknown command"),
        (2, "usage: get KEY"),
        (3, "never closed"),
        (4, "unknown escape"),
        (5, "unknown command"),
        (6, "whole number"),
        (8, "NOT_A_NUMBER"),
    ] {
        let told = done
            .stderr
            .lines()
            .any(|told| told.starts_with(&format!("error: line {line}: ")) && told.contains(why));
        assert!(told, "line {line}: {why} in\n{}", done.stderr);
    }
    assert!(done.text().contains("\"v\""), "{done:?}");
}

#[test]
fn a_script_may_stop_at_its_first_error() {
    let dev = Server::dev(&[]);
    let done = dev.run_with(&["shell", "--stop-on-error"], b"put k v\nfly\nput k w\n").expect(2);
    assert!(done.stderr.contains("line 2"), "{done:?}");
    assert_eq!(dev.run(&["get", "k"]).expect(0).stdout, b"v");
}

#[test]
fn the_end_of_input_and_exit_are_good_ends() {
    let mut command = slotkv();
    command.args(["shell", "--uri", "slotkv://127.0.0.1:1?connect_timeout_ms=200"]);
    run(command, b"").expect(0);
    let mut command = slotkv();
    command.args(["shell", "--uri", "slotkv://127.0.0.1:1?connect_timeout_ms=200"]);
    let done = run(command, b"help\nexit\nget k\n").expect(0);
    assert!(done.text().contains("Keys and values are any bytes") && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn the_loss_of_the_cluster_is_told_and_its_return_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let kept = ["--data", folder.path().to_str().unwrap(), "--log", "off"];
    let (dev, port) = dev_on_free_ports(5, &kept);
    let mut shell = slotkv()
        .args(["shell", "--uri", &format!("{}?deadline_ms=1000", dev.uri)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut answers = BufReader::new(shell.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut errors = BufReader::new(shell.stderr.take().unwrap()).lines().map(Result::unwrap);
    writeln!(input, "put k v").unwrap();
    assert!(answers.next().unwrap().starts_with("created"));
    drop(dev);
    writeln!(input, "get k").unwrap();
    let told = errors.next().unwrap();
    assert!(told.starts_with("error: line 2: "), "{told}");
    let _dev = Server::start(&[&["dev", "--port", &port.to_string()], &kept[..]].concat());
    writeln!(input, "get k").unwrap();
    assert!(answers.next().unwrap().starts_with("\"v\""));
    drop(input);
    assert_eq!(shell.wait().unwrap().code(), Some(0));
}
