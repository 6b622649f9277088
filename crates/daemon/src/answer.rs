//! From request to answer: one line per verb.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::protocol::{FaultLine, Request, Target};
use crate::report::{Mounted, Refusal};
use crate::restore::Step;
use crate::verify::Scope;
use crate::{fork, mount_point, survey};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use weald_fuse::Unmount;
use weald_model::{Caller, Code, Fault, Progress, WorkspaceId};

/// Carries out a request of `who`. `Stop` and `Log` are the control socket's own.
pub(crate) fn answer(
    forest: &Arc<Forest>,
    who: &Caller,
    request: Request,
    progress: &dyn Progress,
) -> Result<Value, Fault> {
    match request {
        Request::Create(ask) => value(&forest.create(&ask, progress)?),
        Request::Fork(ask) => {
            fork::check_count(ask.count)?;
            value(&forest.fork(&ask, progress)?)
        }
        Request::List => value(&forest.list()),
        Request::Changes { target, since } => value(&forest.changes(&target, &since)?),
        Request::Fetch { target, url } => value(&forest.news(target.as_ref(), url.as_deref(), progress)?),
        Request::Bring { clone, ids, command, here } => {
            value(&forest.bring(&clone, &ids, command.as_deref(), &here)?)
        }
        Request::Info { target } => value(&forest.info(&target)?),
        Request::Path { target } => value(&forest.locate(&target)?),
        Request::Rename { target, name } => value(&forest.rename(&target, &name)?),
        Request::Remove { targets, force } => value(&forest.remove(who, &targets, force)?),
        Request::TrashList => value(&forest.trash_list()),
        Request::TrashRestore { name, new_name, mount_root } => {
            value(&forest.restore(&name, new_name.as_deref(), &mount_root)?)
        }
        Request::TrashEmpty { older_than_secs } => value(&forest.trash_empty(older_than_secs)?),
        Request::Mount { targets } => value(&each(forest, &targets, |entry| mount(forest, entry))),
        Request::Unmount { targets, force } => {
            let how = if force { Unmount::Lazy } else { Unmount::Normal };
            value(&each(forest, &targets, |entry| unmount(forest, entry, how)))
        }
        Request::Config { key } => value(&forest.stores.config.show(key.as_deref())?),
        Request::SetConfig { key, value: text } => {
            let setting = forest.stores.config.set(&key, text.as_deref())?;
            forest.keeper.reread();
            forest.reclaimer.reread();
            forest.ahead.look();
            forest.want_packs(None);
            forest.sealer.changed(&loaded(forest));
            value(&setting)
        }
        Request::GcPlan { options } => value(&forest.gc_plan(&options)?),
        Request::GcRun { plan } => value(&forest.gc_run(&plan)?),
        Request::Pin { spot, note } => value(&forest.pin(&spot, &note)?),
        Request::PinList => value(&forest.pin_list()?),
        Request::Unpin { id } => value(&forest.unpin(&id)?),
        Request::Doctor { fix } => value(&forest.examine(fix)?),
        Request::Verify { state, base, heal, anchors } => {
            let (entry, until) = forest.to_verify(state.as_ref())?;
            value(&forest.verify(&Scope { entry, until, base, heal, anchors }, progress)?)
        }
        Request::LogReads { target, on } => value(&forest.log_reads(who, &target, on)?),
        Request::Rules(ask) => value(&forest.rules_of(who, &ask)?),
        Request::Anchor { target, tag } => value(&forest.anchor(&target, tag)?),
        Request::Snapshot(ask) => value(&forest.snapshot(who, &ask)?),
        Request::History(ask) => value(&forest.history(&ask)?),
        Request::Diff(ask) => value(&forest.compare(&ask, progress)?),
        Request::Restore(ask) => value(&forest.bring_back(who, &ask, progress)?),
        Request::Undo { target } => value(&forest.step(who, &target, Step::Back)?),
        Request::Redo { target } => value(&forest.step(who, &target, Step::Forward)?),
        Request::Status => value(&forest.status()?),
        Request::Log(_) => Err(Fault::new(Code::Internal, "log is answered by the control socket")),
        Request::Stop | Request::HandOn => {
            Err(Fault::new(Code::Internal, "stop is answered by the control socket"))
        }
    }
}

/// The workspaces in memory.
fn loaded(forest: &Forest) -> Vec<WorkspaceId> {
    forest.all().iter().filter(|entry| entry.loaded().is_some()).map(|entry| entry.id).collect()
}

fn value<T: Serialize>(report: &T) -> Result<Value, Fault> {
    serde_json::to_value(report)
        .map_err(|error| Fault::new(Code::Internal, format!("an answer has no JSON: {error}")))
}

fn mount(forest: &Forest, entry: &Arc<Entry>) -> Result<(), Fault> {
    // Asked for by name, a damaged log is told now and not to the first program that comes.
    entry.load(&forest.stores)?;
    forest.mount(entry)
}

fn unmount(forest: &Forest, entry: &Arc<Entry>, how: Unmount) -> Result<(), Fault> {
    forest.unmount(entry, how)?;
    entry.unload(&forest.stores);
    mount_point::discard(&entry.row().mount_path);
    Ok(())
}

/// Does something with each target, all workspaces when there is none, and gathers what was refused.
fn each(forest: &Forest, targets: &[Target], act: impl Fn(&Arc<Entry>) -> Result<(), Fault>) -> Mounted {
    let mut mounted = Mounted { workspaces: Vec::new(), refused: Vec::new() };
    let named = |target: &Target| (target.name.clone().unwrap_or_default(), forest.find(target));
    let chosen: Vec<(String, Result<Arc<Entry>, Fault>)> = if targets.is_empty() {
        forest.active().into_iter().map(|entry| (entry.name(), Ok(entry))).collect()
    } else {
        targets.iter().map(named).collect()
    };
    for (name, found) in chosen {
        match found.and_then(|entry| act(&entry).map(|()| entry)) {
            Ok(entry) => mounted.workspaces.push(survey::located(&entry)),
            Err(fault) => mounted.refused.push(Refusal { name, fault: FaultLine::from(&fault) }),
        }
    }
    mounted
}
