//! Every metric, and the page in the Prometheus text format. docs/metrics.md describes them; a test holds the two together.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode_registry},
    metrics::MetricType,
    registry::Registry,
};

/// What a sample is of, beside its metric.
pub(super) type Labels = Vec<(&'static str, String)>;

macro_rules! metrics {
    ($($id:ident: $kind:ident, $unit:literal, $help:literal;)*) => {
        /// A metric; its name is the identifier in lower case behind `slotkv_`, and `_total` behind a counter's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        pub(super) enum Metric { $($id,)* }

        impl Metric {
            /// All of them, in the order of the page.
            #[cfg(test)]
            pub const ALL: &[Metric] = &[$(Metric::$id,)*];

            /// Without what the registry puts before it.
            fn name(self) -> &'static str {
                match self { $(Metric::$id => metrics!(@name $kind, $id),)* }
            }

            fn kind(self) -> MetricType {
                match self { $(Metric::$id => MetricType::$kind,)* }
            }

            /// In the documentation; empty: a number of what the name says, or 0 or 1.
            #[cfg(test)]
            fn unit(self) -> &'static str {
                match self { $(Metric::$id => $unit,)* }
            }

            fn help(self) -> &'static str {
                match self { $(Metric::$id => $help,)* }
            }
        }
    };
    (@name Counter, $id:ident) => { concat!(stringify!($id), "_total") };
    (@name Gauge, $id:ident) => { stringify!($id) };
}

metrics! {
    build_info: Gauge, "1", "The version of this build, as a label";
    coordinator_connected: Gauge, "0 or 1", "Whether the member is in touch with the coordinator";
    replica_standing: Gauge, "0 or 1", "How the replica stands: 1 for the label that says it";
    replica_leads: Gauge, "0 or 1", "Whether the replica leads its shard and answers for it";
    replica_epoch: Gauge, "epoch", "The highest epoch that the replica has promised";
    replica_commit_index: Gauge, "log index", "The last record that the replica knows to be committed";
    replica_applied_index: Gauge, "log index", "The last record whose rows can be read at the replica";
    replica_last_index: Gauge, "log index", "The last record of the replica's log";
    replica_shown_index: Gauge, "shown index", "The applied index as clients are told it";
    replica_log_bytes: Gauge, "bytes", "The replica's log on the disk";
    replica_in_doubt: Gauge, "0 or 1", "Whether something is known to be wrong with the replica's data";
    replica_checks: Counter, "comparisons", "Times that the data was compared with that of others";
    replica_different_copies: Counter, "copies", "Copies, its own included, that the replica found to differ while it led";
    replica_rotten_slots: Counter, "slots", "Slots of its own whose rows were not what was written";
    replica_copies_begun: Counter, "copies", "Full copies that the replica has begun to receive";
    replica_copies_installed: Counter, "copies", "Full copies that have taken the place of the replica's data";
    replica_restarts: Counter, "restarts", "Times that the replica was begun anew within its process";
    shard_replicas_in_sync: Gauge, "replicas", "The shard's ISR, as the replica's process sees the register";
    shard_replicas_wanted: Gauge, "replicas", "Replicas that the shard shall have";
    shard_replicas_needed: Gauge, "replicas", "Replicas in sync below which the shard takes no writes";
    master_leads: Gauge, "0 or 1", "Whether this master leads";
    master_epoch: Gauge, "epoch", "The highest master epoch that this master knows";
    table_version: Gauge, "version", "The version of the slot table that this master knows";
    masters_live: Gauge, "masters", "Masters that live";
    members_live: Gauge, "members", "Workers that live, those that stand by included";
    members_gone: Gauge, "members", "Workers that do not live and did not say goodbye";
    shards: Gauge, "shards", "Shards in the state that the label names";
    hand_overs_open: Gauge, "hand-overs", "Hand-overs of slots that are planned and not closed";
    slots_to_move: Gauge, "slots", "Slots that are not where the weights have them, as the leader sees it";
    slots_moved: Counter, "slots", "Slots that this leader has moved";
    slot_bytes_moved: Counter, "bytes", "Bytes that were sent for the slots that this leader has moved";
    hand_overs_aborted: Counter, "hand-overs", "Hand-overs that this leader has aborted";
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub metric: Metric,
    pub labels: Labels,
    pub value: u64,
}

/// What is told on one question.
#[derive(Debug)]
pub(super) struct Page(BTreeMap<Metric, Vec<(Labels, u64)>>);

impl Page {
    /// Nothing but the build.
    pub fn new() -> Self {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        Self(BTreeMap::from([(Metric::build_info, vec![(version, 1)])]))
    }

    /// What a member tells.
    pub fn add(&mut self, samples: Vec<Sample>) {
        for Sample { metric, labels, value } in samples {
            self.0.entry(metric).or_default().push((labels, value));
        }
    }

    /// The page.
    pub fn text(self) -> String {
        let mut registry = Registry::with_prefix("slotkv");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode_registry(&mut text, &registry);
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (metric, samples) in &self.0 {
            let mut family = encoder.encode_descriptor(metric.name(), metric.help(), None, metric.kind())?;
            for (labels, value) in samples {
                // Of a counter, too: the text format has `_total` in the name, not behind it.
                family.encode_family(labels)?.encode_gauge(value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_text_format_says_with_whatever_is_in_a_label() {
        let mut page = Page::new();
        let of = |name: &str| vec![("shard", "0".to_owned()), ("replica", name.to_owned())];
        page.add(vec![
            Sample { metric: Metric::replica_checks, labels: of("a"), value: u64::MAX },
            Sample { metric: Metric::replica_leads, labels: of("a\"\\\n"), value: 1 },
        ]);
        page.add(vec![Sample { metric: Metric::replica_checks, labels: of("b"), value: 0 }]);
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "# HELP slotkv_build_info The version of this build, as a label\n\
             # TYPE slotkv_build_info gauge\n\
             slotkv_build_info{{version=\"{version}\"}} 1\n\
             # HELP slotkv_replica_leads Whether the replica leads its shard and answers for it\n\
             # TYPE slotkv_replica_leads gauge\n\
             slotkv_replica_leads{{shard=\"0\",replica=\"a\\\"\\\\\\n\"}} 1\n\
             # HELP slotkv_replica_checks_total Times that the data was compared with that of others\n\
             # TYPE slotkv_replica_checks_total counter\n\
             slotkv_replica_checks_total{{shard=\"0\",replica=\"a\"}} 18446744073709551615\n\
             slotkv_replica_checks_total{{shard=\"0\",replica=\"b\"}} 0\n"
        );
        assert_eq!(page.text(), expected);
    }

    #[test]
    fn the_documentation_has_every_metric_with_its_type_and_unit() {
        let documented = include_str!("../../../../docs/metrics.md");
        let told: Vec<String> = documented
            .lines()
            .filter(|line| line.starts_with("| `slotkv_") && line.split('|').count() == 7)
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                format!("{} | {} | {}", cells[0], cells[1], cells[2])
            })
            .collect();
        let kind = |metric: Metric| match metric.kind() {
            MetricType::Counter => "counter",
            _ => "gauge",
        };
        let expected: Vec<String> = Metric::ALL
            .iter()
            .map(|&metric| format!("`slotkv_{}` | {} | {}", metric.name(), kind(metric), metric.unit()))
            .collect();
        assert_eq!(told, expected);
    }
}
