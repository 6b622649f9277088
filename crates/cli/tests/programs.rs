//! Programs that everybody uses, in a workspace: archivers, package installers, compilers, watchers.
//!
//! None of them needs the network here. One that is not installed is said so, and the rest of its test is left out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Home;
use weald_testkit::tree_compare::{Exactness, compare};

fn workspace(home: &Home) -> PathBuf {
    fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&["create", "user/empty", "ws"]).ok();
    home.at("ws")
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        eprintln!("{program} is not installed: not tested");
    }
    found
}

/// One of each thing that archives carry.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("dir/empty")).unwrap();
    fs::write(root.join("small"), "small").unwrap();
    fs::write(root.join("dir/large"), (0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
        .unwrap();
    fs::hard_link(root.join("small"), root.join("dir/second name")).unwrap();
    symlink("../small", root.join("dir/link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs::set_permissions(root.join("dir"), PermissionsExt::from_mode(0o2750)).unwrap();
    fs::set_permissions(root.join("small"), PermissionsExt::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(root.join("dir/large"), Some(1000), Some(1001)).unwrap();
    rustix::fs::setxattr(root.join("small"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    fs::File::create(root.join("sparse")).unwrap().set_len(1 << 20).unwrap();
    fs::File::options()
        .write(true)
        .open(root.join("small"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
}

#[test]
fn tar_and_rsync_carry_everything_in_and_out() {
    let home = Home::new();
    let root = workspace(&home);
    let native = home.path().join("native");
    fs::create_dir(&native).unwrap();
    fill(&native);
    for name in ["tarred", "synced"] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::create_dir_all(home.path().join(name)).unwrap();
    }
    let tar = |from: &Path, to: &Path| {
        let line = format!(
            "tar --format=posix --xattrs --sparse -cf - . | tar --xattrs -xpf - -C '{}'",
            to.display()
        );
        home.run(from, &line).ok();
        compare(to, from, Exactness::Times).unwrap();
    };
    tar(&native, &root.join("tarred"));
    tar(&root.join("tarred"), &home.path().join("tarred"));
    if !has("rsync") {
        return;
    }
    let rsync = |from: &Path, to: &Path| {
        let line = format!("rsync -aHX --itemize-changes ./ '{}/'", to.display());
        let said = home.run(from, &line).ok();
        // Not every rsync sets the times of links and of the top.
        compare(to, from, Exactness::Content).unwrap();
        said
    };
    assert!(rsync(&native, &root.join("synced")).contains("small"));
    let again = rsync(&native, &root.join("synced"));
    assert!(!again.contains(">f"), "no file is left to do: {again}");
    rsync(&root.join("synced"), &home.path().join("synced"));
    fs::write(native.join("small"), "changed").unwrap();
    fs::remove_file(native.join("dangling")).unwrap();
    let said =
        home.run(&native, &format!("rsync -aHX --delete -i ./ '{}/'", root.join("synced").display())).ok();
    assert!(said.contains("deleting") && said.contains("small") && !said.contains("large"), "{said}");
    compare(&root.join("synced"), &native, Exactness::Content).unwrap();
}

#[test]
fn cargo_builds_once_and_finds_nothing_to_do_after_a_restart() {
    let home = Home::new();
    let root = workspace(&home);
    let build = |dir: &Path| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline"]).current_dir(dir).env_remove("CARGO_TARGET_DIR");
        let out = cargo.env_remove("RUSTFLAGS").output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{said}");
        said
    };
    let package =
        |name: &str, more: &str| format!("[package]\nname = \"{name}\"\nedition = \"2021\"\n{more}");
    for (path, text) in [
        ("app/Cargo.toml", package("app", "[dependencies]\nneeded = { path = \"../needed\" }\n")),
        ("app/src/main.rs", "fn main() { println!(\"{}\", needed::answer()) }".to_owned()),
        ("needed/Cargo.toml", package("needed", "")),
        ("needed/src/lib.rs", "pub fn answer() -> u32 { 41 }".to_owned()),
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    let answer = |root: &Path| home.run(root, "app/target/debug/app").ok();
    assert!(build(&root.join("app")).contains("Compiling needed"));
    assert_eq!(answer(&root), "41\n");
    home.crash();
    home.weald(&["fork", "ws", "fork"]).ok();
    assert!(!build(&root.join("app")).contains("Compiling"));
    fs::write(root.join("needed/src/lib.rs"), "pub fn answer() -> u32 { 42 }").unwrap();
    assert!(build(&root.join("app")).contains("Compiling app"));
    assert_eq!((answer(&root), answer(&home.at("fork"))), ("42\n".to_owned(), "41\n".to_owned()));
}

/// Makes a wheel, as little as pip takes for one.
const WHEEL: &str = r"
import zipfile
with zipfile.ZipFile('answer-1.0-py3-none-any.whl', 'w') as wheel:
    info = 'answer-1.0.dist-info/'
    wheel.writestr('answer/__init__.py', 'VALUE = 42\n')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: answer\nVersion: 1.0\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr(info + 'RECORD', ''.join(f'{name},,\n' for name in [*wheel.namelist(), info + 'RECORD']))
";

#[test]
fn pip_installs_into_an_environment_and_takes_out_again() {
    let home = Home::new();
    let root = workspace(&home);
    // The installer from outside, since copying it into the environment takes ten times as long as all else.
    let made = home.run(&root, "python3 -m pip --version > /dev/null && python3 -m venv --without-pip env");
    if made.code != 0 {
        eprintln!("python3 has no venv or no pip: not tested");
        return;
    }
    fs::write(root.join("wheel.py"), WHEEL).unwrap();
    home.run(&root, "python3 wheel.py").ok();
    let pip = "python3 -m pip --python env/bin/python --disable-pip-version-check --no-cache-dir -q";
    home.run(&root, &format!("{pip} install --no-index ./answer-1.0-py3-none-any.whl")).ok();
    assert_eq!(home.run(&root, "env/bin/python -c 'import answer; print(answer.VALUE)'").ok(), "42\n");
    home.run(&root, &format!("{pip} uninstall -y answer 2> /dev/null")).ok();
    assert_ne!(home.run(&root, "env/bin/python -c 'import answer' 2> /dev/null").code, 0);
}

#[test]
fn npm_installs_and_runs_a_package() {
    if !has("npm") {
        return;
    }
    let home = Home::new();
    let root = workspace(&home);
    fs::create_dir_all(root.join("answer")).unwrap();
    fs::create_dir_all(root.join("app")).unwrap();
    let package =
        r#"{"name": "answer", "version": "1.0.0", "main": "index.js", "bin": {"answer": "cli.js"}}"#;
    for (path, text) in [
        ("answer/package.json", package),
        ("answer/index.js", "module.exports = 42;\n"),
        ("answer/cli.js", "#!/usr/bin/env node\nconsole.log(require('./index.js'));\n"),
        ("app/package.json", r#"{"name": "app", "version": "1.0.0", "scripts": {"answer": "answer"}}"#),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    let npm = "npm --offline --no-audit --no-fund --no-update-notifier --loglevel=error";
    home.run(&root.join("answer"), &format!("{npm} pack > /dev/null")).ok();
    home.run(&root.join("app"), &format!("{npm} install ../answer/answer-1.0.0.tgz")).ok();
    assert!(home.run(&root.join("app"), &format!("{npm} run answer")).ok().contains("42"));
    home.run(&root.join("app"), &format!("rm -rf node_modules && {npm} ci")).ok();
    assert!(root.join("app/node_modules/.bin/answer").exists());
}

#[test]
fn a_watch_of_a_tree_is_told_what_editors_and_tools_do() {
    let home = Home::new();
    let root = workspace(&home);
    fs::create_dir(root.join("src")).unwrap();
    fs::write(root.join("src/main.rs"), "old").unwrap();
    let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
    let kinds = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVE
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB
        | WatchFlags::MODIFY;
    for dir in [&root, &root.join("src")] {
        inotify::add_watch(&watch, dir, kinds).unwrap();
    }
    // As an editor saves: a new file beside the old one, its mode, and a rename over it.
    home.run(&root, "cd src; echo new > .main.rs~; chmod 600 .main.rs~; mv .main.rs~ main.rs").ok();
    home.run(&root, "mkdir out; mv src/main.rs out/; rm out/main.rs; rmdir out").ok();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut seen = Vec::new();
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default();
        seen.push((name, event.events()));
    }
    let saw = |name: &str, kind: ReadFlags| {
        seen.iter().any(|(found, events)| found == name && events.contains(kind))
    };
    for (name, kind) in [
        (".main.rs~", ReadFlags::CREATE),
        (".main.rs~", ReadFlags::MODIFY),
        (".main.rs~", ReadFlags::CLOSE_WRITE),
        (".main.rs~", ReadFlags::ATTRIB),
        (".main.rs~", ReadFlags::MOVED_FROM),
        ("main.rs", ReadFlags::MOVED_TO),
        ("out", ReadFlags::CREATE),
        ("main.rs", ReadFlags::MOVED_FROM),
        ("out", ReadFlags::DELETE),
    ] {
        assert!(saw(name, kind), "{name} {kind:?}: {seen:?}");
    }
}

/// A tree as a language server knows it: it watches each directory, lists a new one once it has its watch, and hears the rest.
struct Server {
    root: PathBuf,
    watch: OwnedFd,
    /// The directory of each watch.
    watched: BTreeMap<i32, PathBuf>,
    files: BTreeSet<PathBuf>,
    changed: BTreeSet<PathBuf>,
}

impl Server {
    fn new(root: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let (watched, files, changed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut server = Self { root: root.to_owned(), watch, watched, files, changed };
        server.begin(root);
        server
    }

    fn begin(&mut self, dir: &Path) {
        let kinds = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE;
        // It may be gone again.
        let Ok(number) = inotify::add_watch(&self.watch, dir, kinds) else { return };
        self.watched.insert(number, dir.to_owned());
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            self.came(&entry.path());
        }
    }

    fn came(&mut self, path: &Path) {
        if path.ends_with(".git") {
            return;
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => self.begin(path),
            Ok(_) => drop(self.files.insert(path.to_owned())),
            Err(_) => {}
        }
    }

    fn went(&mut self, path: &Path) {
        self.files.retain(|file| !file.starts_with(path));
        let below = self.watched.iter().filter(|(_, dir)| dir.starts_with(path));
        for number in below.map(|(number, _)| *number).collect::<Vec<_>>() {
            // One that is gone has ended by itself.
            let _ = inotify::remove_watch(&self.watch, number);
            self.watched.remove(&number);
        }
    }

    /// Hears everything there is to hear, then knows the tree as it is.
    fn hear(&mut self) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16 << 10];
        let mut heard = Vec::new();
        loop {
            let watch = self.watch.try_clone().unwrap();
            let mut reader = inotify::Reader::new(&watch, &mut buffer);
            while let Ok(event) = reader.next() {
                let name = event.file_name().map(|name| name.to_str().unwrap().to_owned());
                heard.push((event.wd(), name.unwrap_or_default(), event.events()));
            }
            if heard.is_empty() {
                return;
            }
            for (number, name, kinds) in heard.drain(..) {
                assert!(!kinds.contains(ReadFlags::QUEUE_OVERFLOW), "more than the kernel keeps");
                let Some(path) = self.watched.get(&number).map(|dir| dir.join(&name)) else { continue };
                if kinds.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                    self.went(&path);
                }
                if kinds.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                    self.came(&path);
                }
                if kinds.contains(ReadFlags::CLOSE_WRITE) {
                    self.changed.insert(path);
                }
            }
        }
    }

    #[track_caller]
    fn knows_all(&mut self) {
        self.hear();
        let line = format!("find '{}' -name .git -prune -o ! -type d -print", self.root.display());
        let listed = Command::new("sh").args(["-c", &line]).output().unwrap();
        let there: BTreeSet<PathBuf> =
            String::from_utf8(listed.stdout).unwrap().lines().map(PathBuf::from).collect();
        assert_eq!(self.files, there);
    }
}

#[test]
fn a_language_server_that_watches_a_tree_knows_it_after_whatever_git_and_tools_do() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
    let root = home.at("ws");
    let mut server = Server::new(&root);
    server.knows_all();
    home.run(
        &root,
        "mkdir -p a/b/c; for i in 1 2 3 4 5 6 7 8 9; do echo $i > a/b/c/$i.ts; echo $i > a/$i.ts; done",
    )
    .ok();
    server.knows_all();
    home.run(&root, "git add .; git commit -qm files; git switch -q -c other; mv a moved; rm moved/1.ts; echo new > moved/b/new.ts").ok();
    server.knows_all();
    home.run(&root, "git add -A; git commit -qm moved; git switch -q -").ok();
    server.knows_all();
    home.run(&root, "echo more >> a/2.ts").ok();
    server.knows_all();
    assert!(server.changed.contains(&root.join("a/2.ts")), "{:?}", server.changed);
    home.run(&root, "git stash -q; git switch -q other; git stash pop -q || true; git reset -q --hard; git clean -fdxq; rm -r moved/b").ok();
    server.knows_all();
    // The daemon ends meanwhile: watches are the kernel's.
    home.signal_daemon(rustix::process::Signal::KILL);
    home.run(&root, "mkdir -p deep/er; echo late > deep/er/late.ts; mv deep shallow").ok();
    server.knows_all();
}
