//! The daemon: owns the store of a home, mounts its workspaces, and answers the command line over a socket.
//!
//! Invariants: one daemon per home; nothing is visible before it is whole and durable; what is removed can be had
//! back until the trash is emptied. Read first [`protocol`] (what can be asked), then `forest` (the set of
//! workspaces) and its verbs (`create`, `fork`, `rename`, `removal`, `trash`, `survey`, `history`, `restore`, `compare`), [`supervisor`] and [`run`] (life of the
//! processes) and [`launch`] (how a command finds it).

pub mod ask;
pub mod launch;
pub mod protocol;
pub mod refs;
pub mod report;
pub mod run;
pub mod signing;

mod anchor;
mod answer;
mod aside;
pub mod asker;
mod audit;
mod card;
mod clones;
mod compare;
mod config;
mod control;
mod conversions;
mod create;
pub mod doctor;
mod entry;
mod faults;
mod fetching;
mod first_status;
mod forest;
mod fork;
pub mod fsmonitor;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gc;
mod head;
mod history;
mod hold;
pub mod ipc;
mod ipc_node;
mod keeper;
mod known;
mod memory;
mod mount_point;
mod mounting;
mod occupants;
mod open_files;
mod overlook;
mod packer;
mod packing;
mod patch;
mod pins;
mod programs;
mod reads;
mod reclaimer;
mod reconcile;
mod removal;
mod rename;
mod reserve;
mod restore;
mod rings;
mod rules;
mod sealer;
mod sources;
pub mod ssh_agent;
mod stores;
pub mod supervisor;
mod survey;
mod take_in;
pub mod teller;
mod thinning;
mod trash;
pub mod upload_pack;
mod verify;
mod wire;
mod writeback;

use std::sync::{Mutex, MutexGuard, PoisonError};
use weald_model::Fault;

/// Takes a lock. A panic while one was held has been answered as a fault already, and what these locks guard is
/// whole at every step.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread that nobody waits for.
fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| Fault::host("starting a thread", &error))
}

/// Writes a line to the daemon's log. On a full disk it is lost: `eprintln!` would panic, and with it end what the
/// daemon is doing, just when it has something to tell.
fn note(line: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("weald: {line}\n"));
}
