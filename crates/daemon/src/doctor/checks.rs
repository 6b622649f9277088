//! The home: layout, settings, mounts, registry against logs, lineage, pins, manifests.

use super::Chart;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::report::{GcOptions, Severity};
use crate::{faults, mount_point};
use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::PoisonError;
use weald_engine::Workspace;
use weald_git::Repository;
use weald_model::{Code, Fault, Oid, WorkspaceId};
use weald_store::home::HomeManifestError;

/// Directories of a home.
const DIRECTORIES: [&str; 7] = ["repos", "manifests", "cas", "chunks", "content", "logs", "making"];

impl Forest {
    pub(super) fn check_layout(&self, chart: &mut Chart) {
        let root = self.stores.home.paths().root();
        for path in DIRECTORIES.iter().map(|name| root.join(name)).chain([root.to_owned()]) {
            chart.looked();
            let Ok(data) = std::fs::metadata(&path) else {
                chart.fixable("layout", Severity::Error, format!("{} is missing", path.display()), || {
                    self.stores.home.disk().make_dir(&path).map_err(|error| host("making", &path, &error))
                });
                continue;
            };
            if data.mode() & 0o077 != 0 {
                let message = format!("{} can be read by other users", path.display());
                chart.fixable("layout", Severity::Warning, message, || {
                    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))
                        .map_err(|error| host("closing", &path, &error))
                });
            }
        }
        chart.looked();
        if self.is_disk_low() {
            let available = self.stores.home.disk().space().map_or(0, |space| space.available);
            let message =
                format!("only {} MB are free on the disk of {}", available / 1_000_000, root.display());
            let fix = "weald gc plan, then weald gc run PLAN; weald trash empty takes more";
            chart.note("layout", Severity::Warning, message, fix);
        }
    }

    pub(super) fn check_config(&self, chart: &mut Chart) {
        chart.looked();
        match self.stores.config.read() {
            Ok(config) => self.check_transport(config.rings, chart),
            Err(fault) => chart.fault("config", "", &fault),
        }
    }

    /// Whether mounts talk to the kernel as the settings say.
    fn check_transport(&self, wants_rings: bool, chart: &mut Chart) {
        const ENABLE: &str = "echo Y | sudo tee /sys/module/fuse/parameters/enable_uring";
        chart.looked();
        let joined = self.pool.joined();
        match weald_fuse::transport::uring::is_enabled() {
            Some(false) if joined.is_some_and(|count| count > 0) => {
                let message = "io_uring was turned off while mounts use it: programs in them may wait";
                chart.note("transport", Severity::Error, message, ENABLE);
            }
            None if wants_rings => {
                let message =
                    "mount.transport is io_uring, which this kernel does not know for FUSE (Linux 6.14 does)";
                chart.note("transport", Severity::Warning, message, "weald config mount.transport auto");
            }
            Some(false) if wants_rings => {
                let message = "mount.transport is io_uring, which the kernel does not allow: mounts are served over /dev/fuse";
                chart.note(
                    "transport",
                    Severity::Warning,
                    message,
                    format!("{ENABLE}; weald daemon restart"),
                );
            }
            Some(true) if wants_rings && joined.is_none() => {
                let message = "mount.transport is io_uring, but was not when the daemon started";
                chart.note("transport", Severity::Warning, message, "weald daemon restart");
            }
            _ => {}
        }
    }

    pub(super) fn check_mounts(&self, chart: &mut Chart) {
        let live: Vec<u64> = self.active().iter().filter_map(|entry| entry.device()).collect();
        for entry in weald_fuse::mount::stale().unwrap_or_default() {
            chart.looked();
            let ours = mount_point::identified(&entry.name).is_some_and(|id| self.by_id(id).is_some());
            let (major, minor) = entry.device;
            if !ours || live.contains(&rustix::fs::makedev(major, minor)) {
                continue;
            }
            let message = format!("{} is a mount that nobody serves any more", entry.path.display());
            chart.fixable("mounts", Severity::Error, message, || entry.unmount().map(drop));
        }
        for entry in self.active() {
            chart.looked();
            let name = entry.name();
            if let Some(fault) = entry.fault() {
                chart.fault("mounts", &name, &fault);
            } else if !entry.is_mounted() {
                chart.note(
                    "mounts",
                    Severity::Note,
                    format!("`{name}` is not mounted"),
                    format!("weald mount {name}"),
                );
            }
        }
    }

    /// The registry against the logs, both ways.
    pub(super) fn check_logs(&self, chart: &mut Chart) -> Result<(), Fault> {
        let making = self.stores.marked()?;
        let logs = self.stores.home.logs().list().map_err(|error| faults::log("home", &error))?;
        for id in &logs {
            chart.looked();
            // A workspace or fork in the making gets its row last.
            if self.by_id(*id).is_some() || making.contains(id) {
                continue;
            }
            let message = format!("the log {id} is in no row of the registry");
            chart.fixable("registry", Severity::Error, message, || {
                self.recover(*id);
                let damaged = || Fault::new(Code::LogDamaged, "its first record cannot be read");
                self.by_id(*id).map(drop).ok_or_else(damaged)
            });
        }
        let logs: HashSet<WorkspaceId> = logs.into_iter().collect();
        for entry in self.all().iter().filter(|entry| !logs.contains(&entry.id) && entry.fault().is_none()) {
            let name = entry.name();
            chart.note(
                "registry",
                Severity::Error,
                format!(
                    "`{name}` has no log: {}",
                    self.stores.home.paths().logs().join(entry.id.to_string()).display()
                ),
                format!("bring it back from a copy, or: weald remove {name} --force"),
            );
        }
        Ok(())
    }

    /// Each row against the first record of its log, and its parent.
    pub(super) fn check_lineage(&self, chart: &mut Chart) {
        for entry in self.all() {
            chart.looked();
            self.check_origin(&entry, chart);
        }
    }

    fn check_origin(&self, entry: &Entry, chart: &mut Chart) {
        let row = entry.row();
        let name = row.name.clone();
        let origin = match Workspace::origin(&self.stores.shared, row.id) {
            Ok(origin) => origin,
            Err(error) => {
                if entry.fault().is_none() {
                    chart.fault("lineage", &name, &faults::open(&name, &error));
                }
                return;
            }
        };
        let told = row.origin.map(|origin| (origin.parent, origin.seq));
        if told != origin.parent {
            let message = format!("the registry says another parent of `{name}` than its log");
            let mut right = row.clone();
            right.origin = origin.parent.map(|(parent, seq)| weald_store::registry::Origin { parent, seq });
            chart.fixable("lineage", Severity::Error, message, || self.save(entry, right));
        }
        if let Some((parent, _)) = origin.parent
            && self.by_id(parent).is_none()
        {
            chart.note(
                "lineage",
                Severity::Error,
                format!("`{name}` was forked from {parent}, whose log is missing"),
                format!("bring logs/{parent} back from a copy, or: weald remove {name} --force"),
            );
        }
    }

    /// Sources that are there, and the pins in them.
    pub(super) fn check_sources(&self, chart: &mut Chart) {
        for entry in self.all() {
            let row = entry.row();
            let Some(path) = row.repo_path.as_deref() else { continue };
            chart.looked();
            let repo = match Repository::open(path) {
                Ok(repo) => repo,
                Err(fault) => {
                    let message = format!("the source of `{}` cannot be opened: {fault}", row.name);
                    let fix = format!("bring {} back: workspaces read their base from it", path.display());
                    chart.note("pins", Severity::Error, message, fix);
                    continue;
                }
            };
            let Some(base) = row.commit.as_deref().and_then(Oid::from_hex) else { continue };
            // A fork's base is kept by the pin of the first in its line.
            if row.origin.is_some() || weald_git::pin::pinned(&repo, row.id) == Some(base) {
                continue;
            }
            let message = format!("the base of `{}` has no pin in {}", row.name, path.display());
            chart.fixable("pins", Severity::Warning, message, || weald_git::pin::pin(&repo, row.id, &base));
        }
        let known = self.stores.home.registry().repos().unwrap_or_default();
        for repo in known.iter().filter(|repo| !repo.path.is_dir()) {
            let url = weald_git::url::mask(&repo.url);
            chart.fixable("pins", Severity::Note, format!("the clone of {url} is gone"), || {
                self.stores.home.registry().delete_repo(&repo.id).map_err(faults::registry)
            });
        }
    }

    pub(super) fn check_manifests(&self, chart: &mut Chart) {
        let rows: Vec<_> = self.all().iter().map(|entry| entry.row()).collect();
        let trees: HashSet<Oid> = rows.iter().filter_map(|row| Oid::from_hex(&row.tree)).collect();
        for tree in trees {
            chart.looked();
            let Err(error) = self.stores.home.manifest(&tree) else { continue };
            let message = format!("the manifest of tree {tree} is damaged: {error}");
            let row = rows.iter().find(|row| Oid::from_hex(&row.tree) == Some(tree));
            match (error, row) {
                (HomeManifestError::Manifest(_), Some(row)) => {
                    chart.fixable("manifests", Severity::Error, message, || {
                        self.stores.forget_manifest(&tree);
                        self.stores.base(row).map(drop)
                    });
                }
                (error, _) => chart.fault("manifests", "", &faults::manifest(&error)),
            }
        }
    }

    /// Packs in which nothing can be found. What is read is checked by itself, all of it by `weald verify`.
    pub(super) fn check_chunks(&self, chart: &mut Chart) {
        chart.looked();
        match self.stores.home.chunks().damaged_packs() {
            Ok(damaged) => {
                for path in damaged {
                    let message = format!("{} is damaged: its chunks cannot be found", path.display());
                    let fix = "weald verify tells who has content in it; put the file back from a backup";
                    chart.note("chunks", Severity::Error, message, fix);
                }
            }
            Err(error) => chart.note("chunks", Severity::Error, error.to_string(), "weald explain W0021"),
        }
    }

    /// What only takes space.
    pub(super) fn check_store(&self, chart: &mut Chart) {
        chart.looked();
        let plan = {
            let _settled = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
            self.fresh_plan(&GcOptions::default())
        };
        let plan = match plan {
            Ok(plan) => plan,
            // Told already.
            Err(fault) if matches!(fault.code, Code::BadConfig | Code::UnknownSetting) => return,
            Err(fault) => return chart.fault("store", "", &fault),
        };
        if plan.freed_bytes > 0 {
            let message =
                format!("{} things that nobody needs take {} bytes", plan.items.len(), plan.freed_bytes);
            chart.note("store", Severity::Note, message, "weald gc plan, then weald gc run PLAN");
        }
    }
}

fn host(doing: &str, path: &Path, error: &std::io::Error) -> Fault {
    Fault::host(&format!("{doing} {}", path.display()), error)
}
