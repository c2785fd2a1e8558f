//! What an instance printed, as the demo hears it.

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::ChildStdout,
    sync::watch,
};

/// One change as an app was told it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Told {
    pub(super) reason: String,
    pub(super) subject: String,
    pub(super) workspace_id: Option<String>,
    pub(super) member_id: Option<String>,
    pub(super) state: String,
    #[serde(rename = "received_ms_after_record")]
    pub(super) delay_ms: Option<f64>,
}

/// A line of `watch --output jsonl`, as far as the demo looks at it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Change {
        position: i64,
        #[serde(flatten)]
        told: Told,
    },
    SnapshotEnd {
        position: i64,
    },
    Bookmark {
        position: i64,
    },
    #[serde(other)]
    Other,
}

/// Everything that was heard of one instance.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Everything up to here was printed.
    pub(super) position: i64,
    /// The changes since they were last taken.
    pub(super) told: Vec<Told>,
    /// The changes since the beginning.
    pub(super) delivered: usize,
}

/// Reads the lines of an instance until it ends.
pub(super) fn listen(stdout: ChildStdout) -> watch::Sender<Heard> {
    let heard = watch::Sender::new(Heard::default());
    let hearing = heard.clone();
    // Ends with the instance, which the stage ends on every path.
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(line) = serde_json::from_str(&line) {
                hearing.send_modify(|heard| heard.hear(line));
            }
        }
    });
    heard
}

impl Heard {
    fn hear(&mut self, line: Line) {
        match line {
            Line::Change { position, told } => {
                self.position = position;
                self.delivered += 1;
                self.told.push(told);
            }
            Line::SnapshotEnd { position } | Line::Bookmark { position } => self.position = position,
            Line::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_watch_are_understood() {
        let mut heard = Heard::default();
        for line in [
            r#"{"kind":"opened","store_id":"s","head_position":1}"#,
            r#"{"kind":"snapshot_end","position":1,"ready_position":1}"#,
            r#"{"kind":"change","position":2,"change_id":"c","reason":"DEACTIVATED","received_ms_after_record":1.5,
                "subject":"member","member_id":"m","state":"DEACTIVATED","version":2}"#,
            r#"{"kind":"bookmark","position":4}"#,
        ] {
            heard.hear(serde_json::from_str(line).unwrap());
        }
        assert_eq!((heard.position, heard.delivered), (4, 1));
        let told = heard.told.pop().unwrap();
        assert_eq!((told.member_id.as_deref(), told.delay_ms), (Some("m"), Some(1.5)));
    }
}
