//! `weald rules`.

use super::WorkspaceArg;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// `weald rules`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RulesArgs {
    #[command(flatten)]
    pub(crate) shown: WorkspaceArg,
    #[command(subcommand)]
    pub(crate) command: Option<RulesCommand>,
}

/// `weald rules …`.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Show them
    #[command(visible_alias = "ls")]
    List(WorkspaceArg),
    /// Add rules, or replace those of the same paths and limits
    Add {
        /// Name or id [default: the one you are in]
        #[arg(value_name = "WS")]
        workspace: Option<String>,
        /// Let nobody change this path or what is below it
        #[arg(long = "read-only", value_name = "PATH", value_hint = ValueHint::AnyPath)]
        read_only: Vec<PathBuf>,
        /// Let nobody see this path: it reads as absent
        #[arg(long = "mask", value_name = "PATH", value_hint = ValueHint::AnyPath)]
        masked: Vec<PathBuf>,
        /// Let private content grow to this size at most: 500MB, 2GiB
        #[arg(long, value_name = "SIZE")]
        max_bytes: Option<String>,
        /// Let there be so many files and symbolic links at most
        #[arg(long, value_name = "N")]
        max_files: Option<u64>,
        /// After so many deletions in a span of time allow none until `rules confirm`: 200/10s
        #[arg(long, value_name = "N/SPAN")]
        max_deletions: Option<String>,
    },
    /// Take rules away
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id [default: the one you are in]
        #[arg(value_name = "WS")]
        workspace: Option<String>,
        /// The rule of this path
        #[arg(long = "path", value_name = "PATH", value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
        /// The limit of private content
        #[arg(long)]
        max_bytes: bool,
        /// The limit of files
        #[arg(long)]
        max_files: bool,
        /// The limit of deletions
        #[arg(long)]
        max_deletions: bool,
        /// All of them
        #[arg(long, conflicts_with_all = ["paths", "max_bytes", "max_files", "max_deletions"])]
        all: bool,
    },
    /// Let deletions go on after there were too many
    Confirm {
        /// Name or id [default: the one you are in]
        #[arg(value_name = "WS")]
        workspace: Option<String>,
        /// For so long they do not count
        #[arg(long = "for", value_name = "SPAN", default_value = "5m")]
        span: String,
    },
}
