//! The packs of a clone whose content came bit by bit.
//!
//! Each batch is a pack, and every look for an object goes through all of them. Now and then they are joined. Invariants:
//! nothing goes but packs whose objects are in a new one, and files of transfers that ended long ago; deltas stay as
//! the server made them, so joining costs reading and writing.

use super::transfer::{Failure, Given, Transfer};
use super::{SILENCE_MAX, told};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use weald_model::{Fault, Silent};

/// A transfer that writes a file writes to it more often than this.
const LEFT_AFTER: Duration = Duration::from_secs(600);

/// How many packs a repository has.
pub fn count(repo: &Path) -> usize {
    let names = std::fs::read_dir(repo.join("objects/pack")).into_iter().flatten().flatten();
    names.filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count()
}

/// Makes one pack of all. Who reads meanwhile is not disturbed, packs that come meanwhile stay.
pub fn join(repo: &Path, given_up: Given<'_>) -> Result<(), Fault> {
    let mut args: Vec<OsString> = vec!["-C".into(), repo.into()];
    for word in ["repack", "-a", "-d", "-k", "--window=0", "--no-write-bitmap-index"] {
        args.push(word.into());
    }
    let mut transfer = Transfer::new(args, SILENCE_MAX * 10);
    transfer.given_up = Some(given_up);
    transfer.is_aside = true;
    match transfer.run(&Silent) {
        Ok(_) | Err(Failure::GivenUp) => Ok(()),
        Err(failure) => Err(told(&failure, &repo.display().to_string(), None)),
    }
}

/// Removes what transfers left that were cut off. Best effort.
pub fn sweep(repo: &Path) {
    for entry in std::fs::read_dir(repo.join("objects/pack")).into_iter().flatten().flatten() {
        let is_left = entry.file_name().to_string_lossy().starts_with("tmp_")
            && entry
                .metadata()
                .and_then(|data| data.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LEFT_AFTER));
        if is_left {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
