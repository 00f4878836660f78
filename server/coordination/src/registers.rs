//! What the nodes hold: JSON with a `format` number. A register of a newer format is refused by name, fields that this
//! build does not know are ignored. Registers are changed only by compare-and-set on the node's version.
//!
//! A shard's register is never deleted, so its node version orders all of its states: a route is made of the register
//! alone, and its revision is that version + 1 ([`ShardRegister::route`]).

use std::{collections::BTreeSet, fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use slotkv_proto::{
    SlotCount, SlotTable,
    table::{Member, Route, ShardId},
};

use crate::Error;
pub use crate::handover::{Holds, Migration, Mover, Slots};

/// Most replicas of one shard, the primary included.
pub const REPLICAS_MAX: u32 = 7;

/// A value that one node holds.
pub trait Register: Sized {
    /// The format that this build writes; it reads this one and older ones.
    const FORMAT: u32;

    /// Refuses, in words for people, what no reader could use.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// The node's bytes. Refuses what [`decode`](Self::decode) would refuse, so that nobody writes a register that nobody
    /// can read.
    fn encode(&self) -> Result<Bytes, Error>;

    /// The register that the node at `path` holds.
    fn decode(path: &str, data: &[u8]) -> Result<Self, Error>;
}

/// Encodes and decodes a register as the JSON that serde makes of it.
macro_rules! as_json {
    () => {
        fn encode(&self) -> Result<bytes::Bytes, crate::Error> {
            self.validate().map_err(crate::Error::Invalid)?;
            crate::registers::encode_as(Self::FORMAT, self)
        }

        fn decode(path: &str, data: &[u8]) -> Result<Self, crate::Error> {
            crate::registers::check_format(path, data, Self::FORMAT)?;
            let register: Self = crate::registers::decode_as(path, data)?;
            register.validate().map_err(|why| crate::Error::Damaged { path: path.into(), why })?;
            Ok(register)
        }
    };
}
pub(crate) use as_json;

/// JSON with a format number.
pub(crate) fn encode_as(format: u32, register: &impl Serialize) -> Result<Bytes, Error> {
    #[derive(Serialize)]
    struct Formatted<'a, T> {
        format: u32,
        #[serde(flatten)]
        register: &'a T,
    }
    let json = serde_json::to_vec(&Formatted { format, register });
    json.map(Bytes::from).map_err(|error| Error::Invalid(error.to_string()))
}

/// What the JSON of the node at `path` says.
pub(crate) fn decode_as<T: DeserializeOwned>(path: &str, data: &[u8]) -> Result<T, Error> {
    let damaged = |why: serde_json::Error| Error::Damaged { path: path.into(), why: why.to_string() };
    serde_json::from_slice(data).map_err(damaged)
}

/// The format of the node at `path`; refuses those past `known`.
pub(crate) fn check_format(path: &str, data: &[u8], known: u32) -> Result<u32, Error> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let Head { format } = decode_as(path, data)?;
    match format > known {
        true => Err(Error::NewerFormat { path: path.into(), format, known }),
        false => Ok(format),
    }
}

macro_rules! registers {
    ($($register:ident)*) => { $(impl Register for $register {
        const FORMAT: u32 = 1;
        as_json!();
    })* };
}

registers! { Cluster MasterRecord MasterEpoch MemberRecord KnownMember Election ShardIds }

impl Register for ShardRegister {
    const FORMAT: u32 = 1;
    as_json!();

    fn validate(&self) -> Result<(), String> {
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return Err(format!("weight {}: a weight is a finite number of at least 0", self.weight));
        }
        validate_replicas(self.replicas)?;
        validate_min_isr(self.min_isr, self.replicas)?;
        let names: BTreeSet<&str> = self.isr.iter().map(|replica| replica.name.as_str()).collect();
        match names.len() == self.isr.len() {
            true => Ok(()),
            false => Err("a replica is in the ISR twice".to_owned()),
        }
    }
}

/// Refuses a number of replicas that no shard has.
pub fn validate_replicas(replicas: u32) -> Result<(), String> {
    match (1..=REPLICAS_MAX).contains(&replicas) {
        true => Ok(()),
        false => Err(format!("{replicas} replicas: a shard has 1 to {REPLICAS_MAX}")),
    }
}

/// Refuses a `min_isr` that so many replicas cannot meet, or that asks for nothing.
pub fn validate_min_isr(min_isr: u32, replicas: u32) -> Result<(), String> {
    match (1..=replicas).contains(&min_isr) {
        true => Ok(()),
        false => Err(format!("min_isr {min_isr}: it is 1 to the number of replicas, which is {replicas}")),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `/cluster`: written once, by the first leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Tells clusters apart for good.
    pub cluster_id: String,
    /// A power of two up to 16384.
    pub slot_count: u32,
    /// How many shards must have registered before the slots are allocated.
    pub shards_announced: u32,
    /// Name of the placement policy.
    pub placement: String,
}

impl Cluster {
    /// The number of slots, checked.
    pub fn slots(&self) -> Result<SlotCount, Error> {
        SlotCount::new(self.slot_count).ok_or_else(|| Error::Damaged {
            path: crate::paths::CLUSTER.into(),
            why: format!("{} slots: not a power of two up to 16384", self.slot_count),
        })
    }

    /// A slot table in which nothing is allocated.
    pub fn table(&self) -> Result<SlotTable, Error> {
        Ok(SlotTable::new(self.cluster_id.clone(), self.slots()?))
    }
}

/// `/masters/<seq>`: a master that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterRecord {
    /// `host:port`.
    pub address: String,
}

/// `/master_epoch`: incremented by every master that takes office.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterEpoch {
    /// How many have.
    pub epoch: u64,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Plans and serves the slot table.
    Master,
    /// Serves data.
    Worker,
    /// Speaks HTTP.
    Gateway,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Master => "master",
            Role::Worker => "worker",
            Role::Gateway => "gateway",
        })
    }
}

/// How the data of a replica is, and what its process has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// What is wrong with the data, in words for people; empty: nothing is known to be.
    pub trouble: String,
    /// Times that its data was compared with that of others at one record of the log.
    pub checks: u64,
    /// Copies, its own included, that it found to differ while it led.
    pub different: u64,
    /// Slots of its own whose rows were not what was written.
    pub rotten_slots: u64,
    /// Full copies that it has begun to receive.
    pub copies_begun: u64,
    /// Full copies that have taken the place of its data.
    pub copies_installed: u64,
    /// Times that the replica was begun anew within the process.
    pub restarts: u64,
}

impl Health {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `/members/<name>-<run>`: a process that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Stable over restarts.
    pub name: String,
    /// New at every process start.
    pub run: String,
    /// Names the replica's data; empty for members without.
    pub inc: String,
    /// What it does.
    pub role: Role,
    /// `host:port`.
    pub address: String,
    /// The shard it belongs to.
    pub shard: Option<ShardId>,
    /// Where it stands; empty if nobody said.
    pub zone: String,
    /// How its replica stands, in words for people; empty if it has none, or has not said yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub standing: String,
    /// Since when, in milliseconds of its wall clock; 0: it has not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since_ms: u64,
    /// How its data is.
    #[serde(default, skip_serializing_if = "Health::is_default")]
    pub health: Health,
}

/// `/known/<name>`: a member that was ever seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownMember {
    /// As it last joined.
    #[serde(flatten)]
    pub member: MemberRecord,
    /// Whether it left in an orderly way; if not and it does not live, it crashed or is cut off.
    pub left: bool,
}

/// How many replicas of the ISR must hold a record durably.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// All of them.
    #[default]
    All,
    /// The primary and one other, if there is one.
    One,
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ack::All => "all",
            Ack::One => "one",
        })
    }
}

impl FromStr for Ack {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "all" => Ok(Ack::All),
            "one" => Ok(Ack::One),
            _ => Err(Error::Invalid(format!("ack {text:?} is neither all nor one"))),
        }
    }
}

/// When an acknowledged write is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Durability {
    /// Before it is acknowledged.
    #[default]
    Sync,
    /// At most so many milliseconds later.
    Interval(u64),
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Sync => f.write_str("sync"),
            Durability::Interval(ms) => write!(f, "interval({ms})"),
        }
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let interval =
            || text.strip_prefix("interval(")?.strip_suffix(')')?.parse().ok().filter(|&ms| ms > 0);
        match (text, interval()) {
            ("sync", _) => Ok(Durability::Sync),
            (_, Some(ms)) => Ok(Durability::Interval(ms)),
            _ => {
                Err(Error::Invalid(format!("durability {text:?} is neither sync nor interval(milliseconds)")))
            }
        }
    }
}

impl TryFrom<String> for Durability {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Durability> for String {
    fn from(durability: Durability) -> String {
        durability.to_string()
    }
}

/// Who answers for a shard. The address is here so that routing survives the loss of the ephemeral node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primary {
    /// The member's name.
    pub name: String,
    /// The process: a restarted one is not the primary any more.
    pub run: String,
    /// `host:port`.
    pub address: String,
}

/// A copy that counts. `name` and `inc` say which; `run` and `address` say where it was when it came in sync, so that a
/// route needs nothing but the register. A process that takes over the same data comes in sync anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The member's name.
    pub name: String,
    /// Its data; the same member with other data does not count.
    pub inc: String,
    /// The process.
    pub run: String,
    /// `host:port`.
    pub address: String,
}

/// `/shards/<id>`: the configuration of a shard. A change of `primary` increments `epoch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRegister {
    /// Grows with every change of the primary.
    pub epoch: u64,
    /// Who answers; `None` while nobody does.
    pub primary: Option<Primary>,
    /// The copies in sync, the primary's included.
    pub isr: Vec<Replica>,
    /// How many of them a write waits for.
    pub ack: Ack,
    /// Fewer copies than this in sync: no writes.
    pub min_isr: u32,
    /// How many copies there shall be, the primary's included.
    pub replicas: u32,
    /// The member that shall be primary when it can.
    pub preferred: Option<String>,
    /// When an acknowledged write is on the disk.
    pub durability: Durability,
    /// Share of the slots, relative to the other shards'.
    pub weight: f64,
    /// The last epoch that began with what unclean stops had left, or by an operator's [`recover`](Self::recover), so that
    /// committed records of earlier ones may be lost; 0: none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub loss_epoch: u64,
    /// An operator gives up what others than this replica (`name/inc`) hold: it shall lead although too few can report.
    /// Whatever raises the epoch removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<String>,
}

impl ShardRegister {
    /// The default of `min_isr`: half of the replicas, rounded up.
    pub fn min_isr_default(replicas: u32) -> u32 {
        replicas.div_ceil(2).max(1)
    }

    /// The route that the register in this node version describes. Who lives does not matter: the same revision is the
    /// same route, whoever makes it and whenever.
    pub fn route(&self, shard: ShardId, version: u64) -> Route {
        let is_primary = |name: &str| self.primary.as_ref().is_some_and(|primary| primary.name == name);
        let member = |name: &str, run: &str, address: &str| Member {
            name: name.into(),
            run: run.into(),
            address: address.into(),
        };
        Route {
            shard,
            epoch: self.epoch,
            revision: version + 1,
            primary: self
                .primary
                .as_ref()
                .map(|primary| member(&primary.name, &primary.run, &primary.address)),
            backups: self
                .isr
                .iter()
                .filter(|replica| !is_primary(&replica.name))
                .map(|backup| member(&backup.name, &backup.run, &backup.address))
                .collect(),
        }
    }
}

/// `/shards/<id>/election/<epoch>/<seq>`: a replica that stands for primary, with its durable log end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// The member's name.
    pub name: String,
    /// Its data.
    pub inc: String,
    /// The process.
    pub run: String,
    /// Epoch of its last record.
    pub last_epoch: u64,
    /// Index of its last record.
    pub last_index: u64,
    /// The data by which the register names it, if its own is only what an unclean stop left of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains_of: Option<String>,
}

/// `/shard_ids`: the counter that new shards take their ids from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardIds {
    /// The next id to give.
    pub next: ShardId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> ShardRegister {
        ShardRegister {
            epoch: 3,
            primary: Some(Primary { name: "w1".into(), run: "r9".into(), address: "w1:7710".into() }),
            isr: vec![replica("w1", "i1", "r9"), replica("w2", "i2", "r2"), replica("w3", "i3", "r3")],
            ack: Ack::One,
            min_isr: 1,
            replicas: 3,
            preferred: Some("w2".into()),
            durability: Durability::Interval(1000),
            weight: 1.5,
            loss_epoch: 0,
            recover: None,
        }
    }

    fn replica(name: &str, inc: &str, run: &str) -> Replica {
        let address = format!("{name}:7710");
        Replica { name: name.into(), inc: inc.into(), run: run.into(), address }
    }

    fn member(name: &str, inc: &str) -> MemberRecord {
        MemberRecord {
            name: name.into(),
            run: "r1".into(),
            inc: inc.into(),
            role: Role::Worker,
            address: format!("{name}:7710"),
            shard: Some(0),
            zone: String::new(),
            standing: String::new(),
            since_ms: 0,
            health: Default::default(),
        }
    }

    fn election() -> Election {
        let (name, inc, run) = ("w1".into(), "i1".into(), "r1".into());
        Election { name, inc, run, last_epoch: 3, last_index: 99, remains_of: None }
    }

    /// Every register as release 0.1 writes it. Never edit a line: a later build must still read it.
    #[test]
    fn registers_are_the_golden_ones_both_ways() {
        fn check<R: Register + PartialEq + fmt::Debug>(register: R, golden: &str) {
            assert_eq!(String::from_utf8_lossy(&register.encode().unwrap()), golden);
            assert_eq!(R::decode("/x", golden.as_bytes()).unwrap(), register);
        }
        let golden: Vec<&str> = include_str!("../golden/registers-1.jsonl").lines().collect();
        check(
            Cluster {
                cluster_id: "c".into(),
                slot_count: 1024,
                shards_announced: 3,
                placement: "weighted".into(),
            },
            golden[0],
        );
        check(MasterRecord { address: "127.0.0.1:7700".into() }, golden[1]);
        check(MasterEpoch { epoch: 7 }, golden[2]);
        check(member("w1", "i1"), golden[3]);
        check(KnownMember { member: member("w1", "i1"), left: true }, golden[4]);
        check(shard(), golden[5]);
        // Line 6, a slot table with a hand-over that no build ever wrote, is read in `handover.rs`.
        check(election(), golden[7]);
        check(ShardIds { next: 3 }, golden[8]);
        check(
            MemberRecord { standing: "in sync".into(), since_ms: 1_700_000_000_000, ..member("w1", "i1") },
            golden[9],
        );
        check(ShardRegister { loss_epoch: 3, recover: Some("w2/i2".into()), ..shard() }, golden[10]);
        check(Election { remains_of: Some("i0".into()), ..election() }, golden[11]);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let error = MasterEpoch::decode("/master_epoch", br#"{"format":2,"term":9}"#).unwrap_err();
        assert_eq!(error, Error::NewerFormat { path: "/master_epoch".into(), format: 2, known: 1 });
        assert!(error.to_string().contains("/master_epoch has format 2"));
    }

    #[test]
    fn what_is_no_register_is_damaged_and_an_unknown_field_is_ignored() {
        for data in [&b""[..], b"{", b"[]", b"{\"epoch\":1}", b"{\"format\":1}", b"\xff\xfe"] {
            assert!(matches!(MasterEpoch::decode("/master_epoch", data), Err(Error::Damaged { .. })));
        }
        let epoch = MasterEpoch::decode("/master_epoch", br#"{"format":1,"epoch":4,"later":[]}"#);
        assert_eq!(epoch, Ok(MasterEpoch { epoch: 4 }));
    }

    #[test]
    fn a_route_is_what_the_register_says() {
        let route = shard().route(4, 11);
        assert_eq!((route.shard, route.epoch, route.revision), (4, 3, 12));
        assert_eq!(route.primary.unwrap().run, "r9");
        let backups: Vec<_> =
            route.backups.iter().map(|backup| (backup.name.as_str(), backup.run.as_str())).collect();
        assert_eq!(backups, [("w2", "r2"), ("w3", "r3")]);
        assert_eq!(route.backups[0].address, "w2:7710");
    }

    #[test]
    fn a_weight_that_is_no_share_is_neither_written_nor_read() {
        for weight in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5] {
            let error = ShardRegister { weight, ..shard() }.encode().unwrap_err();
            assert!(matches!(&error, Error::Invalid(why) if why.contains("weight")), "{error}");
        }
        let written = String::from_utf8(shard().encode().unwrap().to_vec()).unwrap();
        for weight in ["null", "-1.5", "1e999", "\"NaN\""] {
            let data = written.replace("\"weight\":1.5", &format!("\"weight\":{weight}"));
            assert_ne!(data, written);
            let error = ShardRegister::decode("/shards/3", data.as_bytes()).unwrap_err();
            assert!(matches!(&error, Error::Damaged { path, .. } if path == "/shards/3"), "{error}");
        }
        for weight in [0.0, f64::MIN_POSITIVE, f64::MAX] {
            let data = ShardRegister { weight, ..shard() }.encode().unwrap();
            assert_eq!(ShardRegister::decode("/shards/3", &data).unwrap().weight, weight);
        }
    }

    #[test]
    fn replicas_that_cannot_be_are_neither_written_nor_read() {
        let with = |replicas, min_isr| ShardRegister { replicas, min_isr, ..shard() };
        for (register, why) in [
            (with(0, 0), "0 replicas"),
            (with(REPLICAS_MAX + 1, 1), "8 replicas: a shard has 1 to 7"),
            (with(3, 0), "min_isr 0"),
            (with(2, 3), "min_isr 3: it is 1 to the number of replicas, which is 2"),
            (ShardRegister { isr: vec![replica("w1", "i1", "r1"); 2], ..shard() }, "twice"),
        ] {
            let error = register.encode().unwrap_err();
            assert!(matches!(&error, Error::Invalid(text) if text.contains(why)), "{error}");
        }
        let written = String::from_utf8(shard().encode().unwrap().to_vec()).unwrap();
        let data = written.replace("\"min_isr\":1", "\"min_isr\":4");
        assert_ne!(data, written);
        let error = ShardRegister::decode("/shards/3", data.as_bytes()).unwrap_err();
        assert!(matches!(&error, Error::Damaged { path, .. } if path == "/shards/3"), "{error}");
        assert!(with(REPLICAS_MAX, REPLICAS_MAX).encode().is_ok() && with(1, 1).encode().is_ok());
    }

    #[test]
    fn durability_is_read_as_it_is_written() {
        for text in ["sync", "interval(1000)"] {
            assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
        }
        for text in ["", "async", "interval", "interval()", "interval(0)", "interval(-1)", "interval(1"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }

    #[test]
    fn ack_is_read_as_it_is_written() {
        for text in ["all", "one"] {
            assert_eq!(text.parse::<Ack>().unwrap().to_string(), text);
        }
        for text in ["", "All", "two", "none"] {
            assert!(text.parse::<Ack>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_slot_count_that_cannot_be_is_damage() {
        let mut cluster = Cluster {
            cluster_id: "c".into(),
            slot_count: 1024,
            shards_announced: 1,
            placement: "ring".into(),
        };
        assert_eq!(cluster.table().unwrap().slots().get(), 1024);
        cluster.slot_count = 1000;
        assert!(matches!(cluster.table(), Err(Error::Damaged { .. })));
    }
}
