//! Base files as `git checkout` would write them, where that is not what the blob holds.
//!
//! A tree with such files is shown as another tree, under an id of its own: its [`Table`] says which directories and
//! files differ from the source's, and where the converted content is. Everything else, the engine included, takes it
//! for a tree like any other. Made once for a tree and the rules in force (`making`), kept among derived files, read by
//! [`ConvertedSource`].
//! Invariant: what a tree under one id shows never changes, whatever becomes of rules and filters later.

mod making;
mod source;
pub(crate) mod table;

use crate::stores::Stores;
use crate::{faults, locked};
use making::{Made, Making};
use source::ConvertedSource;
use std::path::Path;
use std::sync::Arc;
pub(crate) use table::Table;
use weald_git::convert::Rules;
use weald_git::{GitSource, Repository};
use weald_model::{Code, Fault, Oid, Progress, Silent, Source, Timestamp};
use weald_store::cas;
use weald_store::manifest::Manifest;
use weald_store::registry::{Artifact, WorkspaceRow};

/// Of a tree that is shown converted: its table.
const TABLE: &str = "conversions";

/// Of such a tree: converted content, by number of the pack or id of the file.
const CONVERTED: &str = "converted ";

/// In place of the hash of a table: nothing is converted.
pub(crate) const NOTHING: &str = "";

/// How ids of trees that are shown converted end, so that a lost table is noticed.
const MARK: [u8; 4] = *b"conv";

/// True for the ids of what is converted; the source has nothing of that id.
pub(crate) fn is_converted(id: &Oid) -> bool {
    id.as_bytes().ends_with(&MARK)
}

impl Stores {
    /// The manifest to show a tree of a repository with, under the rules that are in force now. Notes say what could not
    /// be converted.
    pub(crate) fn shown(
        &self,
        repo: &Repository,
        tree: &Oid,
        time: Timestamp,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Manifest, Fault> {
        // Not the workspace's own source: that would keep every page mapped that building a manifest reads.
        let is_clone = repo.path().starts_with(self.home.paths().repos());
        let plain = if is_clone { GitSource::lazy(repo.clone()) } else { GitSource::new(repo.clone()) };
        let plain: Arc<dyn Source> = Arc::new(plain);
        let Some(table) = self.converted(repo, tree, &plain, time, notes, progress)? else {
            return self.manifest(tree, &*plain, time, progress);
        };
        let source = ConvertedSource::new(self, plain, table.clone(), repo.path());
        self.manifest(&table.root, &source, time, progress)
    }

    /// A source over the repository at `path` that knows a tree, converted or not.
    pub(crate) fn source_of(&self, tree: &Oid, path: &Path) -> Result<Arc<dyn Source>, Fault> {
        let plain: Arc<dyn Source> = self.source(path);
        Ok(match self.table(tree)? {
            Some(table) => Arc::new(ConvertedSource::new(self, plain, table, path)),
            None => plain,
        })
    }

    /// The id the source has for what is shown under this one: of a tree, its directories and files.
    pub(crate) fn real_ids(&self, tree: &Oid) -> Result<impl Fn(Oid) -> Oid + use<>, Fault> {
        let table = self.table(tree)?;
        Ok(move |id| table.as_ref().and_then(|table| table.real(&id)).unwrap_or(id))
    }

    /// True for a tree that is shown converted and whose table nobody knows any more, as after the loss of the registry.
    pub(crate) fn is_lost(&self, tree: &Oid) -> Result<bool, Fault> {
        Ok(is_converted(tree) && self.table(tree)?.is_none())
    }

    /// The tree of the source that is shown under this id, in hexadecimal.
    pub(crate) fn real_tree(&self, tree: &str) -> String {
        let real = Oid::from_hex(tree).and_then(|id| Some(self.real_ids(&id).ok()?(id)));
        real.map_or_else(|| tree.to_owned(), |id| id.to_string())
    }

    /// The table of a tree that is shown converted; None for any other.
    fn table(&self, root: &Oid) -> Result<Option<Arc<Table>>, Fault> {
        if !is_converted(root) {
            return Ok(None);
        }
        if let Some(table) = locked(&self.tables).get(root) {
            return Ok(Some(table.clone()));
        }
        let hash = self.home.registry().artifact(&root.to_string(), TABLE).map_err(faults::registry)?;
        let Some(hash) = hash.as_deref().and_then(cas::from_hex) else { return Ok(None) };
        let table = Arc::new(self.read_table(&hash)?);
        Ok(Some(locked(&self.tables).entry(*root).or_insert(table).clone()))
    }

    fn read_table(&self, hash: &cas::Hash) -> Result<Table, Fault> {
        let bytes = self.home.cas().get_all(hash).map_err(|error| faults::cas(&error))?;
        Table::parse(&bytes).ok_or_else(|| {
            Fault::new(Code::StoreDamaged, format!("the stored content {} is no table", cas::hex(hash)))
        })
    }

    /// The table for a tree, kept or made; None when nothing of it is converted.
    fn converted(
        &self,
        repo: &Repository,
        tree: &Oid,
        source: &Arc<dyn Source>,
        time: Timestamp,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Option<Arc<Table>>, Fault> {
        let rules = Rules::of(repo);
        let kind = format!("{TABLE} by {}", rules.name());
        let registry = self.home.registry();
        let known = registry.artifact(&tree.to_string(), &kind).map_err(faults::registry)?;
        if known.as_deref() == Some(NOTHING) {
            return Ok(None);
        }
        if let Some(hash) = known.as_deref().and_then(cas::from_hex)
            && let Ok(table) = self.read_table(&hash)
        {
            return self.table(&table.root);
        }
        let made = self.make_table(repo, tree, source, &rules, time, progress)?;
        let hash = match made.table.is_empty() {
            true => NOTHING.to_owned(),
            false => cas::hex(&self.keep_table(&made.table)?),
        };
        // What failed may work the next time.
        if made.notes.is_empty() {
            let artifact = Artifact { tree: tree.to_string(), kind, hash };
            registry.put_artifact(&artifact).map_err(faults::registry)?;
        }
        notes.extend(made.notes);
        if made.table.is_empty() { Ok(None) } else { Ok(Some(Arc::new(made.table))) }
    }

    fn make_table(
        &self,
        repo: &Repository,
        tree: &Oid,
        source: &Arc<dyn Source>,
        rules: &Rules,
        time: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Made, Fault> {
        let manifest = self.manifest(tree, &**source, time, progress)?;
        // Of a source that has content elsewhere only the workspace's own fetches.
        let late: Arc<dyn Source> = if source.is_lazy() { self.source(repo.path()) } else { source.clone() };
        Making { stores: self, repo, source: &*late, manifest: &manifest, rules, progress }.table()
    }

    /// The workspaces on trees that stored content was converted for.
    pub(crate) fn who_has_converted<'a>(
        &self,
        hash: &cas::Hash,
        rows: &'a [WorkspaceRow],
    ) -> Result<Vec<&'a WorkspaceRow>, Fault> {
        let name = cas::hex(hash);
        let artifacts = self.home.registry().artifacts().map_err(faults::registry)?;
        let is_ours =
            |file: &&Artifact| file.hash == name && (file.kind == TABLE || file.kind.starts_with(CONVERTED));
        let trees: Vec<&str> = artifacts.iter().filter(is_ours).map(|file| file.tree.as_str()).collect();
        Ok(rows.iter().filter(|row| trees.contains(&row.tree.as_str())).collect())
    }

    /// Makes the table of a workspace's tree again, and what is converted with it; when stored content is given, in
    /// place of that.
    ///
    /// Errors: `StoreDamaged` when something else comes out, since rules or filters are no longer what they were.
    pub(crate) fn converted_anew(&self, hash: Option<&cas::Hash>, row: &WorkspaceRow) -> Result<(), Fault> {
        let commit = row.commit.as_deref().unwrap_or("HEAD");
        let path = row.repo_path.as_deref().unwrap_or(Path::new(""));
        let repo = Repository::open(path)?;
        let tree = repo.resolve(Some(commit), None)?.tree;
        if let Some(hash) = hash {
            self.home.cas().remove(hash).map_err(|error| faults::cas(&error))?;
            self.shared.forget_stored(hash);
        }
        let source: Arc<dyn Source> = self.source(path);
        let made = self.make_table(&repo, &tree, &source, &Rules::of(&repo), row.base_time, &Silent)?;
        if made.table.root.to_string() != row.tree {
            let why = format!("the files of `{}` are no longer converted as they were", row.name);
            return Err(Fault::new(Code::StoreDamaged, why).hint(
                "set git's filters and line ends as they were when the workspace was made, then try again",
            ));
        }
        self.keep_table(&made.table)?;
        locked(&self.tables).remove(&made.table.root);
        Ok(())
    }

    /// Keeps a table and says which content belongs to it.
    fn keep_table(&self, table: &Table) -> Result<cas::Hash, Fault> {
        let hash = self.home.cas().put(&table.to_bytes()).map_err(|error| faults::cas(&error))?;
        let packs = table.packs.iter().enumerate();
        let packs = packs.map(|(number, pack)| (format!("{CONVERTED}{number}"), cas::hex(pack)));
        for (kind, hash) in packs.chain([(TABLE.to_owned(), cas::hex(&hash))]) {
            let artifact = Artifact { tree: table.root.to_string(), kind, hash };
            self.home.registry().put_artifact(&artifact).map_err(faults::registry)?;
        }
        Ok(hash)
    }
}
