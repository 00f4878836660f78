//! The servers as processes: their ready line, their end, their folders.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use support::{Server, free_ports, run, signal, slotkv};

fn refused(args: &[&str], code: i32) -> String {
    let mut command = slotkv();
    command.args(args);
    let done = run(command, b"").expect(code);
    assert!(done.stdout.is_empty(), "{done:?}");
    done.stderr
}

#[test]
fn dev_says_ready_once_and_ends_well() {
    let port = free_ports(5);
    let dev = Server::start(&["dev", "--port", &port.to_string(), "--log", "warn"]);
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
    assert!(refused(&["dev", "--replicas", "2"], 2).contains("--replicas 2: a shard has one replica"));
    assert!(refused(&["dev", "--port", "0", "--slots", "1000"], 2).contains("1000 slots"));
    assert!(refused(&["dev", "--port", "0", "--durability", "never"], 2).contains("\"never\""));
    assert!(refused(&["dev", "--port", "65534"], 2).contains("65534"));
    assert!(refused(&["dev", "--port", "0", "--listen", "0.0.0.0"], 3).contains("--advertise"));
    assert!(refused(&["master"], 2).contains("--coordinator"));
    assert!(refused(&["master", "--coordinator", "etcd://a"], 2).contains("\"etcd\""));
    assert!(
        refused(&["master", "--coordinator", "zk://a:1", "--placement", "random"], 2).contains("\"random\"")
    );
    assert!(refused(&["worker", "--coordinator", "zk://a:1"], 2).contains("--data"));
    assert!(
        refused(&["worker", "--coordinator", "zk://a:1", "--data", "/tmp/x", "--listen", "a b"], 2)
            .contains("a b")
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(refused(&["dev", "--port", &port, "--shards", "1"], 3).contains(&port));
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
    // No coordinator answers there, so the orderly stop has something to wait for.
    let mut command = slotkv();
    let port = free_ports(1);
    let coordinator = format!("zk://127.0.0.1:{port}");
    command.args(["master", "--coordinator", &coordinator, "--listen", "127.0.0.1:0", "--log", "info"]);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The first line is logged after the signals were taken over.
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    signal(child.id(), libc::SIGTERM);
    while !line.contains("SIGTERM") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap(), 0);
    }
    signal(child.id(), libc::SIGTERM);
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(0 | 143)), "{code:?}");
}
