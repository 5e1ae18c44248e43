//! How the gateway fares, for Prometheus.

use std::sync::OnceLock;

use axum::{
    extract::State,
    http::{HeaderName, header::CONTENT_TYPE},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{Duration, interval};
use tracing::warn;

use super::answers::WhenLooking;
use crate::{app::App, broker::router};

/// The recorder belongs to the process: counters anywhere in it find their way without a handle.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Samples of histograms wait in memory until they are sorted into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// In seconds: from a fast SSD to a worn SD card.
const COMMIT_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
const COMMIT_SECONDS: &str = "crosslink_commit_seconds";

const REBUILDS: &str = "crosslink_router_rebuilds_total";

const COUNTERS: [(&str, &str); 18] = [
    ("crosslink_aliases_total", "Messages on a topic that is spelt in another way than the gateway does"),
    (
        "crosslink_denials_unrecorded_total",
        "Commands refused and not recorded: more of a topic, for one reason, than the log takes in a minute",
    ),
    ("crosslink_http_refused_total", "HTTP connections refused because there were too many"),
    ("crosslink_journal_entries_total", "Entries written to the journal"),
    ("crosslink_journal_failures_total", "Batches that the journal could not write at the first try"),
    ("crosslink_mqtt_dropped_total", "Messages that a slow client did not get"),
    ("crosslink_mqtt_expired_commands_total", "Commands that left a stalled client's queue"),
    ("crosslink_mqtt_flapping_refused_total", "Connections refused because their client broke off too often"),
    (
        "crosslink_mqtt_flapping_total",
        "Times that a client broke off once too often, and was refused from then on",
    ),
    ("crosslink_mqtt_gave_way_total", "Connections that had said nothing when others needed their room"),
    ("crosslink_mqtt_received_total", "Messages that clients published"),
    ("crosslink_mqtt_refused_total", "Connections refused because there were too many"),
    ("crosslink_rejections_total", "Messages that could not be understood"),
    ("crosslink_retained_refused_total", "Messages that were to be kept while there was no room for more"),
    (
        "crosslink_router_lost_total",
        "QoS 0 messages that were perhaps not heard: in a router that failed, or too many while clients moved to another",
    ),
    ("crosslink_router_resent_total", "Deliveries that a router which was replaced had not made"),
    ("crosslink_sql_statements_total", "Statements sent to the database"),
    (
        "crosslink_unrecorded_total",
        "Messages that were not recorded: QoS 0 while the journal could not write, or refused by the database",
    ),
];

/// Begins to count, once in a process.
pub fn begin_counting() {
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.to_owned()), &COMMIT_BUCKETS)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        match metrics::set_global_recorder(recorder) {
            Ok(()) => describe(),
            Err(why) => warn!("/metrics stays empty: {why}"),
        }
        handle
    });
}

fn describe() {
    for (name, meaning) in COUNTERS {
        metrics::describe_counter!(name, meaning);
        // A counter that stands at nought can be watched; one that is absent cannot.
        metrics::counter!(name).absolute(0);
    }
    metrics::describe_counter!(REBUILDS, "Times that the router was built anew, and why");
    for reason in router::REASONS {
        metrics::counter!(REBUILDS, "reason" => reason).absolute(0);
    }
    metrics::describe_histogram!(COMMIT_SECONDS, "How long the journal took to write a batch");
    metrics::describe_gauge!("crosslink_mqtt_clients", "Clients that are connected");
    metrics::describe_gauge!("crosslink_journal_head", "The last place in the journal");
}

/// Keeps the recorder small, for ever.
pub async fn upkeep() {
    let mut pace = interval(UPKEEP_EVERY);
    loop {
        pace.tick().await;
        if let Some(handle) = RECORDER.get() {
            handle.run_upkeep();
        }
    }
}

/// How the gateway fares.
///
/// Counters since the start, and how things stand now, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = 200, description = "In the text format of Prometheus", body = String,
        content_type = "text/plain; version=0.0.4", example = "crosslink_mqtt_clients 2\n"),
        WhenLooking))]
pub async fn scrape(State(app): State<App>) -> ([(HeaderName, &'static str); 1], String) {
    metrics::gauge!("crosslink_mqtt_clients").set(app.broker.client_count() as f64);
    metrics::gauge!("crosslink_journal_head").set(app.hub.head().0 as f64);
    let text = RECORDER.get().map(PrometheusHandle::render).unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_counter_in_the_code_is_described() {
        let mut counted = BTreeSet::new();
        names_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut counted);
        let described = COUNTERS.iter().map(|(name, _)| *name).chain([REBUILDS]);
        let described: BTreeSet<String> = described.map(str::to_owned).collect();
        assert_eq!(counted, described);
    }

    fn names_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names_in(&path, names);
                continue;
            }
            let code = fs::read_to_string(&path).unwrap();
            let start = concat!("counter!", "(\"");
            names.extend(
                code.split(start).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
        }
    }
}
