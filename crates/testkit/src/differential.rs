//! The same random system calls, by several users, in a mount of Weald and on a native file system.
//!
//! Invariant: both trees start empty and get the same calls in the same order from one thread, so whatever differs was
//! done differently by one of the two. Compared are results, errors, attributes, which files are the same one, which
//! times changed, and in the end everything there is. What differs is shrunk to the calls that are needed for it.
//!
//! Needs root, to become others. Read next: `call.rs` (what is done), `side.rs` (how), `look.rs` (what is compared).

mod call;
mod look;
mod side;

pub use call::{Acl, Call, Dice, Moment, Path, USERS, User};
use look::Known;
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use side::{Answer, Side, be_root};
use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs of shortened sequences before what is left is taken as short enough.
const ATTEMPTS: usize = 1500;

/// Two directories: one in a workspace, one on a native file system that is mounted `noatime`.
pub struct Trees {
    ours: PathBuf,
    native: PathBuf,
    began: i64,
    with_times: bool,
    /// How many directories of the base were used.
    taken: Cell<u64>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// System calls that were made on both sides.
    pub calls: u64,
    /// How many of them failed, on both sides with the same error.
    pub refused: u64,
    /// Files that were there in the end.
    pub files: u64,
}

/// Calls after which the two differ.
#[derive(Debug)]
pub struct Finding {
    /// What repeats it.
    pub seed: u64,
    /// Who owns the top, and its mode.
    pub top: Top,
    /// The calls, as few as could be found.
    pub calls: Vec<Call>,
    /// What differs.
    pub what: String,
}

/// The directory everything happens in.
#[derive(Debug, Clone, Copy)]
pub struct Top {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its mode.
    pub mode: u32,
    /// Whether it comes from the workspace's base, with what is in it.
    pub from_base: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nseed {}, {:?}, {} calls:", self.what, self.seed, self.top, self.calls.len())?;
        self.calls.iter().try_for_each(|call| writeln!(f, "  {call:?},"))
    }
}

impl Trees {
    /// Takes two directories; below them anything may be made and removed. Directories `stock/0000` and so on that the
    /// workspace's base has in ours are what half of the sequences begin with.
    pub fn new(ours: PathBuf, native: PathBuf) -> std::io::Result<Self> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let with_times = tells_changes_apart(&native)?;
        Ok(Self { ours, native, began, with_times, taken: Cell::new(0) })
    }

    /// Whether the native file system tells two changes in a row apart by their times, so that times can be compared.
    pub fn compares_times(&self) -> bool {
        self.with_times
    }

    /// Runs the sequence of a seed; what differs is shrunk.
    pub fn run(&self, seed: u64, len: usize) -> Result<Done, Box<Finding>> {
        let mut dice = Dice::new(seed);
        let tops = [(0, 0, 0o777), (0, 0, 0o1777), (1000, 2000, 0o2775), (1000, 1000, 0o755)];
        let (uid, gid, mode) = tops[dice.below(4) as usize];
        let top = Top { uid, gid, mode, from_base: dice.below(2) == 0 };
        // Looking at everything after each call finds caches that are too old, and hides what was never asked for.
        let looking = dice.below(4) > 0;
        let calls = call::sequence(&mut dice, len);
        self.calls(top, &calls, looking).map_err(|(at, what)| {
            let (calls, what) = self.shrink(top, &calls[..calls.len().min(at + 1)], looking, what);
            Box::new(Finding { seed, top, calls, what })
        })
    }

    /// Compares what the last sequence left on both sides, as somebody who sees it for the first time.
    pub fn compare(&self) -> Result<(), String> {
        let side =
            |parent: &std::path::Path| Side::new(&parent.join("tree")).map_err(|error| error.to_string());
        let (ours, native) = (side(&self.ours)?, side(&self.native)?);
        Known::new(self.began, self.with_times).trees(&ours, &native).map(drop)
    }

    /// Makes calls in two fresh trees; an error is where they differ and how.
    pub fn calls(&self, top: Top, calls: &[Call], looking: bool) -> Result<Done, (usize, String)> {
        let wrong = |error: std::io::Error| (0, format!("the trees cannot be made: {error}"));
        let [mut ours, mut native] = self.fresh(top).map_err(wrong)?;
        let outcome = self.both(&mut ours, &mut native, calls, looking);
        let _ = be_root();
        rustix::process::umask(Mode::from_raw_mode(0o22));
        outcome
    }

    /// Makes both trees anew: empty, or ours as the workspace's base has it and the other as a copy of that.
    fn fresh(&self, top: Top) -> std::io::Result<[Side; 2]> {
        let trees = [&self.ours, &self.native].map(|parent| parent.join("tree"));
        for tree in trees.iter().filter(|tree| tree.exists()) {
            std::fs::remove_dir_all(tree)?;
        }
        let stock = self.ours.join(format!("stock/{:04}", self.taken.get()));
        if top.from_base && stock.exists() {
            self.taken.set(self.taken.get() + 1);
            std::fs::rename(stock, &trees[0])?;
            let copied = std::process::Command::new("cp").arg("-a").args(&trees).status()?;
            if !copied.success() {
                return Err(std::io::Error::other("the base cannot be copied"));
            }
        } else {
            trees.iter().try_for_each(std::fs::create_dir)?;
        }
        for tree in &trees {
            rustix::fs::chown(tree, Some(Uid::from_raw(top.uid)), Some(Gid::from_raw(top.gid)))?;
            rustix::fs::chmod(tree, Mode::from_raw_mode(top.mode))?;
        }
        Ok([Side::new(&trees[0])?, Side::new(&trees[1])?])
    }

    fn both(
        &self,
        ours: &mut Side,
        native: &mut Side,
        calls: &[Call],
        looking: bool,
    ) -> Result<Done, (usize, String)> {
        let mut known = Known::new(self.began, self.with_times);
        let mut done = Done::default();
        let mut user = USERS[0];
        side::be(user).map_err(|error| (0, format!("this needs root: {error}")))?;
        for (at, call) in calls.iter().enumerate() {
            if looking {
                side::be_again(user).map_err(|error| (at, error.to_string()))?;
            }
            if let Call::Become { user: next } = call {
                user = USERS[usize::from(*next)];
            }
            let (found, wanted) = (ours.call(call), native.call(call));
            if found == Ok(Answer::Nothing) && found == wanted {
                continue;
            }
            if !matches!(call, Call::Become { .. } | Call::Umask { .. }) {
                done.calls += 1;
                done.refused += u64::from(found.is_err());
            }
            same_answer(&found, &wanted).map_err(|what| (at, what))?;
            if found.is_err() && call.makes_whiteout() {
                known.with_times = false;
            }
            if looking {
                be_root().map_err(|error| (at, error.to_string()))?;
                known.lenient = call.leaves_times_open();
                look(&mut known, ours, native, call).map_err(|what| (at, what))?;
            }
        }
        be_root().map_err(|error| (calls.len(), error.to_string()))?;
        done.files = known.trees(ours, native).map_err(|what| (calls.len(), format!("in the end {what}")))?;
        Ok(done)
    }

    /// Leaves out calls, many at a time and then fewer, while the two still differ.
    fn shrink(&self, top: Top, calls: &[Call], looking: bool, mut what: String) -> (Vec<Call>, String) {
        let mut calls = calls.to_vec();
        let (mut attempts, mut chunk) = (0, calls.len().div_ceil(2).max(1));
        loop {
            let (mut at, before) = (0, calls.len());
            while at < calls.len() && attempts < ATTEMPTS {
                let mut fewer = calls.clone();
                fewer.drain(at..(at + chunk).min(calls.len()));
                attempts += 1;
                match self.calls(top, &fewer, looking) {
                    Ok(_) => at += chunk,
                    Err((last, why)) => {
                        fewer.truncate(last + 1);
                        (calls, what) = (fewer, why);
                    }
                }
            }
            let stuck = chunk == 1 && calls.len() == before;
            if stuck || attempts >= ATTEMPTS || calls.is_empty() {
                return (calls, what);
            }
            chunk = chunk.div_ceil(2).min(calls.len().max(1));
        }
    }
}

fn same_answer(found: &Result<Answer, Errno>, wanted: &Result<Answer, Errno>) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{} here, {} there", told(found), told(wanted))) }
}

fn told(answer: &Result<Answer, Errno>) -> String {
    match answer {
        Ok(Answer::Bytes(bytes)) if bytes.len() > 40 => {
            format!("{} bytes from {:?} on", bytes.len(), &bytes[..20])
        }
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error:?} ({error})"),
    }
}

/// Looks at all that a call names.
fn look(known: &mut Known, ours: &Side, native: &Side, call: &Call) -> Result<(), String> {
    for at in call.paths() {
        known.path(ours, native, at)?;
    }
    call.slots().into_iter().flatten().try_for_each(|slot| known.slot(ours, native, slot))
}

/// Whether a change right after a look gives a file another time than the one that was seen, every time.
fn tells_changes_apart(dir: &std::path::Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let file = dir.join("clock");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..50_u8 {
        std::fs::write(&file, [round])?;
        let found = std::fs::metadata(&file)?;
        seen.insert((found.ctime(), found.ctime_nsec()));
    }
    std::fs::remove_file(file)?;
    Ok(seen.len() == 50)
}
