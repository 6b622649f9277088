//! Content that a clone left out, fetched by id.
//!
//! One run of git a batch, with the arguments git itself uses for objects it was promised. Invariants: nothing but
//! objects is written, no ref and no `FETCH_HEAD`; a run that nobody wants any more is ended, and leaves nothing.

use super::transfer::{Failure, Given, Transfer};
use super::{LEFT_OUT, told};
use crate::Repository;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use weald_model::{Code, Fault, Oid, Silent};

/// A transfer of content that says nothing for this long has died.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why content did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfetched {
    /// Nobody wants it any more.
    GivenUp,
    /// The remote does not have this object; the others were not fetched either.
    Unknown(Oid),
    /// Anything else. `UnreachableSource` may go by itself.
    Failed(Fault),
}

/// Fetches objects from where a clone was made from. `given_up` is asked now and then, and ends the run.
pub fn fetch_objects(repo: &Path, ids: &[Oid], given_up: Given<'_>) -> Result<(), Unfetched> {
    fetch(repo, ids, given_up, false)
}

/// The same for what nobody waits for: at the lowest priority.
pub fn fetch_objects_aside(repo: &Path, ids: &[Oid], given_up: Given<'_>) -> Result<(), Unfetched> {
    fetch(repo, ids, given_up, true)
}

fn fetch(repo: &Path, ids: &[Oid], given_up: Given<'_>, is_aside: bool) -> Result<(), Unfetched> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut transfer = Transfer::new(arguments(repo), SILENCE_MAX);
    transfer.input = ids.iter().flat_map(|id| format!("{id}\n").into_bytes()).collect();
    transfer.given_up = Some(given_up);
    transfer.is_aside = is_aside;
    transfer.run(&Silent).map(drop).map_err(|failure| unfetched(&failure, repo))
}

fn arguments(repo: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-C".into(), repo.into()];
    // Nothing is there that could be compared, and looking for it would cost round trips.
    args.extend(["-c".into(), "fetch.negotiationAlgorithm=noop".into(), "fetch".into(), "--progress".into()]);
    for option in
        ["--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--recurse-submodules=no", "--stdin"]
    {
        args.push(option.into());
    }
    args.push(format!("--filter={LEFT_OUT}").into());
    args.push("origin".into());
    args
}

fn unfetched(failure: &Failure, repo: &Path) -> Unfetched {
    let lines: &[String] = match failure {
        Failure::GivenUp => return Unfetched::GivenUp,
        Failure::Said(lines) => lines,
        Failure::NoGit(_) | Failure::Silent(_) => &[],
    };
    if let Some(id) = lines.iter().find_map(|line| refused(line)) {
        return Unfetched::Unknown(id);
    }
    let url = Repository::open(repo).ok().and_then(|repo| repo.remote_url("origin")).unwrap_or_default();
    let fault = told(failure, &String::from_utf8_lossy(&url), None);
    let code = match fault.code {
        Code::UnknownRevision => Code::UnreachableSource,
        code => code,
    };
    Unfetched::Failed(Fault { code, ..fault })
}

/// The id in `not our ref ID`, and in `Server does not allow request for unadvertised object ID`.
fn refused(line: &str) -> Option<Oid> {
    let (_, rest) = line.split_once("not our ref ").or_else(|| line.split_once("unadvertised object "))?;
    Oid::from_hex(rest.split_whitespace().next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_a_server_refuses_is_known_from_its_words() {
        let id = "0123456789012345678901234567890123456789";
        for line in [
            format!("fatal: remote error: upload-pack: not our ref {id}"),
            format!("error: Server does not allow request for unadvertised object {id}"),
        ] {
            assert_eq!(refused(&line), Oid::from_hex(id), "{line}");
        }
        assert_eq!(refused("fatal: early EOF"), None);
        assert_eq!(refused("not our ref nothing"), None);
    }
}
