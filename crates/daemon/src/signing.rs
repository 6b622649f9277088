//! Signed anchors, made and checked in the process of the command: keys, agents and terminals are the user's.
//!
//! Invariant: what is signed is the word of the anchor, which the daemon made durable before.
//! Read next: `weald_git::signature`, which has git do it; `verify`, which compares what signed anchors say.

use crate::anchor::{self, nowhere};
use crate::report::{Anchored, Verification, VerifyProblem};
use std::path::Path;
use weald_git::{Repository, signature};
use weald_model::{Code, Fault, Oid};

/// Keeps an anchor as a signed tag in the source repository.
pub fn sign(mut anchored: Anchored) -> Result<Anchored, Fault> {
    let commit = anchored.base_commit.as_deref().and_then(Oid::from_hex);
    let (Some(path), Some(commit)) = (&anchored.repository, commit) else {
        return Err(nowhere(&anchored.name));
    };
    let (id, head) = anchor::parse(&anchored.anchor)
        .ok_or_else(|| Fault::new(Code::Internal, "the daemon's anchor is none"))?;
    let source = Repository::open(Path::new(path))?;
    let tag = signature::sign(&source, &anchored.anchor, &commit)?;
    anchored.tag = Some(weald_git::anchor::put(&source, id, head.seq, &head.chain, &tag)?);
    anchored.signed = true;
    Ok(anchored)
}

/// Checks the signatures of all signed anchors that a verification met, and adds what is wrong.
pub fn check(found: &mut Verification) -> Result<(), Fault> {
    for signed in &found.signed_anchors {
        let tag = Oid::from_hex(&signed.tag)
            .ok_or_else(|| Fault::new(Code::Internal, "the daemon's tag has no id"))?;
        let source = Repository::open(Path::new(&signed.repository))?;
        found.checked_signatures += 1;
        if let Err(why) = signature::check(&source, &tag)? {
            found.ok = false;
            found.problems.push(VerifyProblem {
                workspace: signed.workspace.clone(),
                file: signed.repository.clone(),
                offset: None,
                what: format!("the signature of {} is not good: {why}", signed.name),
                fix: None,
                is_healed: false,
            });
        }
    }
    Ok(())
}
