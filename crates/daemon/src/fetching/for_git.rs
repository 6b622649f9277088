//! What git in a workspace asks for, by `weald-upload-pack`.
//!
//! Git asks for what it is going to read, all at once. But before it writes a tree object it also makes sure that every file of
//! the index exists, and in a partial clone that means fetching all of them: a commit of one line would bring the whole
//! repository. That it exists is certain, since a commit of the remote names it. So such a request is answered as if all had
//! come; git then looks again at what is in the directories it writes, one by one.
//!
//! Some commands ask for one object after the other (`grep`, `cat-file`). Each is fetched with what follows it in the order of
//! paths, more each time, so that few round trips are made.

use crate::faults;
use crate::forest::Forest;
use crate::protocol::Target;
use crate::report::Brought;
use std::collections::HashSet;
use std::path::Path;
use weald_model::{Code, Fault, Oid, Source as _, SourceError, Wait};
use weald_store::manifest::Manifest;

/// Commands that write trees from the index and read little of it.
const WRITERS: [&str; 9] =
    ["commit", "write-tree", "stash", "merge", "rebase", "cherry-pick", "revert", "am", "pull"];
/// Fewer objects are fetched, whatever they are for.
const MANY: usize = 256;

impl Forest {
    /// Brings objects into a clone, for git in a workspace.
    pub(crate) fn bring(
        &self,
        clone: &str,
        ids: &[String],
        command: Option<&str>,
        here: &Target,
    ) -> Result<Brought, Fault> {
        let path = Path::new(clone);
        let known = self.stores.home.registry().repos().map_err(faults::registry)?;
        if !known.iter().any(|row| row.path == path) {
            return Err(Fault::new(Code::BadRequest, format!("{clone} is no clone of this Weald")));
        }
        let parsed: Option<Vec<Oid>> = ids.iter().map(|hex| Oid::from_hex(hex)).collect();
        let mut ids =
            parsed.ok_or_else(|| Fault::new(Code::BadRequest, "what is asked for is no object id"))?;
        let writes = command.is_some_and(|command| WRITERS.contains(&command));
        if writes && ids.len() >= MANY && self.is_most_of_base(here, path, &ids) {
            return Ok(Brought { objects: 0 });
        }
        let source = self.stores.source(path);
        if let ([id], Some(fetcher)) = (ids.as_slice(), source.fetcher()) {
            let beside = self.following(here, id, fetcher.beside());
            ids.extend(beside);
        }
        let absent = |error: SourceError| Fault::new(Code::UnreachableSource, error.to_string());
        let missing = source.get().map_err(absent)?.repository().missing(&ids).len();
        source.fetch(&ids, &Wait::default()).map_err(absent)?;
        Ok(Brought { objects: missing as u64 })
    }

    /// True when this is nearly all that is missing of a workspace's base: no command reads that, but those that only look
    /// whether it exists.
    fn is_most_of_base(&self, here: &Target, clone: &Path, ids: &[Oid]) -> bool {
        let Some(manifest) = self.base_of(here) else { return false };
        let mut base = Vec::new();
        let walked = super::ahead::in_order_of_paths(&manifest, &mut |(_, id)| base.push(id));
        let missing = self.stores.source(clone).get().map(|source| source.repository().missing(&base));
        let (Ok(()), Ok(missing)) = (walked, missing) else { return false };
        let missing: HashSet<Oid> = missing.into_iter().collect();
        let of_base = ids.iter().filter(|id| missing.contains(id)).count();
        of_base * 2 >= missing.len() && of_base * 2 >= ids.len()
    }

    /// Content that follows some other in the order of the base's paths.
    fn following(&self, here: &Target, id: &Oid, count: usize) -> Vec<Oid> {
        let Some(manifest) = self.base_of(here) else { return Vec::new() };
        let (mut is_behind, mut found) = (false, Vec::new());
        let walked = super::ahead::in_order_of_paths(&manifest, &mut |(_, other)| {
            if is_behind && found.len() < count {
                found.push(other);
            }
            is_behind |= other == *id;
        });
        walked.map(|()| found).unwrap_or_default()
    }

    fn base_of(&self, here: &Target) -> Option<Manifest> {
        let row = self.find(here).ok()?.row();
        self.stores.known_manifest(&Oid::from_hex(&row.tree)?)
    }
}
