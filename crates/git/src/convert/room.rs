//! A repository for one conversion: the objects of a source, the index of a tree, and nothing else of either.
//!
//! Invariants: private to the user and gone when dropped; no hook, monitor or maintenance runs in it; the
//! configuration it has itself is Weald's.

use crate::convert::Rules;
use crate::fault::detail;
use crate::gitdir::{Config, alternates};
use crate::program::{Git, Said};
use crate::scratch::fresh_dir;
use crate::{ObjectFormat, Repository};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use weald_model::{Fault, Oid};

/// The attributes that convert, as `git check-attr` is asked for them.
const ATTRIBUTES: [&str; 6] = ["text", "eol", "crlf", "ident", "working-tree-encoding", "filter"];

/// Where files are written, in the room.
const OUT: &str = "out";

/// How a file may be converted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By git alone: line ends, ident, encoding.
    Text,
    /// Also by a filter of the user's.
    Filter(String),
}

/// A file that may come out converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number in the list that was asked about.
    pub number: usize,
    /// How.
    pub way: Way,
}

/// What became of some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Content of each file asked for, in that order; `None` when git did not write it.
    pub contents: Vec<Option<Vec<u8>>>,
    /// What git and its filters had to say, on one line, when something went wrong.
    pub trouble: Option<String>,
}

/// The repository. Its directory goes when it is dropped.
pub struct Room {
    dir: PathBuf,
}

impl Room {
    /// Makes the room with an index of the tree (see [`crate::index_of_tree`]).
    ///
    /// Errors: `HostIo`, `DiskFull`.
    pub fn new(source: &Repository, rules: &Rules, index: &[u8]) -> Result<Self, Fault> {
        let room = Self { dir: fresh_dir().map_err(failed)? };
        let git = room.dir.join(".git");
        let lay = || -> std::io::Result<()> {
            std::fs::create_dir_all(git.join("objects/info"))?;
            std::fs::create_dir_all(git.join("refs"))?;
            std::fs::write(git.join("HEAD"), "ref: refs/heads/none\n")?;
            std::fs::write(git.join("config"), config(source, rules))?;
            std::fs::write(git.join("objects/info/alternates"), alternates(&source.object_dirs()))?;
            std::fs::write(git.join("index"), index)
        };
        lay().map_err(failed)?;
        Ok(room)
    }

    /// Makes a room for single files of Git LFS, with the settings the tree has for it.
    ///
    /// Errors: `HostIo`, `DiskFull`.
    pub fn for_lfs(source: &Repository, rules: &Rules, lfs_config: Option<&[u8]>) -> Result<Self, Fault> {
        let room = Self::new(source, rules, b"")?;
        let git = room.dir.join(".git");
        let attributes = std::fs::create_dir(git.join("info"))
            .and_then(|()| std::fs::write(git.join("info/attributes"), "* filter=lfs -text\n"))
            .and_then(|()| std::fs::remove_file(git.join("index")));
        attributes.map_err(failed)?;
        lfs_config.map_or(Ok(()), |text| room.lay_lfs_config(text))?;
        Ok(room)
    }

    /// Puts the settings of Git LFS where it looks for them first.
    pub fn lay_lfs_config(&self, text: &[u8]) -> Result<(), Fault> {
        std::fs::write(self.dir.join(".lfsconfig"), text).map_err(failed)
    }

    /// One blob as its filter writes it, and what went wrong.
    pub fn smudge(&self, path: &[u8], oid: &Oid) -> Result<(Vec<u8>, Option<String>), Fault> {
        let path = [b"--path=", path].concat();
        let oid = oid.to_string();
        let args =
            [OsStr::new("cat-file"), OsStr::new("--filters"), OsStr::from_bytes(&path), OsStr::new(&oid)];
        let said = self.git().said(&args, &[])?;
        let trouble = trouble(&said);
        Ok((said.out, trouble))
    }

    /// Which of some paths may come out converted. Cost: about a second for 100,000.
    pub fn candidates(&self, rules: &Rules, paths: &[Vec<u8>]) -> Result<Vec<Candidate>, Fault> {
        let args = [&["check-attr", "--cached", "--stdin", "-z"][..], &ATTRIBUTES].concat();
        let said = self.git().run_with(&args, &joined(paths.iter().map(Vec::as_slice)))?;
        let mut fields = said.split(|byte| *byte == 0);
        let mut found = Vec::new();
        for number in 0..paths.len() {
            let mut values: [&[u8]; ATTRIBUTES.len()] = [b""; ATTRIBUTES.len()];
            for value in &mut values {
                // Path, attribute, value.
                *value = fields.by_ref().nth(2).unwrap_or_default();
            }
            found.extend(way(rules, &values).map(|way| Candidate { number, way }));
        }
        Ok(found)
    }

    /// Has git write files as a checkout would, and reads them. Where the user's filter fails, some are missing.
    pub fn convert(&self, paths: &[&[u8]]) -> Result<Conversion, Fault> {
        let out = self.dir.join(OUT);
        let args = ["checkout-index", "--force", "-z", "--stdin", "--prefix=out/"];
        let said = self.git().said(&args, &joined(paths.iter().copied()))?;
        let read = |path: &&[u8]| {
            let path = out.join(OsStr::from_bytes(path));
            let content = std::fs::read(&path).ok()?;
            // Its room on the disk is for the next ones. Emptied, not removed: ext4 takes long to make files where many
            // were just removed.
            let _ = std::fs::OpenOptions::new().write(true).truncate(true).open(&path);
            Some(content)
        };
        let contents = paths.iter().map(read).collect();
        Ok(Conversion { contents, trouble: trouble(&said) })
    }

    fn git(&self) -> Git {
        Git::new(&self.dir)
    }
}

fn failed(error: std::io::Error) -> Fault {
    Fault::host("making a directory to convert files in", &error)
}

impl Drop for Room {
    fn drop(&mut self) {
        // Best effort: it lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What went wrong, in git's words, without its warnings.
fn trouble(said: &Said) -> Option<String> {
    let words: Vec<&str> = said
        .err
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("warning:"))
        .collect();
    match (said.code, words.is_empty()) {
        (0, true) => None,
        (code, true) => Some(format!("git ended with exit code {code}")),
        (_, false) => Some(detail(&words.join("; "))),
    }
}

/// Whether these attributes can change what is written (`convert_attrs` of git's convert.c); rather too often than too
/// seldom, since git has the last word.
fn way(rules: &Rules, [text, eol, crlf, ident, encoding, filter]: &[&[u8]; ATTRIBUTES.len()]) -> Option<Way> {
    const NONE: [&[u8]; 3] = [b"unspecified", b"unset", b"set"];
    if !NONE.contains(filter) && rules.has_filter(filter) {
        return Some(Way::Filter(String::from_utf8_lossy(filter).into_owned()));
    }
    let is_binary = *text == b"unset" || (*text == b"unspecified" && *crlf == b"unset");
    let ends = match *eol {
        b"crlf" => true,
        b"lf" => false,
        _ => rules.writes_crlf(),
    };
    let is_converted = (ends && !is_binary) || *ident == b"set" || !NONE.contains(encoding);
    is_converted.then_some(Way::Text)
}

fn joined<'a>(paths: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path);
        list.push(0);
    }
    list
}

fn config(source: &Repository, rules: &Rules) -> Vec<u8> {
    let mut config = Config::default();
    let format = source.format();
    config.section("core", None);
    config.value("repositoryformatversion", if format == ObjectFormat::Sha1 { b"0" } else { b"1" });
    config.value("bare", b"false");
    for (key, value) in [("fsmonitor", "false"), ("untrackedCache", "false"), ("hooksPath", "/dev/null")] {
        config.value(key, value.as_bytes());
    }
    rules.autocrlf.iter().for_each(|value| config.value("autocrlf", value));
    rules.eol.iter().for_each(|value| config.value("eol", value));
    if format != ObjectFormat::Sha1 {
        config.section("extensions", None);
        config.value("objectformat", format.name().as_bytes());
    }
    // Git LFS asks there for content that the source does not have.
    for remote in source.remotes() {
        config.section("remote", Some(remote.name.as_bytes()));
        config.value("url", &remote.url);
    }
    config.text
}
