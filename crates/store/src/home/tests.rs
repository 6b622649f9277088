//! A home is private, has one owner, and tells why it cannot be had.

use super::*;
use std::os::unix::fs::PermissionsExt;
use weald_model::{Silent, Timestamp};

#[test]
fn a_home_is_made_private_with_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b");
    let home = Home::open(&root).unwrap();
    for path in [root.clone(), home.paths().logs(), home.paths().cas(), home.paths().manifests()] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
    }
    for path in [home.paths().lock(), home.paths().registry(), root.join("format")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
}

#[test]
fn a_second_owner_is_told_who_has_it_until_the_first_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let first = Home::open(dir.path()).unwrap();
    match Home::open(dir.path()) {
        Err(HomeError::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{:?}", other.err()),
    }
    drop(first);
    Home::open(dir.path()).unwrap();
}

#[test]
fn a_loose_home_is_tightened() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    Home::open(dir.path()).unwrap();
    assert_eq!(dir.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_unwritable_home_is_told_as_such() {
    for errno in [Errno::ROFS, Errno::ACCESS] {
        assert!(matches!(refused(Path::new("/h"), errno.into()), HomeError::ReadOnly { .. }));
    }
    // Not even root may make files there.
    assert!(matches!(Home::open(Path::new("/proc/weald-home")), Err(HomeError::Io { .. })));
}

#[test]
fn a_home_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("format"), "weald 2\n").unwrap();
    assert!(matches!(Home::open(dir.path()), Err(HomeError::Format { found, .. }) if found == "weald 2"));
}

#[test]
fn what_a_crash_left_half_written_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    drop(Home::open(dir.path()).unwrap());
    let left = dir.path().join("cas/tmp-1-1");
    std::fs::write(&left, "x").unwrap();
    Home::open(dir.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_manifest_that_was_put_is_found_again_and_another_tree_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let (source, tree) = crate::manifest::tests::small();
    let bytes = Manifest::build(&source, &tree, Timestamp::from_secs(1), &Silent).unwrap();
    assert!(home.manifest(&tree).unwrap().is_none());
    home.put_manifest(&tree, &bytes).unwrap();
    assert_eq!(home.manifest(&tree).unwrap().unwrap().tree(), tree);
    let other = Oid::new(&[9; 20]).unwrap();
    std::fs::copy(home.paths().manifest(&tree), home.paths().manifest(&other)).unwrap();
    assert!(matches!(home.manifest(&other), Err(HomeManifestError::Manifest(ManifestError::Damaged(_)))));
}
