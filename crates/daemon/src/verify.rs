//! `weald verify`: everything is recomputed from bytes. Nothing is loaded, so damage is found and not repaired, cut or
//! passed over; a workspace in use stays in use.
//!
//! Lock: the forest's lineage, shared, so that no log is deleted meanwhile. Read next: `weald_engine::verify` and
//! `weald_store::log::verify` (logs), `anchor` (what logs are compared with).

use crate::entry::Entry;
use crate::forest::Forest;
use crate::refs::Spot;
use crate::report::{LogBegin, SignedAnchor, Verification, VerifyProblem};
use crate::{anchor, card, faults};
use heal::Damage;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use weald_engine::seal::SealCheck;
use weald_engine::verify::{VerifiedLog, verify_log};
use weald_engine::{Origin, Point};
use weald_git::Repository;
use weald_git::anchor::SignedTag;
use weald_model::{Code, Fault, Oid, Progress, WorkspaceId};
use weald_store::cas::{self, CasError};
use weald_store::home::SIZES_SUFFIX;
use weald_store::log::verify::{Amount, Expected, Problem};
use weald_store::log::{Head, LogError};
use weald_store::registry::{State, WorkspaceRow};

mod base;
mod heal;
mod seals;

/// Problems listed at most.
const PROBLEMS_MAX: usize = 1_000;

/// What is asked of a verification.
pub(crate) struct Scope {
    /// The workspaces; all there is in the home when None.
    pub(crate) entry: Option<Arc<Entry>>,
    /// Only the records up to this point, in this log and those before it.
    pub(crate) until: Option<Point>,
    /// Also the git objects of bases.
    pub(crate) base: bool,
    /// Writes anew what can be made from the source.
    pub(crate) heal: bool,
    /// Anchors somebody kept.
    pub(crate) anchors: Vec<String>,
}

impl Forest {
    /// What a state stands for. The present is not loaded: it may be damaged.
    pub(crate) fn to_verify(
        &self,
        spot: Option<&Spot>,
    ) -> Result<(Option<Arc<Entry>>, Option<Point>), Fault> {
        match spot {
            None => Ok((None, None)),
            Some(spot) if spot.reference.is_none() => Ok((Some(self.find(&spot.target)?), None)),
            Some(spot) => self.state(spot).map(|state| (Some(state.entry), state.point)),
        }
    }

    /// Verifies what the scope says.
    pub(crate) fn verify(&self, scope: &Scope, progress: &dyn Progress) -> Result<Verification, Fault> {
        let _logs_stay = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
        let given = given_anchors(scope)?;
        if scope.heal {
            self.open_for_work()?;
        }
        let mut round = Round {
            forest: self,
            report: Verification::default(),
            names: BTreeMap::new(),
            spare: BTreeSet::new(),
            damages: Vec::new(),
        };
        let rows = round.rows(scope);
        let logs = round.logs(scope, &rows)?;
        let mut stored: BTreeMap<cas::Hash, Option<String>> = BTreeMap::new();
        let mut seals = SealCheck::default();
        if scope.entry.is_none() && round.packs() {
            seals = SealCheck::with_packs_verified();
        }
        progress.stage("verifying logs", logs.len() as u64);
        for (id, until) in &logs {
            let known = round.report.problems.len();
            if let Some(log) = round.log(*id, *until, &given) {
                if log.sealed > 0 && round.report.problems.len() == known {
                    round.seals(*id, *until, &mut seals);
                }
                let name = round.names.get(id).cloned();
                stored.extend(log.stored.keys().map(|hash| (*hash, name.clone())));
                round.compare_row(rows.iter().find(|row| row.id == *id), *id, &log);
            }
            progress.advance(1);
        }
        for row in &rows {
            let hash = row.index_hash.as_deref().and_then(cas::from_hex);
            stored.extend(hash.map(|hash| (hash, Some(row.name.clone()))));
        }
        let mut trees: BTreeMap<Oid, Option<&WorkspaceRow>> = BTreeMap::new();
        trees.extend(rows.iter().filter_map(|row| Some((Oid::from_hex(&row.tree)?, Some(row)))));
        if scope.entry.is_none() {
            round.everything_stored(&mut stored, &mut trees);
            round.content_packs();
            round.registry();
        }
        round.stored_files(&stored, progress);
        round.manifests(&trees, scope.base, progress);
        if scope.heal {
            round.heal();
        } else {
            round.tell_how_to_heal(scope.entry.as_deref());
        }
        let mut report = round.report;
        report.workspaces = rows.iter().map(|row| row.name.clone()).collect();
        report.workspaces.sort();
        report.ok = report.more_problems == 0 && report.problems.iter().all(|problem| problem.is_healed);
        Ok(report)
    }
}

fn given_anchors(scope: &Scope) -> Result<Vec<(WorkspaceId, Head)>, Fault> {
    let read = |word: &String| {
        anchor::parse(word).ok_or_else(|| {
            Fault::new(Code::BadRequest, format!("`{}` is no anchor", word.escape_debug()))
                .hint("give the word that `weald anchor` printed")
        })
    };
    let given: Vec<(WorkspaceId, Head)> = scope.anchors.iter().map(read).collect::<Result<_, Fault>>()?;
    if let Some(entry) = &scope.entry
        && let Some((id, _)) = given.iter().find(|(id, _)| *id != entry.id)
    {
        let what = format!("the anchor is of the workspace {id}, not of `{}`", entry.name());
        return Err(Fault::new(Code::BadRequest, what).hint("weald list --json shows ids"));
    }
    Ok(given)
}

/// One verification under way.
struct Round<'a> {
    forest: &'a Forest,
    report: Verification,
    /// Names of workspaces by log.
    names: BTreeMap<WorkspaceId, String>,
    /// Stored files that nothing refers to: they only save work.
    spare: BTreeSet<cas::Hash>,
    /// What can be made anew, and the problem that tells of it.
    damages: Vec<(usize, Damage)>,
}

impl Round<'_> {
    fn tell(&mut self, workspace: Option<&str>, file: &Path, offset: Option<u64>, what: &str) {
        if self.report.problems.len() == PROBLEMS_MAX {
            self.report.more_problems += 1;
            return;
        }
        self.report.problems.push(VerifyProblem {
            workspace: workspace.map(str::to_owned),
            file: file.display().to_string(),
            offset,
            what: what.to_owned(),
            fix: None,
            is_healed: false,
        });
    }

    /// Tells of something that can be made anew.
    fn tell_damage(&mut self, workspace: Option<&str>, file: &Path, what: &str, damage: Damage) {
        if self.report.problems.len() < PROBLEMS_MAX {
            self.damages.push((self.report.problems.len(), damage));
        }
        self.tell(workspace, file, None, what);
    }

    fn count(&mut self, amount: Amount) {
        self.report.checked_objects += amount.objects;
        self.report.checked_bytes += amount.bytes;
    }

    /// The workspaces to verify.
    fn rows(&mut self, scope: &Scope) -> Vec<WorkspaceRow> {
        let all: Vec<WorkspaceRow> = self.forest.all().iter().map(|entry| entry.row()).collect();
        self.names = all.iter().map(|row| (row.id, row.name.clone())).collect();
        match &scope.entry {
            None => all,
            Some(entry) => vec![entry.row()],
        }
    }

    /// The logs to verify, each up to a record: those of the workspaces and of all they come from.
    fn logs(
        &self,
        scope: &Scope,
        rows: &[WorkspaceRow],
    ) -> Result<BTreeMap<WorkspaceId, Option<u64>>, Fault> {
        let list = self.forest.stores.home.logs().list().map_err(|error| faults::log("home", &error))?;
        if scope.entry.is_none() {
            return Ok(list.into_iter().map(|id| (id, None)).collect());
        }
        let mut logs = BTreeMap::new();
        for row in rows {
            let mut at = scope.until.map_or((row.id, None), |point| (point.log, Some(point.seq)));
            // Ids are counted: a registry that leads in a circle ends here.
            while logs.insert(at.0, at.1).is_none() {
                let Some(entry) = self.forest.by_id(at.0) else { break };
                let Some(origin) = entry.row().origin else { break };
                at = (origin.parent, Some(origin.seq));
            }
        }
        Ok(logs)
    }

    fn log(
        &mut self,
        id: WorkspaceId,
        until: Option<u64>,
        given: &[(WorkspaceId, Head)],
    ) -> Option<VerifiedLog> {
        let (stores, name) = (&self.forest.stores, self.names.get(&id).cloned());
        let entry = self.forest.by_id(id);
        let mut heads = self.heads(id, entry.as_deref(), given);
        if let Ok(Some(gone)) = stores.shared.given_up(id) {
            let all = heads.len();
            heads.retain(|(head, _)| head.seq > gone.seq);
            let anchors_before = (all - heads.len()) as u64;
            let begin = LogBegin { workspace: name.clone(), last_record: gone.seq, anchors_before };
            self.report.given_up.push(begin);
        }
        self.report.checked_anchors += heads.len() as u64;
        let loaded = entry.as_ref().and_then(|entry| entry.loaded());
        let head = loaded.as_ref().map(|workspace| || workspace.head());
        let live = head.as_ref().map(|head| head as &dyn Fn() -> Head);
        let expected = Expected { until, heads, live };
        let mut problems: Vec<Problem> = Vec::new();
        let outcome = verify_log(&stores.shared, id, &expected, &mut |problem| problems.push(problem));
        for problem in problems {
            self.tell(name.as_deref(), &problem.file, Some(problem.offset), &problem.what);
        }
        let dir = stores.home.paths().logs().join(id.to_string());
        match outcome {
            Ok(log) => {
                self.count(log.amount);
                Some(log)
            }
            Err(LogError::Damaged { file, offset, why }) => {
                self.tell(name.as_deref(), &file, Some(offset), why);
                None
            }
            Err(error) => {
                self.tell(name.as_deref(), &dir, None, &error.to_string());
                None
            }
        }
    }

    /// The heads a log once had: kept by the daemon, in the source repository, by the user.
    fn heads(
        &mut self,
        id: WorkspaceId,
        entry: Option<&Entry>,
        given: &[(WorkspaceId, Head)],
    ) -> Vec<(Head, String)> {
        let mut heads: Vec<(Head, String)> = Vec::new();
        let path = self.forest.stores.head_file(id);
        match std::fs::read_to_string(&path) {
            // It is not waited for, so a power cut may leave its name without its content.
            Ok(text) if text.bytes().all(|byte| byte == 0) => {}
            Ok(text) => match anchor::parse(&text).filter(|(of, _)| *of == id) {
                Some((_, head)) => heads.push((head, path.display().to_string())),
                None => self.tell(None, &path, Some(0), "the kept head is damaged"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.tell(None, &path, None, &format!("the kept head cannot be read: {error}")),
        }
        let repo = entry.and_then(|entry| Repository::open(&entry.row().repo_path?).ok());
        for anchor in repo.iter().flat_map(|repo| weald_git::anchor::list(repo, id)) {
            let head = Head { seq: anchor.seq, chain: anchor.chain };
            if let (Some(tag), Some(repo)) = (&anchor.signed, &repo) {
                self.signed(id, repo, &head, &anchor.name, tag);
            }
            heads.push((head, anchor.name));
        }
        let own = given.iter().filter(|(of, _)| *of == id);
        heads.extend(own.map(|(_, head)| (*head, "the given anchor".to_owned())));
        heads
    }

    /// A signed anchor must say in its message what its ref's name says: only the message is signed.
    fn signed(&mut self, id: WorkspaceId, repo: &Repository, head: &Head, name: &str, tag: &SignedTag) {
        let workspace = self.names.get(&id).cloned();
        if tag.says != anchor::word(id, head) {
            let what = format!("the tag that {name} points at was signed for something else");
            self.tell(workspace.as_deref(), repo.path(), None, &what);
        }
        self.report.signed_anchors.push(SignedAnchor {
            workspace,
            repository: repo.path().display().to_string(),
            name: name.to_owned(),
            tag: tag.oid.to_string(),
        });
    }

    /// Compares the registry's row with the log's own first record.
    fn compare_row(&mut self, row: Option<&WorkspaceRow>, id: WorkspaceId, log: &VerifiedLog) {
        let Some(origin) = &log.origin else { return };
        let registry = self.forest.stores.home.paths().registry();
        let Some(row) = row else {
            if self.forest.by_id(id).is_none() {
                self.tell(None, &registry, None, &format!("the log {id} has no row"));
            }
            return;
        };
        self.report.checked_objects += 1;
        for what in differences(row, origin) {
            let what = format!("the row says another {what} than the first record of the log {id}");
            self.tell(Some(&row.name), &registry, None, &what);
        }
    }

    /// All files there are, when everything is verified.
    fn everything_stored(
        &mut self,
        stored: &mut BTreeMap<cas::Hash, Option<String>>,
        trees: &mut BTreeMap<Oid, Option<&WorkspaceRow>>,
    ) {
        let home = &self.forest.stores.home;
        let (cas_dir, manifests) = (home.paths().cas(), home.paths().manifests());
        match home.cas().list() {
            Ok((hashes, strange)) => {
                for hash in hashes {
                    stored.entry(hash).or_insert_with(|| {
                        self.spare.insert(hash);
                        None
                    });
                }
                for path in strange {
                    self.tell(None, &path, None, "this is no stored file: its name is no hash");
                }
            }
            Err(error) => self.tell(None, &cas_dir, None, &error.to_string()),
        }
        let names = home.disk().list(&manifests).unwrap_or_default();
        for name in names {
            let text = name.to_string_lossy();
            match text.strip_suffix(".wm").and_then(Oid::from_hex) {
                Some(tree) => {
                    trees.entry(tree).or_insert(None);
                }
                None if text.starts_with("tmp-") || text.ends_with(SIZES_SUFFIX) => {}
                None => {
                    self.tell(None, &manifests.join(&name), None, "this is no manifest: its name is no tree")
                }
            }
        }
    }

    fn registry(&mut self) {
        let home = &self.forest.stores.home;
        let path = home.paths().registry();
        let bytes = std::fs::metadata(&path).map_or(0, |data| data.len());
        self.count(Amount { objects: 1, bytes });
        match home.registry().check() {
            Ok(faults) => faults.iter().for_each(|what| self.tell(None, &path, None, what)),
            Err(error) => self.tell(None, &path, None, &error.to_string()),
        }
        let logs: BTreeSet<WorkspaceId> = home.logs().list().unwrap_or_default().into_iter().collect();
        for entry in self.forest.all() {
            if !logs.contains(&entry.id) && entry.state() == State::Active {
                let dir = home.paths().logs().join(entry.id.to_string());
                self.tell(Some(&entry.name()), &dir, None, "the log is missing");
            }
        }
    }

    fn stored_files(&mut self, stored: &BTreeMap<cas::Hash, Option<String>>, progress: &dyn Progress) {
        progress.stage("verifying stored files", stored.len() as u64);
        for (hash, workspace) in stored {
            let cas = self.forest.stores.home.cas();
            match cas.verify(hash) {
                Ok(bytes) => self.count(Amount { objects: 1, bytes }),
                Err(error) => {
                    let what = match error {
                        CasError::Damaged(_) => "the content is not that of its name".to_owned(),
                        CasError::Missing(_) => "the file is missing".to_owned(),
                        CasError::Io { error, .. } => error.to_string(),
                    };
                    let damage = Damage::Stored(*hash);
                    self.tell_damage(workspace.as_deref(), &cas.path(hash), &what, damage);
                }
            }
            progress.advance(1);
        }
    }
}

/// What a row and the first record of its log say differently, of what never changes.
fn differences(row: &WorkspaceRow, origin: &Origin) -> Vec<&'static str> {
    let Some(card) = card::read(row.id, origin) else { return vec!["description"] };
    let compared = [
        (row.origin == card.origin, "parent"),
        (row.tree == card.tree, "tree"),
        (row.commit == card.commit, "commit"),
        (row.source == card.source, "source"),
        (row.base_time == card.base_time, "time of the base"),
        ((row.uid, row.gid) == (card.uid, card.gid), "owner"),
    ];
    compared.into_iter().filter(|(is_same, _)| !is_same).map(|(_, what)| what).collect()
}
