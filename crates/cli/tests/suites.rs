//! The public suites pjdfstest and fsx, inside a mounted workspace.
//!
//! `cargo xtask check test` builds both under `target/tools`. No case may fail; see docs/testing.md.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Home, NOBODY};

/// Where `cargo xtask check test` puts the suites.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/bin");

/// Operations of one run of fsx, unless `WEALD_OPERATIONS` says otherwise.
const FSX_OPERATIONS: u64 = 200_000;

/// What a quarter of a million operations write, and more.
const FSX_ROOM: u64 = 3 << 30;

/// Fixed, so that a failure can be repeated, unless `WEALD_SEED` says otherwise.
const FSX_SEED: u64 = 20_261_121;

/// All operations there are; what flushes or drops caches of the whole machine is rarer, as in real programs.
const FSX_SETTINGS: &str = "
flen = 1048576
[opsize]
min = 1
max = 16384
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 5
invalidate = 1
truncate = 5
fsync = 0.1
fdatasync = 0.1
posix_fallocate = 2
punch_hole = 5
sendfile = 2
posix_fadvise = 0.1
copy_file_range = 5
";

/// Cases of version 0.2.2 that run.
const PJDFSTEST_PASSED_MIN: usize = 397;

/// Cases that need no rights; what needs root it leaves out by itself.
const PJDFSTEST_PASSED_AS_USER_MIN: usize = 254;

/// The one case that cannot run: FUSE has no way to tell the kernel how many links a file may have (pathconf(3)).
const PJDFSTEST_SKIPPED: &str = "link::link_count_max";

/// A workspace made of an empty directory; where it is mounted.
fn empty_workspace(home: &Home, options: &[&str]) -> PathBuf {
    std::fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&[&["create", "user/empty", "ws"], options].concat()).ok();
    home.at("ws")
}

fn suite(name: &str) -> Command {
    let program = Path::new(TOOLS).join(name);
    assert!(program.is_file(), "{name} is not built; hint: cargo xtask check test");
    let mut command = Command::new(program);
    command.env("NO_COLOR", "1");
    command
}

#[test]
fn pjdfstest_passes_whole() {
    let home = Home::new();
    let mount = empty_workspace(&home, &["--allow-other"]);
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    // It remounts what it stands in read-only: never the host's own file system.
    assert_ne!(device(&mount), device(home.path()), "the workspace is not mounted");
    let elsewhere = tempfile::tempdir().unwrap();
    let path = path_with_plain_mount(&home);
    let run = |allow_remount: bool, pattern: &[&str]| {
        let settings = home.path().join("pjdfstest.toml");
        std::fs::write(&settings, pjdfstest_settings(elsewhere.path(), allow_remount)).unwrap();
        let mut pjdfstest = suite("pjdfstest");
        pjdfstest.arg("-c").arg(&settings).arg("-p").arg(&mount).args(pattern).env("PATH", &path);
        String::from_utf8(pjdfstest.output().unwrap().stdout).unwrap()
    };
    // The suite leaves files open, so that a later remount in the same process fails, on every file system.
    let text = run(false, &[]) + &run(true, &["::erofs"]);
    let outcomes = outcomes(&text);
    let named = |word| -> BTreeSet<&str> {
        outcomes.iter().filter(|(_, outcome)| **outcome == word).map(|(name, _)| *name).collect()
    };
    let (passed, failed, skipped) = (named("ok"), named("FAILED"), named("skipped"));
    println!("pjdfstest: {} passed, {} failed, {} skipped", passed.len(), failed.len(), skipped.len());
    assert!(failed.is_empty(), "{failed:#?}\n{text}");
    assert_eq!(Vec::from_iter(skipped), [PJDFSTEST_SKIPPED], "{text}");
    assert!(passed.len() >= PJDFSTEST_PASSED_MIN, "the suite did not run whole: {text}");
}

#[test]
fn pjdfstest_passes_for_an_ordinary_user() {
    let home = Home::new();
    let dir = empty_workspace(&home, &["--allow-other"]).join("his");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    // Where such a user may read it.
    let program = home.path().join("pjdfstest");
    std::fs::copy(suite("pjdfstest").get_program(), &program).unwrap();
    let settings = home.path().join("pjdfstest.toml");
    std::fs::write(&settings, pjdfstest_settings(Path::new("/tmp"), false)).unwrap();
    let user = NOBODY.to_string();
    let out = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"])
        .arg(&program)
        .arg("-c")
        .arg(&settings)
        .arg("-p")
        .arg(&dir)
        .env("NO_COLOR", "1")
        .current_dir(&dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    let outcomes = outcomes(&text);
    let count = |word| outcomes.values().filter(|outcome| **outcome == word).count();
    let (passed, failed, skipped) = (count("ok"), count("FAILED"), count("skipped"));
    println!("pjdfstest as a user: {passed} passed, {failed} failed, {skipped} skipped");
    assert_eq!(failed, 0, "{text}");
    assert!(passed >= PJDFSTEST_PASSED_AS_USER_MIN, "the suite did not run whole: {text}");
}

/// A search path with a `mount` that leaves out the helper program of FUSE: that one takes a remount for a mount, and would
/// start the program which the file system's source seems to name.
fn path_with_plain_mount(home: &Home) -> String {
    let dir = home.path().join("bin");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mount"), "#!/bin/sh\nexec /bin/mount --internal-only \"$@\"\n").unwrap();
    std::fs::set_permissions(dir.join("mount"), PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

/// Two users every Debian has, all optional features of Linux, and a second file system for what crosses the border.
fn pjdfstest_settings(elsewhere: &Path, allow_remount: bool) -> String {
    format!(
        "[features]\nsecondary_fs = {elsewhere:?}\nposix_fallocate = {{}}\nrename_ctime = {{}}\nutime_now = {{}}\n\
         utimensat = {{}}\n[settings]\nnaptime = 0.01\nallow_remount = {allow_remount}\n\
         [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n"
    )
}

/// Reads lines like `chmod::enoent_comp      ok`.
fn outcomes(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            let word = ["ok", "FAILED", "skipped"].into_iter().find(|word| rest.trim() == *word)?;
            name.contains("::").then_some((name, word))
        })
        .collect()
}

#[test]
fn fsx_finds_no_wrong_byte() {
    let operations = weald_testkit::operations(FSX_OPERATIONS).to_string();
    let seed = weald_testkit::seed(FSX_SEED).to_string();
    // It asks for a sync every hundred operations, and is about bytes.
    let home = Home::in_memory(FSX_ROOM);
    let mount = empty_workspace(&home, &[]);
    let settings = home.path().join("fsx.toml");
    std::fs::write(&settings, FSX_SETTINGS).unwrap();
    let out = suite("fsx")
        .args(["-N", &operations, "-S", &seed, "-f"])
        .arg(&settings)
        .arg("-P")
        .arg(home.path())
        .arg(mount.join("file"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "seed {seed}: {text}");
    println!("fsx: every byte as expected\ntorture: operations={operations}");
}
