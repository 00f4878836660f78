//! The project's own verbs: `cargo xtask demo | test | bench | conformance | soak | torture | fuzz | simulate | install-c | install-kotlin | wheel | zookeeper`.
//!
//! Layout: [`demo`] the real data set through every client · [`test`] every suite with one table at the end ·
//! [`bench`] slotkv beside its peers · [`conformance`] one run for every language · [`soak`] clients of every language for
//! a long time · [`torture`] everything that can go wrong, and every operation judged · [`fuzz`] bytes from outside · [`simulate`] seeded runs in virtual time · [`harmless`] what a client does to its host · [`cluster`] servers as child
//! processes · [`install_c`] the C library under a prefix, [`c`] its suite · [`node`] the Node package · [`kotlin`] the
//! Kotlin package · [`go`] the Go package · [`nightly`] what a nightly toolchain adds · [`process`] running and ending programs · [`machine`] Debian packages ·
//! [`venv`] Python environments, [`wheel`] the package for them · [`dataset`] the records of the demo · [`documents`] code
//! blocks of the documentation · [`table`] tables on the terminal.
//!
//! Whatever a verb starts it ends itself, by process id; a child also gets SIGTERM if xtask dies.

mod bench;
mod c;
mod cluster;
mod conformance;
mod dataset;
mod demo;
mod documents;
mod examples;
mod fuzz;
mod go;
mod harmless;
mod install_c;
mod kotlin;
mod machine;
mod nightly;
mod node;
mod process;
mod project;
mod simulate;
mod soak;
mod table;
mod test;
mod torture;
mod venv;
mod wheel;
mod zookeeper;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask VERB

  demo [--keep] [--debug]
      builds, starts `slotkv dev`, loads a real data set through the Python client, reads it back through Rust,
      sync Python, asyncio and Node, and compares every byte
        --keep     leave the cluster running and print how to connect
        --debug    debug builds, for work on the demo itself

  test [--long] [--list] [SUITE...]
      installs what it needs and runs every suite (or those named), one table at the end
        --long     the tests and the installations of tools that take minutes, too
        --list     the names of the suites

  conformance [--seed S] [--kills N]
      the scenarios of tests/scenarios and a seeded program of 1000 steps through the client of every language, the
      program also while N workers (3) are killed and connections are cut; answers compared byte for byte

  soak [--minutes N] [--seed S]
      clients of every language against workers that are killed and started again, for one minute or N: every call
      succeeds, and memory, descriptors and threads of the clients stay as they are

  torture [--moves] [--minutes N] [--seed S] [--replicas R] [--ack one|all] [--release] [--quiet] [--plant]
      clients in Rust, Python and Node against replicated shards on ZooKeeper, each server on a host of its own, while a
      seed kills, pauses, cuts off and damages them, for two minutes or N; every operation judged. Wants root
        --moves        meanwhile an operator drains shards, adds them back and changes their weights
        --replicas R   of each shard, instead of 3 (2 with --moves)
        --ack          when a write is acknowledged; `one` if nothing is said
        --release      release builds
        --quiet        nothing goes wrong
        --plant        a lost write among what the clients recorded, which has to be found

  fuzz [--minutes N] [--keep] [--target NAME]...
      bytes from outside (frames, log records, log files, snapshots, slot tables) and sequences of C calls, made up by
      libFuzzer, for one minute or N each; wants a nightly toolchain
        --keep     what reaches code that nothing in the tree reached goes to tests/fuzz/corpus
        --target   one of them, instead of all

  simulate [--seeds N] [--from S] [--bugs] [--failpoints]
      seeded runs in virtual time: N seeds (2000) of one shard's replicas, a tenth as many of whole clusters
        --bugs         planted mistakes, too, of replicas and of hand-overs: after how many seeds each is found
        --failpoints   instead: a hand-over is stopped at each of its steps, where each fault meets each of those that take part;
                       S decides everything else

  install-c --prefix P [--debug]
      builds the C library and installs it with its headers, pkg-config file and CMake package
        --debug    a debug build

  install-kotlin [--debug]
      builds the Kotlin package and installs it in Maven's local repository
        --debug    a debug build

  wheel
      builds the Python wheel as it is published (abi3, manylinux_2_28), has auditwheel look at it, and makes the source
      distribution; both into target/wheels

  zookeeper [--servers 1|3] [--dir DIR]
      a real ZooKeeper ensemble in the foreground; prints its zk:// URI
        --dir      where its temporary folder is made

  bench [bindings | ROW...] [--quick] [--rounds N] [--micro]
      slotkv beside Redis Cluster, redis-py, ioredis and valkey-glide; writes docs/benchmarks.md
        --quick    one round instead of five, a tenth of the keys; writes nothing to docs/
        --rounds N so many rounds instead of five
        --micro    the micro benchmarks of the benches crate instead

  bench failover [--kills N] [--only slotkv|redis|redis-1s|etcd] [--fault kill|stop|planned] [--built]
  bench failover --quiet-minutes N [--rate N]
      how long 50 clients in three languages cannot write when a primary is killed, stopped or handed over, beside Redis
      Cluster and etcd; or: load on all cores for N minutes, in which no shard may change its primary
        --built    the clients that the run before installed

  bench migrate [--keys N] [--value-bytes B] [--one-slot] [--rounds N] [--only slotkv|redis]
      a third shard joins two under load and gets its share of 1,000,000 keys, beside redis-cli --cluster reshard; writes
      docs/benchmarks.md if nothing is said but the rounds
        --one-slot     all keys in one slot, which moves; callers ask for others

  bench replicated [--rounds N] [--peers-only] [ROW... | resync]
      3 replicas: writes and linearizable reads beside etcd and beside Redis with WAIT 1, and how long a backup takes until
      it is in sync again

  bench instructions [--record]
      instructions per operation of each binding, compared with benches/instructions.json
        --record   writes that file
";

/// What every verb returns: whether all went well, or why it could not go on.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match verb {
        "demo" => demo::run(rest),
        "test" => test::run(rest),
        "bench" => bench::run(rest),
        "conformance" => conformance::run(rest),
        "soak" => soak::run(rest),
        "torture" => torture::run(rest),
        "fuzz" => fuzz::run(rest),
        "simulate" => simulate::run(rest),
        "install-c" => install_c::run(rest),
        "install-kotlin" => kotlin::run(rest),
        "wheel" => wheel::run(rest),
        "zookeeper" => zookeeper::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("unknown verb {other:?}\n\n{USAGE}").into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}
