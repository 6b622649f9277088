//! Errors a user reads: what, why, a hint with the exact command, and a stable code for `weald explain`.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// Stable codes of everything that can go wrong for a user. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name = $number,)+ }
        impl Code {
            /// All codes, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];
            /// The explanation `weald explain` prints.
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc, "\n",)+),)+ }
            }
        }
    };
}

codes! {
    /// The source could not be found: no repository or directory is there.
    UnknownSource = 1,
    /// The URL could not be cloned: host, path, network or credentials.
    UnreachableSource = 2,
    /// The repository has no commit yet, so there is no tree to show. Commit something first.
    EmptyRepository = 3,
    /// The revision names nothing in the source.
    UnknownRevision = 4,
    /// An object the tree needs is missing from the source, or damaged. Run `git fsck` there.
    MissingObject = 5,
    /// A tree holds names that could write outside the workspace or into its .git; it is refused whole.
    HostileTree = 6,
    /// The workspace name is not usable as a directory and as a part of a git ref.
    BadName = 7,
    /// A workspace of that name exists already.
    NameTaken = 8,
    /// There is no workspace of that name.
    UnknownWorkspace = 9,
    /// The place where the workspace should appear is in use.
    MountPointBusy = 10,
    /// /dev/fuse is missing or may not be opened.
    NoFuse = 11,
    /// fusermount3 is needed to mount as an ordinary user and was not found.
    NoFusermount = 12,
    /// The disk that holds Weald's home is full. Nothing was damaged; free space and try again.
    DiskFull = 13,
    /// Weald's home cannot be written.
    HomeReadOnly = 14,
    /// Another daemon owns this home.
    DaemonRunning = 15,
    /// The daemon did not start or does not answer.
    DaemonUnreachable = 16,
    /// A workspace's log is damaged in the middle. Only this workspace is closed; nothing was changed on disk.
    LogDamaged = 17,
    /// Somebody stands in the workspace, or has files in it open.
    WorkspaceInUse = 18,
    /// Commits of the workspace are nowhere else.
    UnpushedCommits = 19,
    /// Not a usable request: an argument is wrong or does not fit the others.
    BadRequest = 20,
    /// The host refused a read or write of Weald's home.
    HostIo = 21,
    /// Git failed; its own words follow.
    GitFailed = 22,
    /// The workspace is not mounted.
    NotMounted = 23,
    /// The directory given is no workspace, nor inside one.
    NotInWorkspace = 24,
    /// A manifest or stored content is damaged.
    StoreDamaged = 25,
    /// The user may not do this.
    NotAllowed = 26,
    /// A broken invariant: a bug in Weald. Please report it with the message.
    Internal = 27,
    /// The source uses a feature Weald does not support.
    UnsupportedSource = 28,
    /// The words behind the `@` name no state that is kept: no snapshot, moment or operation. `weald history` lists them.
    UnknownState = 30,
    /// The words behind the `@` fit several snapshots. Use the id.
    AmbiguousState = 31,
    /// The path is in none of the states compared: neither in the one to restore nor in the present.
    UnknownPath = 32,
    /// There is no step to go back, or to go forward again.
    NothingToUndo = 33,
    /// The file config.toml in Weald's home cannot be used. Nothing goes by it until it is put right.
    BadConfig = 40,
    /// There is no setting of that name. `weald config` shows all.
    UnknownSetting = 41,
    /// A plan of `weald gc plan` that is not there, or is no plan.
    UnknownPlan = 42,
    /// Something a plan would take away is in use now. Nothing was done; make a new plan.
    StalePlan = 43,
    /// That moment lies outside what is kept: a `weald gc run` has given back content it needs.
    ContentGivenBack = 44,
    /// There is no such pin. `weald pin --list` shows all.
    UnknownPin = 45,
    /// There is no rule for that path. `weald rules` shows all.
    UnknownRule = 46,
    /// The workspace has conflicts that nobody resolved yet, or a merge that is under way.
    UnfinishedMerge = 50,
    /// The branch is checked out where something uncommitted or untracked is in the way. Nothing was changed.
    DirtyBranch = 51,
    /// There is no merge under way in the workspace.
    NoMerge = 52,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W{:04}", *self as u32)
    }
}

impl Code {
    /// Parses `W0007`, `w7` or `7`.
    pub fn parse(text: &str) -> Option<Self> {
        let number: u32 = text.trim_start_matches(['W', 'w']).parse().ok()?;
        Self::ALL.iter().copied().find(|code| *code as u32 == number)
    }
}

/// An error for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Stable code.
    pub code: Code,
    /// What happened and why, one sentence, no final stop.
    pub message: String,
    /// What to do, with the exact command where there is one.
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a fault without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells a failed host call on Weald's own files: full and read-only disks get their own codes.
    pub fn host(doing: &str, error: &std::io::Error) -> Self {
        let code = match error.raw_os_error() {
            Some(28 | 122) => Code::DiskFull,
            Some(30 | 13) => Code::HomeReadOnly,
            _ => Code::HostIo,
        };
        Self::new(code, format!("{doing}: {error}"))
    }
}
