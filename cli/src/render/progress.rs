//! How far something has come, as JSON.

use std::time::Duration;

use migengine_engine::id::RunId;
use migengine_engine::progress::Progress;
use serde_json::{Value, json};

use crate::context::now;

/// The fields of a progress line. Times are seconds, shares are from 0 to 1.
#[must_use]
pub fn progress_json(progress: &Progress) -> Value {
    let mut object = match progress {
        Progress::Rows(meter) => json!({
            "rows": meter.rows,
            "keys": meter.keys,
            "keys_estimated": Some(meter.estimate).filter(|estimate| *estimate > 0),
            "keys_per_second": meter.rate().map(f64::round),
            "pass": meter.pass,
            "done": meter.done().map(rounded),
            "left_s": meter.left().map(seconds),
        }),
        Progress::Building(building) => json!({
            "phase": building.phase,
            "done": building.done.map(rounded),
            "waits_for_pid": building.waits_for,
        }),
        Progress::Waiting(waiting) => json!({
            "attempts": waiting.attempts,
            "waited_s": seconds(waiting.waited),
            "limit_s": seconds(waiting.limit),
            "blockers": waiting.blockers,
        }),
        Progress::Holding(reason) => json!({ "reason": reason }),
        Progress::Working { time, behind } => json!({ "time_s": seconds(*time), "waits_for_pids": behind }),
        Progress::Queueing { holder } => json!({ "holder": holder }),
    };
    if let Some(map) = object.as_object_mut() {
        map.insert("kind".to_owned(), progress.kind().into());
        map.insert("message".to_owned(), progress.words().into());
    }
    object
}

/// How far something has come, as `--events` and `journal show --follow` write it: `seq` is the last event's.
#[must_use]
pub fn progress_line_json(run: Option<RunId>, seq: u64, step: Option<&str>, progress: &Progress) -> Value {
    let mut line = json!({
        "type": "progress",
        "run": run.map(|run| run.to_string()),
        "seq": seq,
        "at": super::time(now()),
        "step": step,
    });
    if let (Some(map), Value::Object(fields)) = (line.as_object_mut(), progress_json(progress)) {
        map.extend(fields);
    }
    line
}

fn seconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64())
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use migengine_engine::chunk::Meter;

    #[test]
    fn rows_tell_rate_share_and_time_left() {
        let meter = Meter { rows: 10, keys: 250, estimate: 1_000, mine: (250, Duration::from_secs(5)), pass: 1 };
        let object = progress_json(&Progress::Rows(meter));
        assert_eq!(object["kind"], "rows");
        assert_eq!((object["done"].as_f64(), object["left_s"].as_f64()), (Some(0.25), Some(15.0)), "{object}");
        let unknown = progress_json(&Progress::Rows(Meter::default()));
        assert!(unknown["done"].is_null() && unknown["keys_estimated"].is_null(), "{unknown}");
    }
}
