//! What SETATTR asks for. Everything else is tested through a mount, in crates/fuse/tests/workspace.rs.

use super::*;

const NOTHING: Setattr = Setattr {
    valid: 0,
    size: 1,
    atime: (2, 3),
    mtime: (4, 5),
    ctime: (6, 7),
    mode: 0o100_644,
    uid: 8,
    gid: 9,
};

#[test]
fn only_valid_fields_are_changed() {
    assert_eq!(changes(&NOTHING).unwrap(), SetAttr::default());
    let set = Setattr { valid: fattr::MODE | fattr::GID, ..NOTHING };
    assert_eq!(changes(&set).unwrap(), SetAttr { perm: Some(0o644), gid: Some(9), ..SetAttr::default() });
}

#[test]
fn now_is_the_engines_now() {
    let set = Setattr { valid: fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME, ..NOTHING };
    let changes = changes(&set).unwrap();
    assert_eq!(changes.atime, Some(SetTime::Now));
    assert_eq!(changes.mtime, Some(SetTime::At(Timestamp { secs: 4, nanos: 5 })));
}

#[test]
fn times_before_1970_are_negative_and_bad_nanoseconds_refused() {
    let set = Setattr { valid: fattr::MTIME, mtime: (-1i64 as u64, 0), ..NOTHING };
    assert_eq!(changes(&set).unwrap().mtime, Some(SetTime::At(Timestamp::from_secs(-1))));
    let set = Setattr { valid: fattr::CTIME, ctime: (0, 1_000_000_000), ..NOTHING };
    assert_eq!(changes(&set), Err(Errno::Invalid));
}
