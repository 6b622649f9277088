//! The mount table, parsed.

use super::table::parse;
use super::*;

#[test]
fn ours_are_found_among_others() {
    let table = b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
        36 22 0:42 / /home/u/weald/a\\040b rw,nosuid shared:7 - fuse.weald weald:a\\134b rw,user_id=0\n\
        37 22 0:43 / /mnt rw - fuse.weald other rw\n\
        38 22 0:44 / /mnt rw - fuse.sshfs weald:x rw\n\
        39 22 0:45 / /m rw - fuse.weald weald:z";
    let entries = parse(table);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].path, Path::new("/home/u/weald/a b"));
    assert_eq!((entries[0].table_id, entries[0].device, &entries[0].name[..]), (36, (0, 42), &b"a\\b"[..]));
    assert_eq!(entries[1].name, b"z");
}

#[test]
fn odd_lines_are_passed_over() {
    for line in [
        "",
        " ",
        "36",
        "a b c d e f - fuse.weald weald:x",
        "36 1 0 / /m rw - fuse.weald weald:x",
        "1 2 3:4 / /",
    ] {
        assert!(parse(line.as_bytes()).is_empty(), "{line:?}");
    }
    let broken_escape = b"36 22 0:42 / /m\\04 rw - fuse.weald weald:\\9";
    assert_eq!(parse(broken_escape)[0].path, Path::new("/m\\04"));
}

#[test]
fn what_is_not_mounted_is_not_unmounted() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Mount { path: dir.path().to_owned(), identity: Identity { mount_id: 0, device: (0, 0) } };
    assert_eq!(mount.unmount(Unmount::Normal).unwrap(), Unmounted::NotThere);
    let gone = Mount { path: dir.path().join("gone"), ..mount };
    assert_eq!(gone.unmount(Unmount::Normal).unwrap(), Unmounted::NotThere);
}
