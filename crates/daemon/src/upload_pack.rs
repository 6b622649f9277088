//! Serving git inside a workspace with content that the shared clone left out.
//!
//! To git in a workspace the clone is a remote that promised whatever is missing (`remote.weald`), and this is the program
//! at its other end (`remote.weald.uploadpack`). It has the daemon bring the objects into the clone, all that are asked for
//! at once, and then sends a pack of nothing: git looks again, and finds them by way of its alternates. So they are there
//! once, for all workspaces. Protocol: gitprotocol-v2(5), the command `fetch`; older ones get git's own `upload-pack`.
//! Invariant: nothing is sent but what was asked for by id, and no ref is told.

use crate::ask::{self, unseen};
use crate::fsmonitor::DIR;
use crate::launch;
use crate::protocol::{Request, Target};
use crate::report::Brought;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use weald_git::{Repository, Unfetched};
use weald_model::{Code, Fault, Oid};

/// Name of the program.
pub const PROGRAM: &str = "weald-upload-pack";

/// Longest packet (gitprotocol-common(5)).
const PACKET_BYTES_MAX: usize = 65_520;
/// Objects of one request: those of the largest manifest.
const WANTS_MAX: usize = 1 << 24;

/// Answers git, from the program's name and its arguments. None: there is no answer.
pub fn run(program: &Path, arguments: &[String]) -> Option<()> {
    let [clone] = arguments else { return None };
    let version = std::env::var("GIT_PROTOCOL").unwrap_or_default();
    if !version.split(':').any(|word| word == "version=2") {
        // Fetches one by one, but needs nothing of us.
        let mut git = Command::new("git");
        let _ = git.args(["upload-pack", clone]).env("GIT_NO_LAZY_FETCH", "0").exec();
        return None;
    }
    let home = program.parent()?.parent()?;
    let source = Repository::open(Path::new(clone)).ok()?;
    let mut talk = Talk { input: io::stdin().lock(), output: io::stdout().lock() };
    let format = format!("object-format={}\n", source.format().name());
    for line in ["version 2\n", "agent=weald\n", "ls-refs\n", "fetch=shallow filter\n", &format] {
        talk.say(line.as_bytes()).ok()?;
    }
    talk.end().ok()?;
    while let Some(lines) = talk.hear().ok()? {
        match lines.first().map(Vec::as_slice) {
            Some(b"command=fetch") => match serve(&mut talk, &lines, home, &source) {
                Ok(()) => {}
                Err(fault) => {
                    let hint = fault.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                    talk.say(format!("ERR {} [{}]{hint}\n", fault.message, fault.code).as_bytes()).ok()?;
                    return talk.output.flush().ok();
                }
            },
            Some(b"command=ls-refs") => talk.end().ok()?,
            _ => return None,
        }
    }
    Some(())
}

/// Brings what is wanted and sends nothing.
fn serve(
    talk: &mut Talk<impl Read, impl Write>,
    lines: &[Vec<u8>],
    home: &Path,
    source: &Repository,
) -> Result<(), Fault> {
    let broken = |error: io::Error| Fault::new(Code::GitFailed, format!("git went away: {error}"));
    let mut wants = Vec::new();
    for line in lines {
        let Some(hex) = line.strip_prefix(b"want ") else { continue };
        let id = std::str::from_utf8(hex).ok().and_then(Oid::from_hex);
        wants.push(id.ok_or_else(|| Fault::new(Code::BadRequest, "git wants what is no object id"))?);
    }
    if !lines.iter().any(|line| line == b"done") {
        // It tells what it has, which changes nothing.
        talk.say(b"acknowledgments\n").and_then(|()| talk.say(b"NAK\n")).map_err(broken)?;
        return talk.end().map_err(broken);
    }
    bring(home, source, &wants)?;
    // In front of it stands its band.
    let pack = [&[1], source.format().empty_pack().as_slice()].concat();
    talk.say(b"packfile\n").and_then(|()| talk.say(&pack)).and_then(|()| talk.end()).map_err(broken)
}

/// Has the daemon bring objects into the clone; without one, does so itself.
fn bring(home: &Path, source: &Repository, ids: &[Oid]) -> Result<(), Fault> {
    let Ok(Some(stream)) = launch::connect(home) else {
        return weald_git::fetch_objects(source.path(), ids, &|| false).map_err(|error| match error {
            Unfetched::Failed(fault) => fault,
            Unfetched::Unknown(id) => {
                Fault::new(Code::MissingObject, format!("the remote has no object {id}"))
            }
            Unfetched::GivenUp => Fault::new(Code::GitFailed, "the transfer was ended"),
        });
    };
    let clone = source.path().display().to_string();
    let ids = ids.iter().map(Oid::to_string).collect();
    let directory = std::env::current_dir().ok();
    let here = Target {
        name: None,
        device: std::fs::metadata(".").ok().map(|data| data.dev()),
        directory: directory.map(|path| path.to_string_lossy().into_owned()),
    };
    let request = Request::Bring { clone, ids, command: asking_command(), here };
    ask::ask::<Brought>(stream, &request, &mut unseen).map(drop).map_err(Fault::from)
}

/// The git command somebody typed: what `git fetch` was started by, which started us by a shell.
fn asking_command() -> Option<String> {
    let mut process = rustix::process::getppid()?;
    for _ in 0..4 {
        let number = process.as_raw_nonzero();
        let words = std::fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let words: Vec<String> =
            words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let is_git = words.first().is_some_and(|word| word == "git" || word.ends_with("/git"));
        let command = command_of(&words);
        if is_git && command.is_some_and(|command| command != "fetch") {
            return command.map(str::to_owned);
        }
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // The parent is the second field behind the name, which ends with the last parenthesis.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        process = rustix::process::Pid::from_raw(parent)?;
    }
    None
}

/// The command among the words of a line: the first that is no option of git's own.
fn command_of(words: &[String]) -> Option<&str> {
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" => drop(words.next()),
            option if option.starts_with('-') => {}
            command => return Some(command),
        }
    }
    None
}

/// Both directions of a connection, in packets.
pub(crate) struct Talk<I, O> {
    pub(crate) input: I,
    pub(crate) output: O,
}

impl<I: Read, O: Write> Talk<I, O> {
    fn say(&mut self, line: &[u8]) -> io::Result<()> {
        self.output.write_all(format!("{:04x}", line.len() + 4).as_bytes())?;
        self.output.write_all(line)
    }

    /// Ends an answer.
    fn end(&mut self) -> io::Result<()> {
        self.output.write_all(b"0000")?;
        self.output.flush()
    }

    /// The lines of the next request; None at the end.
    pub(crate) fn hear(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let mut lines = Vec::new();
        loop {
            let mut length = [0; 4];
            match self.input.read_exact(&mut length) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && lines.is_empty() => {
                    return Ok(None);
                }
                other => other?,
            }
            let length =
                std::str::from_utf8(&length).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
            match length.ok_or_else(|| bad("a packet has no length"))? {
                0 => return Ok(Some(lines)),
                // A delimiter, or the end of an answer.
                1 | 2 => {}
                length @ 4..=PACKET_BYTES_MAX if lines.len() < WANTS_MAX => {
                    let mut line = vec![0; length - 4];
                    self.input.read_exact(&mut line)?;
                    line.truncate(line.trim_ascii_end().len());
                    lines.push(line);
                }
                _ => return Err(bad("a packet or a request is too long")),
            }
        }
    }
}

/// Makes the link in a home, and gives its path.
pub(crate) fn install(home: &Path) -> Option<PathBuf> {
    crate::fsmonitor::link(home, PROGRAM).map(|()| home.join(DIR).join(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_packet_by_packet_and_garbage_is_refused() {
        let hear = |bytes: &[u8]| Talk { input: bytes, output: Vec::new() }.hear();
        let lines = hear(b"0012command=fetch\n00010009done\n0000").unwrap().unwrap();
        assert_eq!(lines, [b"command=fetch".to_vec(), b"done".to_vec()]);
        assert_eq!(hear(b"").unwrap(), None);
        for bad in [&b"zzzz"[..], b"0003", b"0009do", b"ffff"] {
            assert!(hear(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_command_is_what_stands_behind_the_options_of_git() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command_of(&words("git -C /a -c x=y --no-pager log -p")), Some("log"));
        assert_eq!(command_of(&words("git --version")), None);
    }
}
