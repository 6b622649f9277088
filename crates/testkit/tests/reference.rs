//! The reference file system against the host's own: where both agree, the reference means what Linux means.
//!
//! Needs root and a temporary directory on ext4, XFS or btrfs with extended attributes; elsewhere it has nothing to
//! compare with and passes.

use proptest::collection::vec;
use proptest::prelude::*;
use std::path::PathBuf;
use weald_model::Timestamp;
use weald_testkit::compare::{Clock, Numbers, describe, same, same_outcome};
use weald_testkit::host::{Host, ROOT};
use weald_testkit::operation::{Operation, Slots, apply};
use weald_testkit::reference::Reference;
use weald_testkit::{cases, strategy};

/// `f_type` of ext2, ext3 and ext4 (statfs(2)).
const EXT_MAGIC: i64 = 0xEF53;

/// A directory to test in, if this machine has a fitting one.
fn directory() -> Option<tempfile::TempDir> {
    let places = [std::env::temp_dir(), PathBuf::from("/var/tmp")];
    let fits = |place: &PathBuf| rustix::fs::statfs(place).is_ok_and(|stat| stat.f_type == EXT_MAGIC);
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    places.iter().find(|place| fits(place)).and_then(|place| tempfile::tempdir_in(place).ok())
}

/// What the host's file system can hold: ext4 keeps all extended attributes of a file in one block.
fn fits_host(operation: &Operation) -> bool {
    !matches!(operation, Operation::SetXattr { value, .. } if value.len > 900)
}

/// Applies everything on both sides and compares.
fn run(operations: &[Operation]) -> Result<(), String> {
    let Some(dir) = directory() else { return Ok(()) };
    let mut host = Host::new(dir.path()).expect("a directory can be opened");
    host.apply(&Operation::Chmod { at: weald_testkit::operation::Place::at(&[]), perm: 0o755 })
        .expect("its mode can be set");
    let mut reference = Reference::empty(0, 0, Timestamp::from_secs(1));
    let mut slots = Slots::default();
    for (number, operation) in operations.iter().enumerate() {
        let wanted = apply(&mut reference, &mut slots, &ROOT, operation);
        let found = host.apply(operation);
        same_outcome(&found, &wanted, Clock::Own)
            .map_err(|why| format!("operation {number} {operation:?}: {why}"))?;
    }
    let found = host.describe().expect("the directory can be walked");
    let wanted = describe(&mut reference, &slots).expect("the reference can be walked");
    same(&found, &wanted, &mut Numbers::default(), Clock::Own)
}

#[test]
fn found_operations_are_answered_as_the_host_does() {
    run(&weald_testkit::found::names_too_long_in_a_removed_directory()).expect("the reference is right");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reference_answers_as_the_host(
        operations in vec(strategy::operation().prop_filter("the host can hold it", fits_host), 1..80),
    ) {
        run(&operations).map_err(TestCaseError::fail)?;
    }
}
