//! Git's own test suite, from Debian's source package, with its trash directories in a workspace.
//!
//! Invariant: a script counts once it passed in the workspace, or fails on the native file system as well. What was run is kept
//! in `target/torture/git-suite/results`, so that each round goes on where the last one ended; after the last script it
//! begins anew. A script that passes natively and fails here twice is a finding, and the first thing the next round runs.

use super::directory;
use super::round::Counts;
use crate::bench::weald::Weald;
use crate::run::{cargo, command, output, root, show};
use crate::tools::{self, Packaged};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What building git takes.
const NEEDED: &[Packaged] = &[
    ("gcc", "gcc"),
    ("make", "make"),
    ("perl", "perl"),
    ("dpkg-source", "dpkg-dev"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
];

/// The keys of Debian's archive, where apt does not find them by itself.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What is left out of the build: nothing that touches files.
const WITHOUT: &[&str] = &["NO_GETTEXT=1", "NO_CURL=1", "NO_OPENSSL=1", "NO_EXPAT=1", "NO_TCLTK=1"];

/// How long a round goes on beginning another script.
const ROUND: Duration = Duration::from_secs(300);

/// Runs the next scripts, for some minutes.
pub(super) fn round(_seed: u64) -> Result<Counts> {
    let source = built_git()?;
    show(&mut cargo(&["build", "--locked", "--release", "-p", "weald-cli"]))?;
    let scene = Scene::new(&source)?;
    let scripts = scripts(&source)?;
    let mut done = scene.done()?;
    if done.len() >= scripts.len() {
        std::fs::remove_file(scene.results())?;
        done.clear();
    }
    let since = Instant::now();
    let mut counts = Counts::new();
    for script in scripts.iter().filter(|script| !done.contains(*script)) {
        if since.elapsed() >= ROUND {
            break;
        }
        let (outcome, cases) = scene.judge(script)?;
        println!("{script}: {outcome}, {cases} cases");
        let mut add = |unit: &str, count| *counts.entry(unit.to_owned()).or_default() += count;
        add("scripts", 1);
        add("cases", cases);
        if outcome != "passed" {
            add(&outcome.replace(' ', "_"), 1);
        }
    }
    Ok(counts)
}

/// A workspace for the trash, and a directory beside it on the native file system.
struct Scene {
    weald: Weald,
    tests: PathBuf,
    native: PathBuf,
    /// Unmounted by the daemon's end, before it is removed.
    _home: tempfile::TempDir,
}

impl Scene {
    fn new(source: &Path) -> Result<Self> {
        let own = directory().join("git-suite");
        let (native, empty) = (own.join("native"), own.join("empty"));
        for dir in [&native, &empty] {
            std::fs::create_dir_all(dir)?;
        }
        let home = tempfile::Builder::new().prefix("weald-git-suite-").tempdir()?;
        std::fs::create_dir(home.path().join("home"))?;
        let weald = Weald::start(&root().join("target/release/weald"), home.path())?;
        weald.run(&["create", &empty.display().to_string(), "trash"])?;
        Ok(Self { weald, tests: source.join("t"), native, _home: home })
    }

    fn results(&self) -> PathBuf {
        directory().join("git-suite/results")
    }

    /// The scripts that were run and found good.
    fn done(&self) -> Result<BTreeSet<String>> {
        let text = match std::fs::read_to_string(self.results()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Runs a script, natively too where it fails; how it went and how many cases passed.
    fn judge(&self, script: &str) -> Result<(&'static str, u64)> {
        let here = self.weald.path("trash");
        let (mut passed, mut cases) = self.run(script, &here)?;
        let outcome = match passed {
            true => "passed",
            false if !self.run(script, &self.native)?.0 => "fails natively",
            false => {
                (passed, cases) = self.run(script, &here)?;
                if !passed {
                    bail!(
                        "{script} passes on the native file system and fails in a workspace; see {}",
                        self.said(script).display()
                    );
                }
                "passed again"
            }
        };
        let mut results = std::fs::OpenOptions::new().append(true).create(true).open(self.results())?;
        writeln!(results, "{script} {outcome}, {cases} cases")?;
        Ok((outcome, cases))
    }

    /// Whether a script passes with its trash below `trash`, and how many of its cases do.
    fn run(&self, script: &str, trash: &Path) -> Result<(bool, u64)> {
        let out = std::fs::File::create(self.said(script))?;
        let mut shell = Command::new("timeout");
        shell.args(["--kill-after=10", "900", "sh", script, "--no-chain-lint"]);
        shell.arg(format!("--root={}", trash.display())).current_dir(&self.tests).stdin(Stdio::null());
        shell.env("TEST_OUTPUT_DIRECTORY", directory().join("git-suite")).env("GIT_CONFIG_NOSYSTEM", "1");
        let status = shell.stdout(out.try_clone()?).stderr(out).status().context("cannot run timeout(1)")?;
        let said = std::fs::read(self.said(script))?;
        let cases = said.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"ok ")).count();
        Ok((status.success(), cases as u64))
    }

    fn said(&self, script: &str) -> PathBuf {
        directory().join("git-suite").join(script).with_extension("out")
    }
}

/// All test scripts, in the order of their numbers.
fn scripts(source: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(source.join("t"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_number = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        if name.ends_with(".sh")
            && name.strip_prefix('t').and_then(|rest| rest.get(..4)).is_some_and(is_number)
        {
            all.push(name);
        }
    }
    all.sort();
    Ok(all)
}

/// Returns git's source with everything built that its tests need; made once.
fn built_git() -> Result<PathBuf> {
    let dir = root().join("target/tools/git-suite");
    let source = dir.join("git");
    if dir.join("built").is_file() {
        return Ok(source);
    }
    tools::system_packages(NEEDED)?;
    std::fs::create_dir_all(&dir)?;
    if source.exists() {
        std::fs::remove_dir_all(&source)?;
    }
    let description = source_package(&dir)?;
    show(command("dpkg-source", &["--no-check", "-x"]).arg(description).arg(&source))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    show(command("make", WITHOUT).arg(format!("-j{threads}")).current_dir(&source).stdout(Stdio::null()))?;
    std::fs::write(dir.join("built"), "")?;
    Ok(source)
}

/// Fetches Debian's source package of git with package lists of its own, so that the machine's stay as they are.
fn source_package(dir: &Path) -> Result<PathBuf> {
    let format = "$(REPO_URI)|$(CODENAME)|$(COMPONENT)";
    let option = if Path::new(KEYS).is_file() { format!("[signed-by={KEYS}] ") } else { String::new() };
    let mirrors =
        output(&mut command("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]))?;
    let sources: BTreeSet<String> =
        mirrors.lines().filter_map(|mirror| source_line(mirror, &option)).collect();
    let lists = dir.join("lists");
    std::fs::create_dir_all(lists.join("partial"))?;
    let list = dir.join("sources.list");
    std::fs::write(&list, sources.into_iter().collect::<Vec<_>>().join("\n") + "\n")?;
    let apt_get = |words: &[&str]| {
        let mut apt_get = command("apt-get", &["-qq", "-o", "Dir::Etc::SourceParts=/nonexistent"]);
        apt_get.args(["-o", &format!("Dir::Etc::SourceList={}", list.display())]);
        apt_get.args([
            "-o",
            &format!("Dir::State::Lists={}", lists.display()),
            "-o",
            "APT::Sandbox::User=root",
        ]);
        show(apt_get.args(words).current_dir(dir))
    };
    apt_get(&["update"])?;
    apt_get(&["--download-only", "source", "git"])?;
    let files = std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|end| end == "dsc")).collect();
    found.sort();
    found.pop().context("apt-get brought no description of git's source package")
}

/// The line of `sources.list` for the sources of what a mirror has packages of.
fn source_line(mirror: &str, option: &str) -> Option<String> {
    let mut parts = mirror.split('|');
    let (uri, codename, component) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("deb-src {option}{uri} {codename} {component}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_from_where_packages_come_from() {
        let line = source_line("http://mirror.example/debian/|trixie|main", "[signed-by=/keys] ").unwrap();
        assert_eq!(line, "deb-src [signed-by=/keys] http://mirror.example/debian/ trixie main");
        assert_eq!(source_line("file:/x/|sid|main", "").unwrap(), "deb-src file:/x/ sid main");
        assert_eq!(source_line("nothing", ""), None);
    }

    #[test]
    fn test_scripts_are_those_with_a_number() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("t")).unwrap();
        for name in ["t1000-b.sh", "t0001-a.sh", "test-lib.sh", "t1000", "t12-x.sh"] {
            std::fs::write(dir.path().join("t").join(name), "").unwrap();
        }
        assert_eq!(scripts(dir.path()).unwrap(), ["t0001-a.sh", "t1000-b.sh"]);
    }
}
