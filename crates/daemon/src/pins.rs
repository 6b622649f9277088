//! Pins: points of workspaces that are kept whatever the settings say, each a small file in `pins/`.
//!
//! Invariants: a pin is durable before it is told, and removed durably; while one cannot be read, nothing is given back
//! at all, since nobody can say what it keeps. A pinned workspace stays in the trash when that is emptied.

use crate::faults;
use crate::forest::Forest;
use crate::history::State;
use crate::refs::Spot;
use crate::report::{Moment, PinRow};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::PoisonError;
use weald_engine::Point;
use weald_model::{Code, Errno, Fault, WorkspaceId};
use weald_store::publish::publish;

/// Their directory in the home.
const PINS: &str = "pins";

/// A pin as its file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pin {
    workspace: String,
    log: String,
    seq: u64,
    note: String,
    created_at: i64,
}

/// A point that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    /// The pin's id.
    pub(crate) id: String,
    /// The workspace in whose past it is.
    pub(crate) workspace: WorkspaceId,
    /// What is kept.
    pub(crate) point: Point,
    note: String,
    created_at: i64,
}

impl Forest {
    /// Keeps a state of a workspace for good.
    pub(crate) fn pin(&self, spot: &Spot, note: &str) -> Result<PinRow, Fault> {
        self.open_for_work()?;
        let _not_emptied = self.lineage.read().unwrap_or_else(PoisonError::into_inner);
        if spot.reference.is_none() {
            self.find(&spot.target)?.flush();
        }
        let State { entry, workspace, point, .. } = self.state(spot)?;
        let point = point.unwrap_or_else(|| workspace.present());
        workspace.sync().map_err(|error| faults::errno("making the point durable", error))?;
        let pin = Pin {
            workspace: entry.id.to_string(),
            log: point.log.to_string(),
            seq: point.seq,
            note: note.to_owned(),
            created_at: self.stores.now(),
        };
        let id = self.stores.fresh_id().to_string();
        let written = workspace.hold(point, || self.write_pin(&id, &pin)).map_err(|error| match error {
            Errno::NotFound => {
                Fault::new(Code::BadRequest, "that operation is not in the past of the workspace")
            }
            error => faults::errno("pinning", error),
        })?;
        written?;
        let pinned = Pinned::new(id, pin).ok_or_else(|| self.unreadable_pin("it was just written"))?;
        Ok(self.pin_row(&pinned))
    }

    fn write_pin(&self, id: &str, pin: &Pin) -> Result<(), Fault> {
        let dir = self.pin_dir();
        let host = |error: std::io::Error| Fault::host(&format!("writing {}", dir.display()), &error);
        let disk = &**self.stores.home.disk();
        disk.make_dir(&dir).map_err(host)?;
        disk.sync_dir(self.stores.home.paths().root()).map_err(host)?;
        let bytes = serde_json::to_vec(pin).expect("a pin has string keys only");
        publish(disk, &dir, &dir, &format!("{id}.json"), &bytes).map_err(host)
    }

    /// All pins, by id. One that cannot be read is a fault.
    pub(crate) fn pins(&self) -> Result<Vec<Pinned>, Fault> {
        let dir = self.pin_dir();
        let host = |error: std::io::Error| Fault::host(&format!("reading {}", dir.display()), &error);
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(host)?,
        };
        let mut pins = Vec::new();
        for entry in entries {
            let name = entry.map_err(host)?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let text = std::fs::read(dir.join(&name)).map_err(host)?;
            let pin = serde_json::from_slice(&text).ok().and_then(|pin| Pinned::new(id.to_owned(), pin));
            pins.push(pin.ok_or_else(|| self.unreadable_pin(id))?);
        }
        pins.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(pins)
    }

    /// All pins, for people.
    pub(crate) fn pin_list(&self) -> Result<Vec<PinRow>, Fault> {
        Ok(self.pins()?.iter().map(|pin| self.pin_row(pin)).collect())
    }

    /// Takes a pin away; a unique prefix of its id will do.
    pub(crate) fn unpin(&self, id: &str) -> Result<PinRow, Fault> {
        self.open_for_work()?;
        let mut fits = self.pins()?;
        fits.retain(|pin| !id.is_empty() && pin.id.starts_with(id));
        let [pin] = &fits[..] else {
            let why = if fits.is_empty() { "is no pin" } else { "begins the ids of several pins" };
            let text = format!("`{}` {why}", id.escape_debug());
            return Err(Fault::new(Code::UnknownPin, text).hint("weald pin --list"));
        };
        let dir = self.pin_dir();
        let host =
            |error: std::io::Error| Fault::host(&format!("removing the pin in {}", dir.display()), &error);
        let disk = self.stores.home.disk();
        disk.remove_file(&dir.join(format!("{}.json", pin.id))).map_err(host)?;
        disk.sync_dir(&dir).map_err(host)?;
        Ok(self.pin_row(pin))
    }

    fn pin_row(&self, pin: &Pinned) -> PinRow {
        PinRow {
            id: pin.id.clone(),
            workspace: self
                .by_id(pin.workspace)
                .map_or_else(|| pin.workspace.to_string(), |entry| entry.name()),
            log: pin.point.log.to_string(),
            record: pin.point.seq,
            note: pin.note.clone(),
            created_at: Moment(pin.created_at),
        }
    }

    fn pin_dir(&self) -> PathBuf {
        self.stores.home.paths().root().join(PINS)
    }

    fn unreadable_pin(&self, id: &str) -> Fault {
        let path = self.pin_dir().join(format!("{id}.json"));
        Fault::new(Code::StoreDamaged, format!("the pin {} cannot be read", path.display()))
            .hint(format!("bring it back from a copy, or let go of what it keeps: rm {}", path.display()))
    }
}

impl Pinned {
    fn new(id: String, pin: Pin) -> Option<Self> {
        let point = Point { log: WorkspaceId::from_hex(&pin.log)?, seq: pin.seq };
        let workspace = WorkspaceId::from_hex(&pin.workspace)?;
        Some(Self { id, workspace, point, note: pin.note, created_at: pin.created_at })
    }
}
