//! Mounting as an ordinary user, through fusermount3.
//!
//! Run as root the test runs itself again as nobody, with `unshare` and `setpriv`; run as an ordinary user it just runs.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod common;

use common::{Creation, Scene, Tiny, need_fuse};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use weald_fuse::mount::{Access, Unmount, Unmounted, table};
use weald_fuse::{Limits, Pool};
use weald_model::Code;

/// In a mount namespace of its own, so that nothing changes for others: opens /dev/fuse to everybody, as udev does on
/// hosts, and goes on as nobody.
const ENTER: &str = r#"
mount -t tmpfs tmpfs "$DEV"
mknod -m 666 "$DEV/fuse" c 10 229
mount --bind "$DEV/fuse" /dev/fuse
exec setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
"#;
/// Set in the second run.
const AGAIN: &str = "WEALD_TEST_AS_NOBODY";

/// True in the process that is to do the test.
fn as_ordinary_user(test: &str) -> bool {
    need_fuse();
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os(AGAIN).is_none(), "setpriv did not change the user");
    // World-readable, since nobody cannot enter the directory the build is in.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["tmp", "dev"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-ec", ENTER, "sh"])
        .arg(&program)
        .args(["--exact", test, "--nocapture"])
        .env(AGAIN, "1")
        .env("DEV", dir.path().join("dev"))
        .env("TMPDIR", dir.path().join("tmp"))
        .current_dir("/")
        .output()
        .expect("unshare of util-linux runs");
    let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success() && words[0].contains("1 passed"),
        "as nobody:\n{}\n{}",
        words[0],
        words[1]
    );
    false
}

#[test]
fn fusermount_mounts_and_unmounts_by_identity() {
    if !as_ordinary_user("fusermount_mounts_and_unmounts_by_identity") {
        return;
    }
    let pool = Pool::new(Limits::default()).unwrap();
    let scene = Scene::new(&pool, "nobody's, own", Tiny::new(Creation::Create));
    fs::write(scene.at("f"), b"by nobody").unwrap();
    assert_eq!(fs::read(scene.at("f")).unwrap(), b"by nobody");
    let entry = table().unwrap().into_iter().find(|entry| entry.path == scene.path).unwrap();
    assert_eq!(entry.name, b"nobody's, own");
    let file = fs::File::open(scene.at("f")).unwrap();
    assert_eq!(scene.mount.unmount(Unmount::Normal).unwrap_err().code, Code::WorkspaceInUse);
    drop(file);
    assert_eq!(scene.mount.unmount(Unmount::Normal).unwrap(), Unmounted::Done);
    assert_eq!(scene.mount.unmount(Unmount::Normal).unwrap(), Unmounted::NotThere);
}

#[test]
fn a_user_without_leave_is_told_how_to_allow_others() {
    if !as_ordinary_user("a_user_without_leave_is_told_how_to_allow_others") {
        return;
    }
    let allowed = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if allowed.lines().any(|line| line.trim() == "user_allow_other") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut options = common::options("others", dir.path());
    options.access = Access::Everybody;
    let fault = weald_fuse::mount::mount(&options).unwrap_err();
    assert_eq!(fault.code, Code::NotAllowed, "{fault:?}");
    assert!(fault.hint.unwrap().contains("user_allow_other"));
}

#[test]
fn without_fusermount_the_package_is_named() {
    if !as_ordinary_user("without_fusermount_the_package_is_named") {
        return;
    }
    // An empty PATH in a third process, since the environment of this one is shared with other tests.
    if std::env::var_os("PATH").is_some_and(|path| path != "/nonexistent") {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "without_fusermount_the_package_is_named"])
            .env("PATH", "/nonexistent")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fault = weald_fuse::mount::mount(&common::options("x", dir.path())).unwrap_err();
    assert_eq!(fault.code, Code::NoFusermount, "{fault:?}");
    assert!(fault.hint.unwrap().contains("fuse3"));
}
