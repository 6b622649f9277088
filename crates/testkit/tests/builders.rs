//! Repositories and listings that other tests are built on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use weald_testkit::repo::Repo;
use weald_testkit::tree_compare::{Exactness, compare, list, same};

#[test]
fn equal_calls_make_equal_commits() {
    let make = || {
        let mut repo = Repo::new();
        repo.write("a/b", "text").write_executable("run", "#!/bin/sh\n").symlink("link", "a/b");
        let first = repo.commit("first");
        repo.remove("run");
        (first, repo.commit("second"), repo.git(&["ls-tree", "-r", "--name-only", "HEAD"]))
    };
    let (first, second, names) = make();
    assert_eq!((first, second, names.clone()), make());
    assert_eq!(names, "a/b\nlink");
}

#[test]
fn hostile_tree_is_stored_as_it_is() {
    let repo = Repo::new();
    let blob = repo.store_object("blob", b"text");
    let id: Vec<u8> =
        (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).expect("hex")).collect();
    let tree = repo.store_object("tree", &[b"100644 .git\0".as_slice(), &id].concat());
    assert_eq!(repo.git(&["ls-tree", "--name-only", &tree]), ".git");
}

#[test]
fn listing_tells_mode_content_link_and_time_apart() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&one, &two] {
        fs::write(dir.path().join("file"), "text").unwrap();
        fs::create_dir(dir.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    }
    compare(one.path(), two.path(), Exactness::Content).unwrap();
    assert!(compare(one.path(), two.path(), Exactness::Numbers).is_err());
    let change = |change: &dyn Fn(&std::path::Path)| {
        let before = list(two.path(), Exactness::Times).unwrap();
        change(two.path());
        assert!(same(&list(two.path(), Exactness::Times).unwrap(), &before).is_err());
    };
    change(&|dir| fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o600)).unwrap());
    change(&|dir| fs::write(dir.join("file"), "TEXT").unwrap());
    change(&|dir| {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1);
        fs::File::options().write(true).open(dir.join("file")).unwrap().set_modified(time).unwrap();
    });
    change(&|dir| fs::hard_link(dir.join("file"), dir.join("dir/hard")).unwrap());
    change(&|dir| fs::remove_file(dir.join("link")).unwrap());
}
