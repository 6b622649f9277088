//! What the command and the daemon say to each other: one JSON object per line over a Unix socket.
//!
//! A connection carries one request. The daemon says [`Line::Hearing`] before it reads it, so that a request to a
//! dying daemon can be sent to the next one without being done twice; then come any number of [`Line::Progress`]
//! and exactly one [`Line::Done`] or [`Line::Fault`]. The values inside `Done` are the types of [`crate::report`]; `--json`
//! prints them as they are, so their field names are stable (docs/cli-json.md).
//! Invariant: a line is at most [`LINE_BYTES_MAX`] long; longer ones are refused before they are buffered.

use crate::refs::Spot;
use crate::report::{Bytes, GcOptions, LogLine};
use serde::{Deserialize, Serialize};
use weald_model::{Code, Fault};

/// Raised when a request or an answer changes its meaning. Both sides refuse other numbers.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest line in bytes. The longest real ones are lists of a few thousand workspaces.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// The first line of a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u32,
    /// What is asked.
    pub request: Request,
}

/// Which workspace is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name or id, when given.
    pub name: Option<String>,
    /// Where the caller stands; decides when there is no name.
    pub directory: Option<String>,
    /// Device number (`st_dev`) of that directory: finds it under bind mounts, too.
    pub device: Option<u64>,
}

/// What `weald create` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateRequest {
    /// URL, or absolute path of a repository or directory.
    pub source: String,
    /// Name of the workspace; the source's own name when missing.
    pub name: Option<String>,
    /// Revision to start from.
    pub rev: Option<String>,
    /// Branch to make and stand on.
    pub branch: Option<String>,
    /// History of a clone; what there is, or else one commit, when missing.
    pub depth: Option<Depth>,
    /// Ask the remote of a clone that is there for news.
    #[serde(default)]
    pub update: bool,
    /// Absolute path of the mount point, instead of the mount root.
    pub at: Option<String>,
    /// Absolute directory of mount points.
    pub mount_root: String,
    /// Other users may enter the mount.
    pub allow_other: bool,
}

/// How much history a clone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// So many commits.
    Commits(u32),
    /// All of it.
    Full,
}

/// What `weald fork` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForkRequest {
    /// The state to fork.
    pub from: Spot,
    /// Name of the fork, or the stem of the names.
    pub name: String,
    /// Makes `name-1` to `name-N`.
    pub count: Option<u32>,
    /// Absolute path of the mount point (with `count`: the directory of mount points).
    pub at: Option<String>,
    /// Absolute directory of mount points.
    pub mount_root: String,
}

/// What `weald snapshot` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The workspace; when there is none of that name and no note, the name is the note of one of `here`.
    pub target: Target,
    /// Where the caller stands.
    pub here: Target,
    /// What it is for.
    pub note: Option<String>,
    /// Words to find it by; also what keeps it for ever.
    pub tags: Vec<String>,
    /// What it is taken for.
    pub before: Option<Before>,
}

/// What Weald takes a snapshot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// `weald run --snapshot`.
    Run,
    /// `weald merge`, when there are conflicts.
    Merge,
}

/// What `weald history` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryRequest {
    /// The workspace; all of them when missing.
    pub target: Option<Target>,
    /// At most so many, newest first.
    pub limit: Option<u64>,
    /// Only those whose note has this text, in any case.
    pub grep: Option<String>,
    /// Only those with this tag.
    pub tag: Option<String>,
}

/// What `weald restore` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The state to bring back.
    pub state: Spot,
    /// Only these paths, as they were typed; everything when empty.
    pub paths: Vec<Bytes>,
    /// Where the caller stands: paths begin there when it is in the workspace, else at its root.
    pub directory: Option<Bytes>,
}

/// What `weald diff` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffRequest {
    /// The earlier state; the last snapshot when missing.
    pub from: Option<Spot>,
    /// The later one; the present of the same workspace when missing.
    pub to: Option<Spot>,
    /// The workspace when neither names one.
    pub here: Target,
    /// How much is to be told.
    pub detail: Detail,
}

/// How much of a difference is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Paths.
    #[default]
    Paths,
    /// Counts of lines, too.
    Stat,
    /// Patches, too.
    Patch,
}

/// A moment on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since 1970.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// What `weald log` asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogRequest {
    /// Which workspace.
    pub target: Target,
    /// Only what is about this path, as it was typed, or what is below it.
    pub path: Option<Bytes>,
    /// Where the caller stands: the path begins there when it is in the workspace, else at its root.
    pub directory: Option<Bytes>,
    /// Only what this program did.
    pub program: Option<String>,
    /// Only this operation.
    pub operation: Option<String>,
    /// Only from here on.
    pub since: Option<Moment>,
    /// Only up to here.
    pub until: Option<Moment>,
    /// Only so many, the last ones.
    pub limit: Option<u64>,
    /// Go on with what comes.
    pub follow: bool,
}

/// What `weald rules` asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RulesRequest {
    /// Which workspace.
    pub target: Target,
    /// Where the caller stands: paths begin there when it is in the workspace, else at its root.
    pub directory: Option<Bytes>,
    /// What is to be done.
    pub edit: RulesEdit,
}

/// What is to be done about rules. Paths are as they were typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesEdit {
    /// Nothing.
    Show,
    /// Rules are added, or replaced.
    Add {
        /// Paths nobody may change.
        read_only: Vec<Bytes>,
        /// Paths nobody may see.
        masked: Vec<Bytes>,
        /// Most private content, like `2GB`.
        max_bytes: Option<String>,
        /// Most files.
        max_files: Option<u64>,
        /// Most deletions in a span, like `200/10s`.
        max_deletions: Option<String>,
    },
    /// Rules are taken away.
    Remove {
        /// Those of these paths.
        paths: Vec<Bytes>,
        /// The limit of private content.
        max_bytes: bool,
        /// The limit of files.
        max_files: bool,
        /// The limit of deletions.
        max_deletions: bool,
        /// All.
        all: bool,
    },
    /// Deletions go on after there were too many.
    Confirm {
        /// For so long they do not count.
        span: String,
    },
}

/// Everything that can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// A new workspace; answers [`crate::report::Created`].
    Create(CreateRequest),
    /// Forks; answers [`crate::report::Forked`].
    Fork(ForkRequest),
    /// All workspaces that are not in the trash; answers `Vec<WorkspaceRow>`.
    List,
    /// One workspace; answers [`crate::report::Info`].
    Info {
        /// Which.
        target: Target,
    },
    /// Where a workspace is mounted; answers [`crate::report::Located`].
    Path {
        /// Which.
        target: Target,
    },
    /// A new name; answers [`crate::report::Renamed`].
    Rename {
        /// Which.
        target: Target,
        /// The new name.
        name: String,
    },
    /// To the trash; answers [`crate::report::Removed`].
    Remove {
        /// Which.
        targets: Vec<Target>,
        /// Also when somebody stands there or commits are nowhere else.
        force: bool,
    },
    /// What is in the trash; answers `Vec<TrashRow>`.
    TrashList,
    /// Out of the trash; answers [`crate::report::Restored`].
    TrashRestore {
        /// Name or id.
        name: String,
        /// A new name, when the old one is taken.
        new_name: Option<String>,
        /// Absolute directory of mount points, for a workspace whose old place is taken.
        mount_root: String,
    },
    /// Gone for good; answers [`crate::report::Emptied`].
    TrashEmpty {
        /// Only those removed at least so many seconds ago.
        older_than_secs: Option<u64>,
    },
    /// Mounts workspaces; answers [`crate::report::Mounted`].
    Mount {
        /// Which; all when empty.
        targets: Vec<Target>,
    },
    /// Unmounts workspaces; answers [`crate::report::Mounted`].
    Unmount {
        /// Which; all when empty.
        targets: Vec<Target>,
        /// Also when somebody stands there.
        force: bool,
    },
    /// Settings, all or one; answers `Vec<Setting>`.
    Config {
        /// Only this one.
        key: Option<String>,
    },
    /// Changes a setting; answers [`crate::report::Setting`].
    SetConfig {
        /// Which.
        key: String,
        /// Its value; back to the default when missing.
        value: Option<String>,
    },
    /// What can be taken away; answers [`crate::report::GcPlan`].
    GcPlan {
        /// Which snapshots stay.
        options: GcOptions,
    },
    /// Takes away what a plan says; answers [`crate::report::GcRun`].
    GcRun {
        /// Its id.
        plan: String,
    },
    /// Keeps a state for good; answers [`crate::report::PinRow`].
    Pin {
        /// Which.
        spot: Spot,
        /// What is said about it.
        note: String,
    },
    /// All pins; answers `Vec<PinRow>`.
    PinList,
    /// Takes a pin away; answers [`crate::report::PinRow`].
    Unpin {
        /// Its id, or a unique beginning of it.
        id: String,
    },
    /// What is wrong with the home; answers [`crate::report::Checkup`].
    Doctor {
        /// Puts right what can be without asking.
        fix: bool,
    },
    /// Recomputes everything from bytes; answers [`crate::report::Verification`].
    Verify {
        /// Which, up to which state; everything in the home when None.
        state: Option<Spot>,
        /// Also the git objects of bases.
        base: bool,
        /// Writes anew what can be made from the source.
        heal: bool,
        /// Anchors to compare with.
        anchors: Vec<String>,
    },
    /// The log of a workspace; sends [`Line::Log`] any number of times, then answers [`crate::report::LogEnd`].
    Log(LogRequest),
    /// Begins or ends the log of reads; answers [`crate::report::ReadsLogged`].
    LogReads {
        /// Which.
        target: Target,
        /// What it is to be.
        on: bool,
    },
    /// Rules, shown or changed; answers [`crate::report::RulesReport`].
    Rules(RulesRequest),
    /// The head of a log, to be kept elsewhere; answers [`crate::report::Anchored`].
    Anchor {
        /// Which.
        target: Target,
        /// Keep it in the source repository.
        tag: bool,
    },
    /// A snapshot; answers [`crate::report::SnapshotReport`].
    Snapshot(SnapshotRequest),
    /// Snapshots; answers `Vec<SnapshotReport>`, newest first.
    History(HistoryRequest),
    /// What differs; answers [`crate::report::DiffReport`].
    Diff(DiffRequest),
    /// A state brought back; answers [`crate::report::RestoreReport`].
    Restore(RestoreRequest),
    /// One step back; answers [`crate::report::UndoReport`].
    Undo {
        /// Which.
        target: Target,
    },
    /// One step forward again; answers [`crate::report::UndoReport`].
    Redo {
        /// Which.
        target: Target,
    },
    /// What changed in a workspace since a token of an earlier answer; answers [`crate::report::ChangedPaths`].
    Changes {
        /// Which.
        target: Target,
        /// The token.
        since: String,
    },
    /// News of a remote, brought into its clones; answers [`crate::report::CloneNews`].
    Fetch {
        /// A workspace made from it, unless `url` says.
        target: Option<Target>,
        /// The remote.
        url: Option<String>,
    },
    /// Objects that git in a workspace needs, brought into the clone it reads; answers [`crate::report::Brought`].
    Bring {
        /// Path of the clone.
        clone: String,
        /// Ids of the objects.
        ids: Vec<String>,
        /// The git command that needs them, as far as it is known.
        command: Option<String>,
        /// Where it runs.
        here: Target,
    },
    /// How the daemon is; answers [`crate::report::Status`].
    Status,
    /// Unmounts everything and ends the daemon; answers [`crate::report::Stopped`].
    Stop,
    /// Ends the daemon, whose mounts another one takes over; answers [`crate::report::Stopped`].
    HandOn,
}

/// A fault on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultLine {
    /// Stable code, like `W0008`.
    pub code: String,
    /// What happened and why.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Fault> for FaultLine {
    fn from(fault: &Fault) -> Self {
        Self { code: fault.code.to_string(), message: fault.message.clone(), hint: fault.hint.clone() }
    }
}

impl From<FaultLine> for Fault {
    fn from(line: FaultLine) -> Self {
        // A newer daemon may know codes this program does not; the message still tells.
        let code = Code::parse(&line.code).unwrap_or(Code::Internal);
        Fault { code, message: line.message, hint: line.hint }
    }
}

/// One line of the daemon's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The daemon will read the request now.
    Hearing,
    /// Long work goes on.
    Progress {
        /// What is being done.
        title: String,
        /// Steps done.
        done: u64,
        /// Steps in all, 0 when unknown.
        total: u64,
    },
    /// Lines of a log.
    Log {
        /// In order.
        lines: Vec<LogLine>,
    },
    /// Finished.
    Done {
        /// The answer.
        value: serde_json::Value,
    },
    /// Refused or failed.
    Fault {
        /// Why.
        fault: FaultLine,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault::new(Code::NameTaken, "a workspace named `a` exists").hint("weald list");
        let text = serde_json::to_string(&Line::Fault { fault: FaultLine::from(&fault) }).unwrap();
        assert_eq!(
            text,
            r#"{"event":"fault","fault":{"code":"W0008","message":"a workspace named `a` exists","hint":"weald list"}}"#
        );
        let Line::Fault { fault: line } = serde_json::from_str(&text).unwrap() else { panic!("not a fault") };
        assert_eq!(Fault::from(line), fault);
    }

    #[test]
    fn a_code_of_a_newer_daemon_keeps_its_message() {
        let line = FaultLine { code: "W9999".into(), message: "new".into(), hint: None };
        let fault = Fault::from(line);
        assert_eq!((fault.code, fault.message.as_str()), (Code::Internal, "new"));
    }

    #[test]
    fn requests_carry_their_name_in_do() {
        let text = serde_json::to_string(&Request::Info { target: Target::default() }).unwrap();
        assert_eq!(text, r#"{"do":"info","target":{"name":null,"directory":null,"device":null}}"#);
    }
}
