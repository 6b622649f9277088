//! What there is: list, info, path, status. Changes nothing.

use crate::entry::{Entry, Figures};
use crate::fetching::ahead::{self, Stage};
use crate::forest::Forest;
use crate::locked;
use crate::protocol::{FaultLine, Target};
use crate::report::{
    AheadWord, FetchedReport, Info, Located, Moment, MountReport, RemoteReport, SourceReport, Status,
    StatusWord, StoreReport, WorkspaceRow,
};
use crate::sources::LateSource;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use weald_model::{Code, Fault, Oid, WorkspaceId};
use weald_store::registry::{self, State};

impl Forest {
    /// All workspaces that are not in the trash.
    pub(crate) fn list(&self) -> Vec<WorkspaceRow> {
        self.active().iter().map(|entry| self.row(entry).0).collect()
    }

    fn row(&self, entry: &Entry) -> (WorkspaceRow, Option<Figures>) {
        let figures = entry.figures(&self.stores).ok();
        let row = entry.row();
        let inside = figures.clone().unwrap_or_default();
        let known = figures.is_some();
        let parent = row.origin.map(|origin| match self.by_id(origin.parent) {
            Some(parent) => parent.name(),
            None => origin.parent.to_string(),
        });
        let report = WorkspaceRow {
            name: row.name,
            id: row.id.to_string(),
            status: status(entry, known),
            branch: inside.head.branch,
            commit: inside.head.commit,
            files: known.then_some(inside.summary.files),
            size_bytes: known.then_some(inside.summary.size_bytes),
            private_bytes: known.then_some(inside.summary.private_bytes),
            path: row.mount_path.display().to_string(),
            repo: row.source,
            created_at: Moment(row.created_at),
            parent,
            fault: entry.fault_line(),
        };
        (report, figures)
    }

    /// Everything about one workspace.
    pub(crate) fn info(&self, target: &Target) -> Result<Info, Fault> {
        let entry = self.find(target)?;
        let stored = entry.row();
        let (row, figures) = self.row(&entry);
        let git = stored.repo_path.is_some();
        let mount = MountReport {
            mounted: row.status == StatusWord::Mounted,
            path: row.path.clone(),
            kind: "fuse".to_owned(),
            device: entry.device(),
            allow_other: stored.allow_other,
            uid: stored.uid,
            gid: stored.gid,
        };
        let source = SourceReport {
            kind: if git { "git" } else { "directory" }.to_owned(),
            location: stored.source.clone(),
            git_dir: stored.repo_path.as_deref().map(|path| path.display().to_string()),
            tree: git.then(|| self.stores.real_tree(&stored.tree)),
            base_commit: stored.commit.clone(),
            base_time: stored.commit.as_ref().map(|_| Moment(stored.base_time.secs)),
            pin: git.then(|| weald_git::pin::pin_name(self.first_parent(&stored))),
            branch: stored.branch.clone(),
            is_clone: stored
                .repo_path
                .as_deref()
                .is_some_and(|path| path.starts_with(self.stores.home.paths().repos())),
            asked_at: self.asked_at(&stored),
            fetched: self.fetched(&stored),
        };
        let store = self.store(&entry, &stored, figures.as_ref());
        let snapshots = self.snapshots_of(&entry);
        let logs_reads = figures.map(|figures| figures.summary.logs_reads);
        Ok(Info { row, mount, source, snapshots, store, logs_reads })
    }

    /// When the remote of the clone a workspace reads from was last asked.
    fn asked_at(&self, row: &registry::WorkspaceRow) -> Option<Moment> {
        let clones = self.stores.home.registry().repos().ok()?;
        let id = row.repo_id.as_ref()?;
        clones.iter().find(|clone| clone.id == *id).map(|clone| Moment(clone.fetched_at))
    }

    /// How much of the base's content is in the clone. Cost: a look for each file of the base.
    fn fetched(&self, row: &registry::WorkspaceRow) -> Option<FetchedReport> {
        row.repo_id.as_ref()?;
        let (path, tree) = (row.repo_path.as_ref()?, Oid::from_hex(&row.tree)?);
        let source = self.stores.source(path);
        let repo = source.get().ok()?.repository().clone();
        let manifest = self.stores.known_manifest(&tree).filter(|_| repo.is_partial())?;
        let mut ids = Vec::new();
        ahead::in_order_of_paths(&manifest, &mut |(_, id)| ids.push(id)).ok()?;
        let missing: HashSet<Oid> = repo.missing(&ids).into_iter().collect();
        let here = ids.iter().filter(|id| !missing.contains(id)).count() as u64;
        let config = self.stores.config.read().ok()?;
        let word = match self.ahead.stage(path, &tree) {
            _ if missing.is_empty() => AheadWord::Done,
            _ if source.fetcher().is_some_and(|fetcher| fetcher.away().is_some()) => AheadWord::Offline,
            _ if !config.prefetch => AheadWord::Off,
            Stage::Waiting => AheadWord::Waiting,
            Stage::Running => AheadWord::Running,
            Stage::TooMuch => AheadWord::Limit,
            Stage::Done => AheadWord::Done,
        };
        Some(FetchedReport { here, total: ids.len() as u64, ahead: word })
    }

    /// The workspace a line of forks began with; its pin keeps the base of them all.
    fn first_parent(&self, row: &registry::WorkspaceRow) -> WorkspaceId {
        let (mut id, mut origin) = (row.id, row.origin);
        while let Some(parent) = origin {
            id = parent.parent;
            origin = self.by_id(id).and_then(|entry| entry.row().origin);
        }
        id
    }

    fn store(&self, entry: &Entry, row: &registry::WorkspaceRow, figures: Option<&Figures>) -> StoreReport {
        let summary = figures.map(|figures| figures.summary).unwrap_or_default();
        let tree = Oid::from_hex(&row.tree);
        let sharing: Vec<Arc<Entry>> = self
            .active()
            .into_iter()
            .filter(|other| tree.is_some() && other.row().tree == row.tree)
            .collect();
        let others = sharing.iter().filter(|other| other.id != entry.id).count() as u64;
        let moved = entry.peek(&self.stores, |workspace| workspace.shared().moved_bytes(workspace.id()));
        let chunk_bytes = moved.ok().and_then(Result::ok);
        let (mut shown, mut private) = (0, 0);
        for other in &sharing {
            let summary = other.figures(&self.stores).map(|figures| figures.summary).unwrap_or_default();
            shown += summary.size_bytes;
            private += summary.private_bytes;
        }
        let base = tree.and_then(|tree| self.stores.home.manifest(&tree).ok().flatten());
        let kept = private + base.map_or(0, |manifest| manifest.total_bytes());
        let file = tree.map(|tree| self.stores.home.paths().manifest(&tree));
        StoreReport {
            disk_bytes: self.stores.home.logs().bytes(row.id).unwrap_or(0),
            logical_bytes: summary.size_bytes,
            records: figures.map(|_| summary.records),
            manifest_bytes: file.and_then(|path| std::fs::metadata(path).ok()).map(|data| data.len()),
            shared_by: others,
            dedup_ratio: ratio(shown, kept),
            chunk_bytes,
            compression_ratio: self.compression(summary.private_bytes, chunk_bytes.unwrap_or(0)),
        }
    }

    /// Private bytes for each byte on the disk, when so many of them lie in chunks.
    fn compression(&self, private: u64, in_chunks: u64) -> f64 {
        let chunks = self.stores.home.chunks().figures().unwrap_or_default();
        let packed = in_chunks as f64 / ratio(chunks.content_bytes, chunks.disk_bytes).max(0.01);
        let taken = private.saturating_sub(in_chunks) as f64 + packed;
        if private == 0 || taken < 1.0 { 1.0 } else { private as f64 / taken }
    }

    /// Where one workspace is.
    pub(crate) fn locate(&self, target: &Target) -> Result<Located, Fault> {
        let entry = self.find(target)?;
        Ok(located(&entry))
    }

    /// The remotes of clones that workspaces read from.
    fn remotes(&self) -> Result<Vec<RemoteReport>, Fault> {
        let rows = self.stores.home.registry().repos().map_err(crate::faults::registry)?;
        let sources = self.stores.sources.all();
        let report = |source: &Arc<LateSource>| {
            let fetcher = source.fetcher()?;
            let row = rows.iter().find(|row| row.path == source.path())?;
            let away = fetcher.away();
            Some(RemoteReport {
                url: weald_git::url::mask(&row.url),
                clone: row.path.display().to_string(),
                wanted: fetcher.wanted(),
                unreachable_since: away.as_ref().map(|away| Moment(away.since)),
                fault: away.map(|away| FaultLine::from(&away.fault)),
            })
        };
        Ok(sources.iter().filter_map(report).collect())
    }

    /// How the daemon is.
    pub(crate) fn status(&self) -> Result<Status, Fault> {
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: Moment(self.started_at),
            home: self.stores.home.paths().root().display().to_string(),
            mounted: 0,
            idle: 0,
            trashed: self.in_state(State::Trashed).len() as u64,
            damaged: 0,
            memory_bytes: memory_bytes(),
            disk_bytes: disk_bytes(self.stores.home.paths().root()),
            is_disk_low: self.is_disk_low(),
            disk_free_bytes: self.stores.home.disk().space().map_or(0, |space| space.available),
            remotes: self.remotes()?,
            sealing: self.sealer.report(self),
            reclaimed: self.reclaimer.report(self),
            content_packs: self.packer.report(self),
            over_io_uring: self.pool.joined().map(|count| count as u64),
            is_supervised: self.hold.is_supervised(),
            crashes: self.hold.crashes().count,
            crashed_at: self.hold.crashes().last_at.map(Moment),
            faults: locked(&self.troubles).clone(),
        };
        for entry in self.active() {
            let known = entry.figures(&self.stores).is_ok();
            match self::status(&entry, known) {
                StatusWord::Mounted => status.mounted += 1,
                StatusWord::Idle => status.idle += 1,
                StatusWord::Damaged | StatusWord::Trashed => status.damaged += 1,
            }
            if let Some(fault) = entry.fault_line() {
                status.faults.push(crate::report::Refusal { name: entry.name(), fault });
            }
        }
        Ok(status)
    }
}

fn status(entry: &Entry, readable: bool) -> StatusWord {
    let damaged =
        entry.fault().is_some_and(|fault| matches!(fault.code, Code::LogDamaged | Code::StoreDamaged));
    match (readable && !damaged, entry.is_mounted()) {
        (false, _) => StatusWord::Damaged,
        (true, true) => StatusWord::Mounted,
        (true, false) => StatusWord::Idle,
    }
}

/// Where an entry is.
pub(crate) fn located(entry: &Entry) -> Located {
    let row = entry.row();
    Located { name: row.name, path: row.mount_path.display().to_string(), mounted: entry.is_mounted() }
}

fn ratio(shown: u64, kept: u64) -> f64 {
    if kept == 0 { 1.0 } else { shown as f64 / kept as f64 }
}

/// Resident memory of this process: the second field of statm, in pages.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Allocated bytes below a directory.
pub(crate) fn disk_bytes(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            sum += data.blocks() * 512;
            if data.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    sum
}
