//! What the daemon answers, and what `--json` prints: field names here are stable and documented in
//! docs/cli-json.md.
//!
//! Invariant: fields are only added, never renamed or given another meaning. Times are RFC 3339 in UTC, sizes
//! are bytes. Read next: [`crate::protocol`] for which request gets which answer.

mod history;
mod journal;
mod proof;
mod rules;
mod upkeep;

pub use history::{
    Bytes, DiffEntry, DiffReport, LineCounts, RestoreReport, SnapshotReport, StateReport, Totals, UndoReport,
};
pub use journal::{LogEnd, LogLine, ReadsLogged};
pub use proof::{Anchored, LogBegin, SignedAnchor, Verification, VerifyProblem};
pub use rules::{DeletionLimitReport, PathRuleReport, RulesReport};
pub use upkeep::{Checkup, Finding, GcItem, GcKind, GcOptions, GcPlan, GcRun, PinRow, Severity};

use crate::protocol::FaultLine;
use serde::{Deserialize, Serialize};

/// A moment in time, RFC 3339 in JSON, seconds since 1970 in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Out-of-range times come from damaged or hostile commits; show the nearest one that can be written.
        let limited = self.0.clamp(-62_135_596_800, 253_402_207_200);
        let timestamp = jiff::Timestamp::from_second(limited).unwrap_or_default();
        serializer.collect_str(&timestamp)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let timestamp: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Moment(timestamp.as_second()))
    }
}

/// What a workspace is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusWord {
    /// In the file tree.
    Mounted,
    /// Whole, not mounted.
    Idle,
    /// Removed, can be restored.
    Trashed,
    /// Its log or store cannot be read; see the fault.
    Damaged,
}

/// A line of `weald list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkspaceRow {
    /// Name.
    pub name: String,
    /// Id, for ever.
    pub id: String,
    /// What it is doing.
    pub status: StatusWord,
    /// Branch `HEAD` stands on; null when detached or without git.
    pub branch: Option<String>,
    /// Commit `HEAD` leads to; null without git.
    pub commit: Option<String>,
    /// Files and symbolic links, `.git` included; null when it cannot be read.
    pub files: Option<u64>,
    /// Sum of their sizes.
    pub size_bytes: Option<u64>,
    /// Bytes of content that are not the base's.
    pub private_bytes: Option<u64>,
    /// Where it is, or would be, mounted.
    pub path: String,
    /// The source it was made from: path or URL.
    pub repo: String,
    /// When it was made.
    pub created_at: Moment,
    /// The workspace it was forked from.
    pub parent: Option<String>,
    /// Why it is damaged or could not be mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultLine>,
}

/// The commit a workspace stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseReport {
    /// Commit id.
    pub commit: String,
    /// Tree id.
    pub tree: String,
    /// First line of its message.
    pub subject: Option<String>,
    /// Commit time.
    pub time: Moment,
    /// Branch the workspace started on.
    pub branch: Option<String>,
    /// The branch `behind` counts against, like `origin/main`.
    pub upstream: Option<String>,
    /// Commits the base is behind its upstream, where known.
    pub behind: Option<u64>,
}

/// Answer to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Created {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// Where it is mounted.
    pub path: String,
    /// The source.
    pub repo: String,
    /// Base commit; null for a plain directory.
    pub base: Option<BaseReport>,
    /// Files and symbolic links in it.
    pub files: u64,
    /// Sum of their sizes.
    pub size_bytes: u64,
    /// When the remote was last asked for news; null unless it was made from a URL.
    #[serde(default)]
    pub asked_at: Option<Moment>,
    /// What is worth knowing but no fault: files left out, and why.
    pub notes: Vec<String>,
}

/// Answer to fork.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forked {
    /// The workspace forked from.
    pub from: String,
    /// Which of its states; not there when it was the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateReport>,
    /// The new ones, in order.
    pub forks: Vec<ForkReport>,
}

/// One fork.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForkReport {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// Where it is mounted.
    pub path: String,
}

/// Answer to info.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Info {
    /// The fields of `list`.
    #[serde(flatten)]
    pub row: WorkspaceRow,
    /// How it is mounted.
    pub mount: MountReport,
    /// Where it comes from.
    pub source: SourceReport,
    /// Its snapshots, newest first.
    pub snapshots: Vec<SnapshotReport>,
    /// What it costs.
    pub store: StoreReport,
    /// True when its log has reads, too; null when damaged.
    pub logs_reads: Option<bool>,
}

/// What changed in a workspace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangedPaths {
    /// What to ask with the next time.
    pub token: String,
    /// Paths from the root; those that end with a slash stand for all below them. None: anything may have changed.
    pub paths: Option<Vec<Bytes>>,
}

/// Answer to fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloneNews {
    /// The remote, without secrets.
    pub url: String,
    /// The clone that has the news now.
    pub clone: String,
    /// When the remote was asked.
    pub asked_at: Moment,
    /// The workspace that was named.
    pub workspace: Option<String>,
    /// Where it is mounted.
    pub path: Option<String>,
    /// What is worth knowing: branches that are gone.
    pub notes: Vec<String>,
}

/// Answer to a git command that needed objects: they are in the clone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brought {
    /// How many were not there before.
    pub objects: u64,
}

/// How a workspace is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountReport {
    /// True when it is in the file tree.
    pub mounted: bool,
    /// Mount point.
    pub path: String,
    /// Kind of front end.
    pub kind: String,
    /// Device number as `st_dev` reports it.
    pub device: Option<u64>,
    /// Other users may enter.
    pub allow_other: bool,
    /// Owner of the base's files.
    pub uid: u32,
    /// Group of the base's files.
    pub gid: u32,
}

/// Where a workspace comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceReport {
    /// `git` or `directory`.
    pub kind: String,
    /// As it was given.
    pub location: String,
    /// The git directory whose objects the workspace reads.
    pub git_dir: Option<String>,
    /// Tree of the base.
    pub tree: Option<String>,
    /// Commit of the base.
    pub base_commit: Option<String>,
    /// Time of that commit.
    pub base_time: Option<Moment>,
    /// The ref that keeps the base alive in the source.
    pub pin: Option<String>,
    /// The branch it was created on.
    pub branch: Option<String>,
    /// True when `git_dir` is Weald's own copy of what is at `location`.
    pub is_clone: bool,
    /// Of such a copy: when its remote was last asked for news.
    #[serde(default)]
    pub asked_at: Option<Moment>,
    /// Of such a copy: how much of the base's content is here. Null when all of it always was.
    #[serde(default)]
    pub fetched: Option<FetchedReport>,
}

/// How much of a base's content was fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchedReport {
    /// Files and symbolic links whose content is here.
    pub here: u64,
    /// Files and symbolic links in the base.
    pub total: u64,
    /// What becomes of the rest.
    pub ahead: AheadWord,
}

/// What becomes of content that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AheadWord {
    /// It is being fetched.
    Running,
    /// It will be fetched.
    Waiting,
    /// There is none, or none that can be had.
    Done,
    /// It comes when it is read: `fetch.prefetch` is off.
    Off,
    /// It comes when it is read: the clone takes `fetch.prefetch_max`.
    Limit,
    /// The remote cannot be reached.
    Offline,
}

/// What a workspace costs on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreReport {
    /// Bytes its own log takes on the disk.
    pub disk_bytes: u64,
    /// Bytes its files show.
    pub logical_bytes: u64,
    /// Records in its log.
    pub records: Option<u64>,
    /// Bytes of the manifest, which all workspaces on this tree share.
    pub manifest_bytes: Option<u64>,
    /// Other workspaces on the same base.
    pub shared_by: u64,
    /// Logical bytes of all workspaces on this base, for each byte kept for them once; 1 when nothing is shared.
    pub dedup_ratio: f64,
    /// Bytes of its content that lie in chunks, which others with the same content share.
    pub chunk_bytes: Option<u64>,
    /// Bytes of private content for each byte it takes on the disk, as far as the mean of all chunks tells.
    pub compression_ratio: f64,
}

/// Answer to path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Located {
    /// Name.
    pub name: String,
    /// Mount point.
    pub path: String,
    /// True when it is mounted there now.
    pub mounted: bool,
}

/// Answer to rename.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Renamed {
    /// The old name.
    pub from: String,
    /// The new one.
    pub name: String,
    /// Where it is mounted now.
    pub path: String,
}

/// Answer to remove. What was not refused was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// Names that are in the trash now.
    pub removed: Vec<String>,
    /// Those that stayed, and why.
    pub refused: Vec<Refusal>,
}

/// A workspace for which something was not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Name as asked.
    pub name: String,
    /// Why.
    pub fault: FaultLine,
}

/// A line of `weald trash list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrashRow {
    /// Name it had.
    pub name: String,
    /// Id.
    pub id: String,
    /// When it was removed.
    pub removed_at: Option<Moment>,
    /// Branch at that time.
    pub branch: Option<String>,
    /// Files in it.
    pub files: Option<u64>,
    /// Sum of their sizes.
    pub size_bytes: Option<u64>,
    /// Private bytes.
    pub private_bytes: Option<u64>,
    /// Bytes its log takes on the disk.
    pub disk_bytes: u64,
    /// Where it was mounted.
    pub path: String,
    /// The source.
    pub repo: String,
}

/// Answer to trash restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// Name now.
    pub name: String,
    /// Id.
    pub id: String,
    /// Where it is mounted.
    pub path: String,
}

/// Answer to trash empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Emptied {
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Of these, how many keep their log because forks build on it.
    pub kept_for_forks: u64,
    /// Workspaces that stay in the trash because a state of theirs is pinned.
    #[serde(default)]
    pub kept_for_pins: u64,
    /// Disk space freed.
    pub freed_bytes: u64,
}

/// Answer to mount and unmount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mounted {
    /// Those that are in the asked state now.
    pub workspaces: Vec<Located>,
    /// Those that are not, and why.
    pub refused: Vec<Refusal>,
}

/// Answer to status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since when it runs.
    pub started_at: Moment,
    /// Home directory.
    pub home: String,
    /// Workspaces in the file tree.
    pub mounted: u64,
    /// Workspaces that are whole, not mounted.
    pub idle: u64,
    /// Workspaces in the trash.
    pub trashed: u64,
    /// Workspaces that cannot be opened.
    pub damaged: u64,
    /// Memory of the daemon (resident).
    pub memory_bytes: u64,
    /// Bytes the home takes on the disk.
    pub disk_bytes: u64,
    /// Bytes free for it there.
    pub disk_free_bytes: u64,
    /// True when that is less than the setting `disk.free_min`.
    pub is_disk_low: bool,
    /// Remotes that content is fetched from as it is needed.
    #[serde(default)]
    pub remotes: Vec<RemoteReport>,
    /// The snapshot that is being sealed.
    pub sealing: Option<SealingReport>,
    /// What was given back by itself since the daemon began.
    pub reclaimed: Option<ReclaimedReport>,
    /// Copies of content that are read faster; None while there are none.
    pub content_packs: Option<PacksReport>,
    /// Mounts that are served over io_uring, too; None when none ever is.
    #[serde(default)]
    pub over_io_uring: Option<u64>,
    /// A supervisor goes on with the mounts when the daemon ends.
    pub is_supervised: bool,
    /// Daemons before this one that ended without being told to, since the supervisor began.
    pub crashes: u64,
    /// When the last of them did.
    pub crashed_at: Option<Moment>,
    /// What is wrong and not tied to one command.
    pub faults: Vec<Refusal>,
}

/// A remote that content is fetched from as it is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteReport {
    /// Its URL, without secrets.
    pub url: String,
    /// The clone the content comes to.
    pub clone: String,
    /// Objects that somebody waits for.
    pub wanted: u64,
    /// Since when it cannot be reached; null when it can, as far as is known.
    pub unreachable_since: Option<Moment>,
    /// Why, and what to do.
    pub fault: Option<FaultLine>,
}

/// A snapshot being sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingReport {
    /// The workspace.
    pub workspace: String,
    /// Id of the snapshot.
    pub snapshot: String,
    /// Bytes of content looked at so far; what did not change is not looked at.
    pub bytes: u64,
}

/// Content packs: `fetch.pack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacksReport {
    /// Bytes of disk of all of them.
    pub disk_bytes: u64,
    /// The repository that content is being copied from.
    pub copying: Option<String>,
    /// The setting whose limit held the last copy back.
    pub held_back: Option<String>,
}

/// What was given back by itself: `gc.background`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimedReport {
    /// Bytes of disk.
    pub bytes: u64,
    /// Automatic snapshots that were dropped.
    pub snapshots: u64,
    /// When that was last; null while it looks for the first time.
    pub last_at: Option<Moment>,
    /// The workspace it is looking at, with its forks.
    pub looking_at: Option<String>,
}

/// A setting, as `weald config` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Its name, like `snapshots.every`.
    pub key: String,
    /// What is in force: true or false, a number, or text like `10m`.
    pub value: serde_json::Value,
    /// What is in force when nothing is set.
    pub default: serde_json::Value,
    /// True when the file says so.
    pub is_set: bool,
    /// What it is for.
    pub about: String,
}

/// Answer to stop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stopped {
    /// Process id of the daemon that ends now.
    pub pid: u32,
    /// Workspaces it unmounted.
    pub unmounted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_and_come_back() {
        assert_eq!(serde_json::to_string(&Moment(0)).unwrap(), r#""1970-01-01T00:00:00Z""#);
        assert_eq!(
            serde_json::from_str::<Moment>(r#""2026-11-21T10:00:00Z""#).unwrap(),
            Moment(1_795_255_200)
        );
    }

    #[test]
    fn absurd_commit_times_are_shown_not_refused() {
        for secs in [i64::MIN, i64::MAX] {
            assert!(serde_json::to_string(&Moment(secs)).is_ok());
        }
    }
}
