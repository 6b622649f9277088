//! Taking away what nobody needs, in two phases: a plan that changes nothing, and its run.
//!
//! Invariants: a plan is a function of what is kept and of its options, so two plans over the same store are equal to
//! the byte, name included; a run makes the plan again under the locks that keep forks, workspaces in the making and
//! restores away, and does nothing at all when one item of the saved plan is in use now. What a record must tell of
//! is recorded, and durable, before it is taken away.
//! Read next: `gc/survey.rs` (what there is to take), `gc/run.rs` (taking it), `gc/evict.rs` (by itself, when the disk gets
//! full), `gc/background.rs` (by itself, now and then), docs/format.md.

use crate::faults;
use crate::forest::Forest;
use crate::report::{GcItem, GcOptions, GcPlan};
use std::path::PathBuf;
use std::sync::PoisonError;
use weald_model::{Code, Fault};
use weald_store::cas;
use weald_store::publish::publish;

mod background;
mod chunks;
mod evict;
mod history;
mod run;
mod survey;

pub(crate) use background::{Looked, Reclaimed};

/// Directory of plans in the home.
pub(crate) const PLANS: &str = "plans";
/// Plans that are kept; making one more drops the oldest.
const PLANS_MAX: usize = 32;
/// Hexadecimal digits of a plan's id.
const ID_DIGITS: usize = 16;

impl Forest {
    /// Finds what can be taken away, and saves that under an id. Changes nothing else.
    pub(crate) fn gc_plan(&self, options: &GcOptions) -> Result<GcPlan, Fault> {
        let _room = self.stores.spend_reserve();
        let plan = {
            let _settled = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
            self.fresh_plan(options)?
        };
        let dir = self.plans();
        let disk = &**self.stores.home.disk();
        let host = |error: std::io::Error| Fault::host(&format!("writing {}", dir.display()), &error);
        disk.make_dir(&dir).map_err(host)?;
        publish(disk, &dir, &dir, &file_name(&plan.id), &bytes(&plan)).map_err(host)?;
        self.drop_old_plans();
        Ok(plan)
    }

    /// The plan as it is now, saved nowhere. The caller keeps forks and the emptying of the trash away.
    pub(crate) fn fresh_plan(&self, options: &GcOptions) -> Result<GcPlan, Fault> {
        let mut found = self.survey(options)?;
        found.items.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        let freed_bytes = found.items.iter().map(|item| item.bytes).sum();
        let mut plan = GcPlan {
            id: String::new(),
            options: options.clone(),
            items: found.items,
            freed_bytes,
            skipped: found.skipped,
        };
        plan.id = cas::hex(&cas::hash(&bytes(&plan)))[..ID_DIGITS].to_owned();
        Ok(plan)
    }

    /// Reads a saved plan; a unique prefix of its id will do.
    fn saved_plan(&self, id: &str) -> Result<GcPlan, Fault> {
        let unknown = |why: &str| {
            Fault::new(Code::UnknownPlan, format!("`{}` {why}", id.escape_debug())).hint("weald gc plan")
        };
        let mut fits = self.plan_names();
        fits.retain(|name| !id.is_empty() && name.starts_with(id));
        let name = match &fits[..] {
            [name] => name,
            [] => return Err(unknown("is no saved plan")),
            _ => return Err(unknown("begins the names of several plans")),
        };
        let path = self.plans().join(file_name(name));
        let text = std::fs::read(&path)
            .map_err(|error| Fault::host(&format!("reading {}", path.display()), &error))?;
        serde_json::from_slice(&text).map_err(|_| unknown("is no plan this weald understands"))
    }

    fn plans(&self) -> PathBuf {
        self.stores.home.paths().root().join(PLANS)
    }

    /// Ids of saved plans.
    fn plan_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.plans()).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
    }

    fn drop_old_plans(&self) {
        let dir = self.plans();
        let age = |name: &String| {
            let data = std::fs::metadata(dir.join(file_name(name))).and_then(|data| data.modified());
            (std::cmp::Reverse(data.ok()), name.clone())
        };
        let mut names = self.plan_names();
        names.sort_by_cached_key(age);
        for name in names.iter().skip(PLANS_MAX) {
            self.drop_plan(name);
        }
    }

    /// Removes a plan's file. One that stays is refused when it is stale.
    fn drop_plan(&self, id: &str) {
        let _ = std::fs::remove_file(self.plans().join(file_name(id)));
    }
}

fn file_name(id: &str) -> String {
    format!("{id}.json")
}

fn bytes(plan: &GcPlan) -> Vec<u8> {
    serde_json::to_vec(plan).expect("a plan has string keys only")
}

/// What a survey found.
#[derive(Default)]
struct Found {
    items: Vec<GcItem>,
    /// What could not be looked at, and is left alone.
    skipped: Vec<crate::report::Refusal>,
}

impl Found {
    fn skip(&mut self, name: &str, fault: &Fault) {
        self.skipped.push(crate::report::Refusal {
            name: name.to_owned(),
            fault: crate::protocol::FaultLine::from(fault),
        });
    }
}

/// Why a run does not begin.
fn stale(plan: &str, now_in_use: &[&GcItem]) -> Fault {
    const NAMED_MAX: usize = 3;
    let mut named: Vec<&str> = now_in_use.iter().take(NAMED_MAX).map(|item| item.what.as_str()).collect();
    if now_in_use.len() > NAMED_MAX {
        named.push("…");
    }
    let why =
        format!("the plan {plan} is stale, so nothing was done; needed now, or gone: {}", named.join(", "));
    Fault::new(Code::StalePlan, why).hint("weald gc plan")
}

fn busy() -> Fault {
    Fault::new(
        Code::WorkspaceInUse,
        "a workspace is being made, forked or verified, which must not miss anything",
    )
    .hint("run it again in a moment")
}

/// A registry that cannot be read.
fn registry(error: weald_store::registry::RegistryError) -> Fault {
    faults::registry(error)
}
