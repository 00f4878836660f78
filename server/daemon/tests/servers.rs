//! The servers as processes: their ready line, their end, their folders.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
};

use support::{Server, dev_on_free_ports, run, signal, slotkv};

fn refused(args: &[&str], code: i32) -> String {
    let mut command = slotkv();
    command.args(args);
    let done = run(command, b"").expect(code);
    assert!(done.stdout.is_empty(), "{done:?}");
    done.stderr
}

#[test]
fn dev_says_ready_once_and_ends_well() {
    let (dev, port) = dev_on_free_ports(5, &[]);
    assert_eq!(dev.uri, format!("slotkv://127.0.0.1:{port}"));
    for member in 0..5 {
        TcpStream::connect(("127.0.0.1", port + member)).unwrap();
    }
    dev.run(&["put", "k", "v"]).expect(0);
    assert_eq!(dev.terminate(), (Some(0), String::new()));
}

#[test]
fn dev_keeps_its_data_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let dev = Server::dev(&["--data", data]);
    for i in 0..50 {
        dev.run(&["put", &format!("k{i}"), "v"]).expect(0);
    }
    dev.terminate();
    let dev = Server::dev(&["--data", data, "--durability", "interval(100)"]);
    assert_eq!(dev.run(&["count"]).expect(0).text(), "50\n");
    assert!(dev.run(&["admin", "status"]).text().contains("interval(100)"));
    // Killed as hard as a process can be.
    drop(dev);
    let dev = Server::dev(&["--data", data]);
    assert_eq!(dev.run(&["count"]).expect(0).text(), "50\n");

    let second = refused(&["dev", "--port", "0", "--data", data], 3);
    assert!(second.contains("data") && second.contains("process"), "{second}");
    dev.terminate();
    let other = refused(&["dev", "--port", "0", "--data", data, "--shards", "4"], 2);
    assert!(other.contains("3 shards and 1024 slots"), "{other}");
}

#[test]
fn dev_without_a_folder_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = slotkv();
    command.args(["dev", "--port", "0", "--log", "warn"]).env("TMPDIR", folder.path());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready ");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    signal(child.id(), libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_started_is_refused_by_name() {
    for replicas in ["0", "8"] {
        let told = refused(&["dev", "--replicas", replicas], 2);
        assert!(told.contains("--replicas") && told.contains("1..=7"), "{told}");
    }
    assert!(refused(&["dev", "--ack", "two"], 2).contains("neither all nor one"));
    assert!(refused(&["dev", "--shards", "40", "--replicas", "2"], 2).contains("at most 64 workers"));
    assert!(refused(&["dev", "--port", "0", "--slots", "1000"], 2).contains("1000 slots"));
    assert!(refused(&["dev", "--port", "0", "--durability", "never"], 2).contains("\"never\""));
    assert!(refused(&["dev", "--port", "65534"], 2).contains("65534"));
    assert!(refused(&["dev", "--port", "0", "--listen", "0.0.0.0"], 3).contains("--advertise"));
    // The port of whoever runs `slotkv dev` beside the tests is not wanted.
    let master = ["master", "--listen", "127.0.0.1:0"];
    let of_master = |more: &[&str]| refused(&[&master, more].concat(), 2);
    assert!(of_master(&[]).contains("--coordinator"));
    assert!(of_master(&["--coordinator", "etcd://a"]).contains("\"etcd\""));
    assert!(of_master(&["--coordinator", "zk://a:1", "--placement", "random"]).contains("\"random\""));
    assert!(refused(&["worker", "--coordinator", "zk://a:1"], 2).contains("--data"));
    assert!(
        refused(&["worker", "--coordinator", "zk://a:1", "--data", "/tmp/x", "--listen", "a b"], 2)
            .contains("a b")
    );
    for (flag, bad, limit) in [
        ("--weight", "NaN", "from 0 on"),
        ("--weight", "inf", "from 0 on"),
        ("--weight", "-1", "from 0 on"),
        ("--shard", "4096", "0..4096"),
        ("--shard", "4294967295", "0..4096"),
        ("--shard", "-1", "--shard"),
        ("--replicas", "0", "1..=7"),
        ("--replicas", "8", "1..=7"),
        ("--min-isr", "0", "1..=7"),
    ] {
        let told = refused(
            &["worker", "--coordinator", "zk://a:1", "--data", "/tmp/x", &format!("{flag}={bad}")],
            2,
        );
        assert!(told.contains(flag) && told.contains(bad) && told.contains(limit), "{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    let worker = ["worker", "--coordinator", "zk://a:1", "--listen", "127.0.0.1:0", "--data"];
    let above = [folder.path().to_str().unwrap(), "--replicas", "2", "--min-isr", "3"];
    let told = refused(&[&worker[..], &above].concat(), 2);
    assert!(told.contains("min_isr 3; it is 1 to the number of replicas, which is 2"), "{told}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(refused(&["dev", "--port", &port, "--shards", "1"], 3).contains(&port));
    for server in [
        &["dev", "--port", "0"][..],
        &["master", "--listen", "127.0.0.1:0", "--coordinator", "zk://a:1"][..],
        &[&worker[..], &[folder.path().to_str().unwrap()]].concat()[..],
    ] {
        let with_metrics = |at: &str, code| refused(&[server, &["--metrics", at][..]].concat(), code);
        for at in [port.clone(), format!("127.0.0.1:{port}")] {
            let told = with_metrics(&at, 3);
            assert!(told.contains("--metrics: cannot listen on") && told.contains(&port), "{told}");
        }
        assert!(with_metrics("localhost", 2).contains("--metrics: \"localhost\" names no port"));
        assert!(with_metrics("65536", 2).contains("\"65536\""));
        assert!(with_metrics("a b:1", 2).contains("\"a b:1\""));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");
}

/// `slotkv dev` of one shard with these limits of file descriptors, soft and hard.
fn dev_with_descriptors(soft: libc::rlim_t, hard: libc::rlim_t) -> std::process::Command {
    let mut command = slotkv();
    command.args(["dev", "--port", "0", "--shards", "1", "--log", "slotkv_daemon=info,warn"]);
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    let set = move || {
        // SAFETY: a plain system call, the pointer is to a value of this closure.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec runs one system call, on a value of its own.
    unsafe { command.pre_exec(set) };
    command
}

#[test]
fn a_server_takes_the_file_descriptors_it_may_have_and_says_if_they_are_few() {
    let dev = Server::start_command(dev_with_descriptors(64, 4096));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", dev.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("4096"), "{files}");
    dev.terminate();

    let mut command = dev_with_descriptors(200, 600);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    signal(child.id(), libc::SIGTERM);
    let done = child.wait_with_output().unwrap();
    let log = String::from_utf8(done.stderr).unwrap();
    assert!(log.contains("takes 100 connections instead of 10000") && log.contains("600"), "{log}");
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn an_open_connection_does_not_hold_up_the_end() {
    let dev = Server::dev(&[]);
    let address = dev.uri.strip_prefix("slotkv://").unwrap().to_owned();
    let mut idle = TcpStream::connect(&address).unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    assert_eq!(dev.terminate().0, Some(0));
    let _ = idle.read_to_end(&mut Vec::new());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut dev = Server::dev(&[]);
    // While it is held both signals pile up, so that the second one is there before the orderly stop can be over.
    for name in [libc::SIGSTOP, libc::SIGINT, libc::SIGTERM, libc::SIGCONT] {
        signal(dev.pid(), name);
    }
    let (code, rest) = dev.end();
    assert!(matches!(code, Some(130 | 143)) && rest.is_empty(), "{code:?} {rest}");
}
