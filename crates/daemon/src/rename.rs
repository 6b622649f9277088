//! Giving a workspace another name, and moving its mount along.

use crate::entry::{Entry, Life};
use crate::forest::Forest;
use crate::mount_point;
use crate::protocol::Target;
use crate::report::Renamed;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weald_fuse::Unmount;
use weald_model::Fault;

impl Forest {
    /// Renames. The mount point follows when it has the old name; as root whoever is inside stays inside.
    pub(crate) fn rename(self: &Arc<Self>, target: &Target, new_name: &str) -> Result<Renamed, Fault> {
        self.open_for_work()?;
        let entry = self.find(target)?;
        let claim = self.claim(new_name)?;
        let mut life = entry.life();
        let old = entry.row();
        let mut row = old.clone();
        row.name = claim.name().to_owned();
        row.mount_path = follow(&old.mount_path, &old.name, &row.name);
        if row.mount_path != old.mount_path {
            mount_point::prepare(&row.mount_path)?;
        }
        self.save(&entry, row.clone())?;
        if let Err(fault) = self.move_mount(&entry, &mut life, &old.mount_path, &row.mount_path) {
            self.save(&entry, old)?;
            mount_point::discard(&row.mount_path);
            return Err(fault);
        }
        drop(life);
        self.insert(entry);
        self.free_name(&old.name);
        claim.keep();
        Ok(Renamed { from: old.name, name: row.name, path: row.mount_path.display().to_string() })
    }

    fn move_mount(&self, entry: &Arc<Entry>, life: &mut Life, from: &Path, to: &Path) -> Result<(), Fault> {
        if from == to {
            return Ok(());
        }
        let Some(live) = &mut life.mount else {
            mount_point::discard(from);
            return Ok(());
        };
        // Not possible for ordinary users, nor below a mount that is shared with other namespaces.
        if live.mount.is_there() && rustix::mount::mount_move(from, to).is_ok() {
            live.mount.path = to.to_owned();
            mount_point::discard(from);
            return Ok(());
        }
        self.unmount_locked(entry, life, Unmount::Normal)?;
        mount_point::discard(from);
        self.mount_locked(entry, life)
    }
}

/// A mount point named after the workspace keeps being so.
fn follow(path: &Path, old: &str, new: &str) -> PathBuf {
    if path.file_name().is_some_and(|name| name == old) { path.with_file_name(new) } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mount_point_with_the_workspaces_name_follows() {
        assert_eq!(follow(Path::new("/m/a"), "a", "b"), Path::new("/m/b"));
        assert_eq!(follow(Path::new("/m/elsewhere"), "a", "b"), Path::new("/m/elsewhere"));
    }
}
