//! Signed tags, made and checked by `git` itself with the user's own configuration: OpenPGP, X.509 or SSH keys.
//!
//! Runs in the process of whoever asks, since keys, agents and terminals are theirs. Invariants: nothing that the
//! source's configuration names is run: git sees an empty repository of our own, with the user's global configuration
//! and the source's objects; of the source's configuration only who signs, with which key, is taken over. No ref is
//! written here.

use crate::{ObjectFormat, Repository};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use weald_model::{Code, Fault, Oid};

/// Settings of the source that name nothing to be run.
const TAKEN_OVER: &[&str] = &["user.name", "user.email", "user.signingKey", "gpg.format"];

/// What would lead git elsewhere.
const REDIRECTING: &[&str] = &[
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
];

const HINT: &str = "set up signing as for `git tag -s`: git config --global user.signingKey KEY, and for an SSH key \
                    git config --global gpg.format ssh";

/// Signs `message` as a tag of `target` and returns the tag object, which is in the source then, durable, under no ref.
pub fn sign(source: &Repository, message: &str, target: &Oid) -> Result<Oid, Fault> {
    let desk = Desk::new(source)?;
    let target = target.to_string();
    let mut tag = desk.git(&["-c", "core.fsync=all", "-c", "core.fsyncObjectFiles=true"]);
    tag.args(["tag", "--sign", "--message", message, "signed", &target]);
    let said = run(&mut tag)?;
    if !said.status.success() {
        return Err(failed("git could not sign", &said).hint(HINT));
    }
    let said = run(desk.git(&["rev-parse", "--verify", "refs/tags/signed"]).env("LC_ALL", "C"))?;
    let id = String::from_utf8_lossy(&said.stdout);
    Oid::from_hex(id.trim()).ok_or_else(|| failed("git did not tell the tag it made", &said))
}

/// Checks the signature of a tag object as `git verify-tag` does. What git says when it is not good.
pub fn check(source: &Repository, tag: &Oid) -> Result<Result<(), String>, Fault> {
    let desk = Desk::new(source)?;
    let said = run(&mut desk.git(&["verify-tag", &tag.to_string()]))?;
    Ok(if said.status.success() { Ok(()) } else { Err(words(&said)) })
}

/// An empty repository that shares the objects of the source. Gone when dropped.
struct Desk {
    dir: PathBuf,
    objects: PathBuf,
    settings: Vec<String>,
}

impl Desk {
    fn new(source: &Repository) -> Result<Self, Fault> {
        let dir = fresh_dir().map_err(|error| Fault::host("making a temporary directory", &error))?;
        let settings = TAKEN_OVER.iter().filter_map(|key| setting(source, key)).collect();
        let desk = Self { dir, objects: source.common_dir().join("objects"), settings };
        let format = match source.format() {
            ObjectFormat::Sha1 => "--object-format=sha1",
            ObjectFormat::Sha256 => "--object-format=sha256",
        };
        let said = run(desk.plain(&["init", "--quiet", "--bare", "--template=", format]).arg(&desk.dir))?;
        match said.status.success() {
            true => Ok(desk),
            false => Err(failed("git could not make a repository to sign in", &said)),
        }
    }

    /// Git on the source's objects.
    fn git(&self, arguments: &[&str]) -> Command {
        let mut git = self.plain(&[]);
        for setting in &self.settings {
            git.args(["-c", setting]);
        }
        git.arg("--git-dir").arg(&self.dir).args(arguments);
        git.env("GIT_OBJECT_DIRECTORY", &self.objects);
        git
    }

    fn plain(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(&self.dir).stdin(Stdio::null());
        REDIRECTING.iter().for_each(|name| {
            git.env_remove(name);
        });
        git
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What stays is an empty repository among the temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn setting(source: &Repository, key: &str) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["config", "--file"]).arg(source.common_dir().join("config")).args(["--get", key]);
    let said =
        git.current_dir("/").stdin(Stdio::null()).output().ok().filter(|said| said.status.success())?;
    let value = String::from_utf8(said.stdout).ok()?;
    Some(format!("{key}={}", value.trim_end_matches('\n')))
}

/// A directory of nobody else's, named by process and number.
fn fresh_dir() -> std::io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("weald-sign-{}-{number}", std::process::id()));
        match make_private(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| dir),
        }
    }
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(dir)
}

fn run(git: &mut Command) -> Result<Output, Fault> {
    git.output().map_err(|error| {
        Fault::new(Code::GitFailed, format!("the `git` program could not be run: {error}"))
            .hint("install git (apt-get install git)")
    })
}

fn failed(what: &str, said: &Output) -> Fault {
    Fault::new(Code::GitFailed, format!("{what}: {}", words(said)))
}

/// The last thing git said, on one line.
fn words(said: &Output) -> String {
    let text = String::from_utf8_lossy(&said.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => format!("it said nothing ({})", said.status),
        false => lines[lines.len().saturating_sub(4)..].join("; "),
    }
}
