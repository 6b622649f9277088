//! The command line, as people type it. Words and options are those of README.md; nothing here acts.
//!
//! Invariant: every command takes `--json`. Read next: `commands`, one file per command.

use clap::{Args, Parser, Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use weald_daemon::protocol::Depth;

mod rules;
pub(crate) use rules::{RulesArgs, RulesCommand};

const AFTER_HELP: &str = "\
Inside a workspace, WS may be left out. Every command has --json.
Exit codes: 0 yes, 1 no or refused, 2 failed. Each error has a code: `weald explain W0008`.

  WEALD_HOME   where everything is kept      (default $XDG_DATA_HOME/weald, or ~/.local/share/weald)
  WEALD_MOUNT  where workspaces appear       (default ~/weald)";

/// Instant, isolated workspaces over git repositories.
#[derive(Debug, Parser)]
#[command(name = "weald", version, after_help = AFTER_HELP, max_term_width = 110)]
#[command(disable_help_subcommand = true, infer_subcommands = false)]
pub(crate) struct Cli {
    /// Print JSON with stable field names instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a workspace from a repository, a URL or a plain directory
    Create(CreateArgs),
    /// Copy a workspace in no time: every byte, mode, time and link, `.git` included
    Fork(ForkArgs),
    /// Bring new commits of a URL here, and tell a workspace of them
    Fetch(FetchArgs),
    /// List workspaces
    #[command(visible_alias = "ls")]
    List,
    /// Show everything about one workspace
    Info(WorkspaceArg),
    /// Print where a workspace is
    Path(WorkspaceArg),
    /// Give a workspace another name
    Rename(RenameArgs),
    /// Note the present state under an id, in no time; any other moment can be had back, too
    Snapshot(SnapshotArgs),
    /// List snapshots, newest first
    History(HistoryArgs),
    /// Show what differs between two states [default: the last snapshot and now]
    Diff(DiffArgs),
    /// Bring a state back, whole or some paths; the present is kept as a snapshot
    Restore(RestoreArgs),
    /// Take the last restore or burst of changes back
    Undo(WorkspaceArg),
    /// Take the last undo back
    Redo(WorkspaceArg),
    /// Run a command in a workspace or a fork of it
    Run(RunArgs),
    /// Make what a workspace holds a commit in its source repository, uncommitted work included
    Promote(PromoteArgs),
    /// Merge the work of workspaces into a branch of their source repository
    Merge(MergeArgs),
    /// Show which workspaces change the same lines, and which change what their branch has changed since
    Conflicts(ConflictsArgs),
    /// Move workspaces to the trash
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
    /// List, restore or empty the trash
    #[command(subcommand)]
    Trash(TrashCommand),
    /// Keep a state whatever the settings and `gc` say
    Pin(PinArgs),
    /// Find what is wrong with Weald's home and this machine, and how to put it right
    Doctor(DoctorArgs),
    /// Take away what nobody needs: first a plan, then its run
    #[command(subcommand)]
    Gc(GcCommand),
    /// Show or change settings
    Config(ConfigArgs),
    /// Show who did what in a workspace, when, and to which path
    Log(LogArgs),
    /// Show or change what programs in a workspace may not touch, see, write or delete
    Rules(RulesArgs),
    /// Recompute everything from bytes, and say what is not as it was written, and where
    Verify(VerifyArgs),
    /// Print what the log of a workspace is now, to compare with later
    Anchor(AnchorArgs),
    /// Show how the daemon is
    Status,
    /// Start, stop or restart the daemon; it also starts by itself
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Mount workspaces that are not; all without WS
    Mount(MountArgs),
    /// Unmount workspaces and keep them; all without WS
    Unmount(UnmountArgs),
    /// Explain an error code; all of them without CODE
    Explain(ExplainArgs),
    /// Print the completion script of a shell
    Completion(CompletionArgs),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(ManArgs),
}

/// `weald create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// A local repository (bare or not), a URL (file, http, https, ssh) or a plain directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) source: String,
    /// Name of the workspace [default: that of the source]
    #[arg(allow_hyphen_values = true)]
    pub(crate) name: Option<String>,
    /// Start from this revision: branch, tag, commit, HEAD~3 [default: HEAD of the source]
    #[arg(long, value_name = "REV")]
    pub(crate) rev: Option<String>,
    /// Make this branch and stand on it
    #[arg(long, short, value_name = "B")]
    pub(crate) branch: Option<String>,
    /// Clone so many commits of a URL, or `full` for all [default: 1, or what there is]
    #[arg(long, value_name = "N", value_parser = depth)]
    pub(crate) depth: Option<Depth>,
    /// Ask a URL that was cloned before for new commits
    #[arg(long)]
    pub(crate) update: bool,
    /// Mount there instead of in the mount root
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub(crate) at: Option<PathBuf>,
    /// Let other users enter the workspace
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Refused, with the reason
    #[arg(long, hide = true, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub(crate) git_file: Option<Option<PathBuf>>,
}

fn depth(text: &str) -> Result<Depth, String> {
    match (text, text.parse()) {
        ("full", _) => Ok(Depth::Full),
        (_, Ok(number @ 1..)) => Ok(Depth::Commits(number)),
        _ => Err("it is a number from 1 on, or `full`".to_owned()),
    }
}

/// `weald fork`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct ForkArgs {
    /// The workspace, or one of its states, to fork [default: the one you are in]
    #[arg(value_name = "WS[@REF]", allow_hyphen_values = true)]
    pub(crate) workspace: Option<String>,
    /// Name of the fork
    #[arg(value_name = "NEW", required = true, allow_hyphen_values = true)]
    pub(crate) name: String,
    /// Make N forks: NEW-1 … NEW-N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: Option<u32>,
    /// Mount there; with --count, the directory of the forks
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub(crate) at: Option<PathBuf>,
}

/// `weald fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// A workspace made from a URL, or the URL itself [default: the one you are in]
    #[arg(value_name = "WS|URL")]
    pub(crate) from: Option<String>,
}

/// A workspace, or none.
#[derive(Debug, Args)]
pub(crate) struct WorkspaceArg {
    /// Name or id [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspace: Option<String>,
}

/// `weald promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// Name or id [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspace: Option<String>,
    /// Message of the commit that takes up uncommitted work
    #[arg(long, short, value_name = "MSG")]
    pub(crate) message: Option<String>,
    /// Set this ref instead [default: refs/weald/WS]
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// Add lines to the message that say which programs wrote how many paths
    #[arg(long)]
    pub(crate) provenance: bool,
}

/// `weald merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Names or ids, merged in this order [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspaces: Vec<String>,
    /// Into this branch [default: the one it was created on]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) into: Option<String>,
    /// All workspaces, by name
    #[arg(long, conflicts_with = "workspaces")]
    pub(crate) all: bool,
    /// Only when this shell command succeeds on the result, in a fork of the workspace
    #[arg(long, value_name = "CMD")]
    pub(crate) test: Option<String>,
    /// Message of the merge commit
    #[arg(long, short, value_name = "MSG")]
    pub(crate) message: Option<String>,
    /// Go on after conflicts were resolved
    #[arg(long = "continue", conflicts_with_all = ["all", "abort"])]
    pub(crate) resume: bool,
    /// Give a merge with conflicts up: the workspace comes back as it was
    #[arg(long, conflicts_with_all = ["all", "into", "test", "message"])]
    pub(crate) abort: bool,
}

/// `weald conflicts`.
#[derive(Debug, Args)]
pub(crate) struct ConflictsArgs {
    /// Beside this branch [default: the one each was created on]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) into: Option<String>,
    /// Go on: look again at what changes
    #[arg(long, short)]
    pub(crate) watch: bool,
}

/// `weald rename`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct RenameArgs {
    /// The workspace [default: the one you are in]
    #[arg(value_name = "WS", allow_hyphen_values = true)]
    pub(crate) workspace: Option<String>,
    /// Its new name
    #[arg(value_name = "NEW", required = true, allow_hyphen_values = true)]
    pub(crate) name: String,
}

/// `weald snapshot`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Name or id [default: the one you are in]; a word that is neither is the note
    #[arg(value_name = "WS")]
    pub(crate) workspace: Option<String>,
    /// What it is for
    #[arg(value_name = "NOTE")]
    pub(crate) note: Option<String>,
    /// A word to find it by; tagged snapshots are kept for ever
    #[arg(long = "tag", short, value_name = "T")]
    pub(crate) tags: Vec<String>,
}

/// `weald history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Name or id [default: the one you are in]
    #[arg(value_name = "WS", conflicts_with = "all")]
    pub(crate) workspace: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Only those whose note has this text
    #[arg(long, value_name = "P")]
    pub(crate) grep: Option<String>,
    /// Only those with this tag
    #[arg(long, short, value_name = "T")]
    pub(crate) tag: Option<String>,
    /// Those of all workspaces
    #[arg(long)]
    pub(crate) all: bool,
}

/// `weald diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The earlier state [default: the last snapshot]
    #[arg(value_name = "A")]
    pub(crate) from: Option<String>,
    /// The later state [default: the present of A's workspace]
    #[arg(value_name = "B")]
    pub(crate) to: Option<String>,
    /// Count lines
    #[arg(long)]
    pub(crate) stat: bool,
    /// Show lines, in a form that `git apply` takes
    #[arg(long, short)]
    pub(crate) patch: bool,
}

/// `weald restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The state: WS@REF, or @REF in the workspace you are in. REF is N (snapshots back), an id, a tag, a note,
    /// {5m ago}, {2026-11-21T10:00} or {op 1234}
    #[arg(value_name = "WS@REF")]
    pub(crate) state: String,
    /// Only these files and directories
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// `weald run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Name or id [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspace: Option<String>,
    /// In a new fork, which stays
    #[arg(long)]
    pub(crate) fork: bool,
    /// After a snapshot
    #[arg(long)]
    pub(crate) snapshot: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// `weald remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Names or ids [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspaces: Vec<String>,
    /// Also when somebody stands in it or commits are nowhere else; it can still be restored
    #[arg(long, short)]
    pub(crate) force: bool,
}

/// `weald trash`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// List what is in the trash
    #[command(visible_alias = "ls")]
    List,
    /// Take a workspace out of the trash and mount it
    Restore {
        /// Name or id; of several with one name, the one removed last
        name: String,
        /// Another name, when the old one is taken
        #[arg(value_name = "NEW")]
        new_name: Option<String>,
    },
    /// Delete for good what is in the trash
    Empty {
        /// Only what was removed at least this long ago: 90s, 30m, 12h, 7d, 2w
        #[arg(long, value_name = "AGE", value_parser = crate::words::parse_age)]
        older_than: Option<u64>,
    },
}

/// `weald log`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Name or id [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspace: Option<String>,
    /// Only this path and what is below it; it begins where you stand, or at the root of another workspace
    #[arg(long, value_name = "P", value_hint = ValueHint::AnyPath)]
    pub(crate) path: Option<PathBuf>,
    /// Only what this program did
    #[arg(long, value_name = "X")]
    pub(crate) program: Option<String>,
    /// Only since then: `5m ago`, 10:30, 2026-11-21T10:00
    #[arg(long, value_name = "T")]
    pub(crate) since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "T")]
    pub(crate) until: Option<String>,
    /// Only this operation: write, create, rename, unlink …
    #[arg(long = "op", value_name = "K")]
    pub(crate) operation: Option<String>,
    /// Only the last N
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Go on with what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// From now on log files that are opened for reading, too, or no longer; shows nothing
    #[arg(long, value_name = "on|off", value_parser = ["on", "off"],
        conflicts_with_all = ["path", "program", "since", "until", "operation", "limit", "follow"])]
    pub(crate) reads: Option<String>,
}

/// `weald verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Name or id, or a state of it: then only what that rests on [default: the one you are in]
    #[arg(value_name = "WS[@REF]")]
    pub(crate) workspace: Option<String>,
    /// Everything in Weald's home, the trash included
    #[arg(long, conflicts_with = "workspace")]
    pub(crate) all: bool,
    /// Also every git object of the base, against its id
    #[arg(long)]
    pub(crate) base: bool,
    /// Write anew what can be made from the source: manifests, git indexes, unpacked content
    #[arg(long)]
    pub(crate) heal: bool,
    /// Also the signatures of signed anchors, with the keys that your git trusts
    #[arg(long)]
    pub(crate) signatures: bool,
    /// Compare with a word that `weald anchor` printed; may be given several times
    #[arg(long = "anchor", value_name = "WORD")]
    pub(crate) anchors: Vec<String>,
}

/// `weald anchor`.
#[derive(Debug, Args)]
pub(crate) struct AnchorArgs {
    /// Name or id [default: the one you are in]
    #[arg(value_name = "WS")]
    pub(crate) workspace: Option<String>,
    /// Also keep it as a ref below refs/weald/anchors in the source repository, where `weald verify` finds it
    #[arg(long)]
    pub(crate) tag: bool,
    /// Sign it, as `git tag -s` does, with your key; implies --tag
    #[arg(long)]
    pub(crate) sign: bool,
}

/// `weald daemon`.
#[derive(Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Start it, unless it runs
    Start,
    /// Unmount everything and end it; workspaces are kept
    Stop,
    /// Stop it and start it again
    Restart {
        /// Put the program as it is on the disk now in its place; mounts stay, and what programs ask meanwhile waits
        #[arg(long)]
        upgrade: bool,
    },
    /// Run the supervisor and the daemon in the foreground
    #[command(hide = true)]
    Run {
        /// Leave the terminal; tell readiness on standard output, then let go of it
        #[arg(long)]
        announce: bool,
        /// Go on where the supervisor behind standard input was
        #[arg(long)]
        resume: bool,
    },
    /// Ask mounts for what the daemon behind standard input wishes
    #[command(hide = true)]
    Ask,
    #[command(hide = true)]
    Tell,
    /// Bind the socket on standard input, in a mount
    #[command(hide = true)]
    Bind { path: PathBuf },
    /// Run the daemon of the supervisor behind standard input
    #[command(hide = true)]
    Serve {
        /// Tell readiness on standard output, then let go of it
        #[arg(long)]
        announce: bool,
    },
}

/// `weald mount`.
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// Names or ids
    #[arg(value_name = "WS")]
    pub(crate) workspaces: Vec<String>,
}

/// `weald unmount`.
#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// Names or ids
    #[arg(value_name = "WS")]
    pub(crate) workspaces: Vec<String>,
    /// Also when somebody stands in it
    #[arg(long, short)]
    pub(crate) force: bool,
}

/// `weald pin`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The state: WS@REF; WS alone is the present
    #[arg(value_name = "WS@REF", required_unless_present_any = ["list", "remove"])]
    pub(crate) state: Option<String>,
    /// What to say about it
    pub(crate) note: Option<String>,
    /// Show all pins
    #[arg(long, conflicts_with = "state")]
    pub(crate) list: bool,
    /// Take a pin away
    #[arg(long, value_name = "PIN", conflicts_with_all = ["state", "list"])]
    pub(crate) remove: Option<String>,
}

/// `weald doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Put right what is safe to
    #[arg(long)]
    pub(crate) fix: bool,
}

/// `weald gc`.
#[derive(Debug, Subcommand)]
pub(crate) enum GcCommand {
    /// Find what can be taken away; changes nothing
    Plan {
        /// Keep the newest N snapshots of each workspace
        #[arg(long, value_name = "N")]
        keep_last: Option<u64>,
        /// Keep the snapshots of the last D days
        #[arg(long, value_name = "D")]
        keep_days: Option<u64>,
        /// Keep the snapshots with this tag; may be given again [default: all that have a tag]
        #[arg(long = "keep-tag", value_name = "G")]
        keep_tags: Vec<String>,
    },
    /// Take away what a plan says, unless some of it is needed now
    Run {
        /// Its id, as `gc plan` printed it
        plan: String,
    },
}

/// `weald config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// A setting, like snapshots.every [default: show all]
    pub(crate) key: Option<String>,
    /// Its new value
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
    /// Back to the default
    #[arg(long, requires = "key", conflicts_with = "value")]
    pub(crate) unset: bool,
}

/// `weald explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Like W0008
    pub(crate) code: Option<String>,
}

/// `weald completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

/// `weald man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory; made if missing
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_workspace_may_be_left_out_before_a_new_name() {
        let Command::Fork(args) = Cli::parse_from(["weald", "fork", "new"]).command else { panic!() };
        assert_eq!((args.workspace, args.name.as_str()), (None, "new"));
        let Command::Fork(args) = Cli::parse_from(["weald", "fork", "old", "new", "--json"]).command else {
            panic!()
        };
        assert_eq!((args.workspace.as_deref(), args.name.as_str()), (Some("old"), "new"));
    }

    #[test]
    fn a_leading_dash_reaches_the_daemon_as_a_name() {
        let cli = Cli::try_parse_from(["weald", "create", "/src", "-x"]).unwrap();
        let Command::Create(args) = cli.command else { panic!() };
        assert_eq!(args.name.as_deref(), Some("-x"));
    }
}
