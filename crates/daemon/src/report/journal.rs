//! Lines of the log, as `weald log` shows them.

use serde::{Deserialize, Serialize};
use weald_engine::audit::Logged;
use weald_model::Timestamp;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number in the log: `WS@{op N}` is the state behind it.
    pub record: u64,
    /// When, RFC 3339 in UTC, to the nanosecond.
    pub time: String,
    /// The process; 0 when not known, as for what the kernel wrote back later.
    pub pid: u32,
    /// The file-system user id.
    pub uid: u32,
    /// The program's name; null when not known.
    pub program: Option<String>,
    /// What was done.
    pub operation: String,
    /// What it was done to, from the root of the workspace; empty is the root, null when it is about no file.
    pub path: Option<String>,
    /// A second path: the new name of a rename or link, the target of a copy.
    pub to: Option<String>,
    /// Where in the file.
    pub offset: Option<u64>,
    /// How many bytes, or the new size.
    pub bytes: Option<u64>,
    /// What else there is to say.
    pub detail: Option<String>,
}

/// The end of the answer to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// How many lines there were.
    pub lines: u64,
    /// The last record that was looked at.
    pub last_record: u64,
    /// The last record that was given up; 0 when the log has all.
    #[serde(default)]
    pub given_up: u64,
}

/// Answer to log --reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadsLogged {
    /// The workspace.
    pub name: String,
    /// Its id.
    pub id: String,
    /// What is to be.
    pub logs_reads: bool,
    /// True when it was otherwise before.
    pub is_changed: bool,
    /// True when it holds already; false when it waits for the next mount, since somebody is in the workspace.
    pub in_force: bool,
    /// Who that is, as a sentence.
    pub in_use_by: Option<String>,
}

impl From<Logged> for LogLine {
    fn from(logged: Logged) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            record: logged.seq,
            time: rfc3339(logged.time),
            pid: logged.pid,
            uid: logged.uid,
            program: logged.program.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()),
            operation: logged.operation.to_owned(),
            path: logged.path.map(text),
            to: logged.to.map(text),
            offset: logged.offset,
            bytes: logged.bytes,
            detail: logged.detail,
        }
    }
}

fn rfc3339(time: Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let at = jiff::Timestamp::new(time.secs, nanos).unwrap_or_default();
    format!("{at:.9}")
}
