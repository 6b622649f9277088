//! The jobs of `cargo xtask torture`: one entry each.
//!
//! Invariant: a round takes minutes, not hours, since only whole rounds are counted; and it does the same again when it is
//! given the same seed, as far as threads and the kernel let it.

use super::round::Counts;
use anyhow::Result;

/// Something that finds faults only when it is done very often.
pub(super) struct Job {
    pub(super) name: &'static str,
    /// What it does, for `--list`.
    pub(super) does: &'static str,
    /// What it counts: the word in `torture: UNIT=N`.
    pub(super) unit: &'static str,
    /// How many of them are to be done in all.
    pub(super) target: u64,
    pub(super) program: Program,
}

/// How a round is run.
pub(super) enum Program {
    /// Tests, one after the other; `WEALD_SEED` is set for each round.
    Tests {
        package: &'static str,
        /// Which tests: a filter of the runner.
        filter: &'static str,
        environment: &'static [(&'static str, &'static str)],
        /// Built with all optimisations, or as `cargo test` does.
        release: bool,
        /// What it needs that is not there by itself.
        prepare: fn() -> Result<()>,
    },
    /// A function of this program, given the seed.
    Own(fn(u64) -> Result<Counts>),
}

/// All jobs, in the order they take turns.
pub(super) const JOBS: &[Job] = &[
    Job {
        name: "differential",
        does: "random system calls by several users, in a workspace and on ext4 (root)",
        unit: "operations",
        target: 10_000_000,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(differential)",
            environment: &[("WEALD_OPERATIONS", "1000000")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "fsx",
        does: "fsx in a workspace, every byte compared",
        unit: "operations",
        target: 5_000_000,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(suites) & test(fsx_finds_no_wrong_byte)",
            environment: &[("WEALD_OPERATIONS", "250000")],
            release: false,
            prepare: crate::tools::public_suites,
        },
    },
    Job {
        name: "sqlite",
        does: "SQLite with rollback journal and WAL, programs and daemons killed meanwhile",
        unit: "transactions",
        target: 100_000,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(sqlite)",
            environment: &[("WEALD_OPERATIONS", "6000")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "git-suite",
        does: "git's own test suite with its trash directories in a workspace (Debian)",
        unit: "scripts",
        target: 986,
        program: Program::Own(super::git_suite::round),
    },
    Job {
        name: "kill",
        does: "the daemon killed at any moment under a build's load and git",
        unit: "kills",
        target: 10_000,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(kill) & test(killed_200_times)",
            environment: &[("WEALD_KILLS", "1000")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "kill-io-uring",
        does: "the same to workspaces over io_uring: nobody waits, nothing is made twice (root)",
        unit: "kills",
        target: 2_000,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(rings) & test(after_a_kill)",
            environment: &[("WEALD_KILLS", "500")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "stress",
        does: "a hundred workspaces written, forked, restored, removed, collected and committed in at once",
        unit: "seconds",
        target: 3_600,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(stress)",
            environment: &[("WEALD_SECONDS", "600")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "injection",
        does: "operations and random work of the engine ended at every call: killed, power cut, failing disk",
        unit: "states",
        target: 500_000,
        program: Program::Tests {
            package: "weald-engine",
            filter: "binary(injection) | (binary(model) & test(/^ended::/))",
            environment: &[("WEALD_CASES", "150")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "damage",
        does: "changes of any file of a store; each is told, and no wrong byte is served",
        unit: "changes",
        target: 20_000,
        program: Program::Tests {
            package: "weald-engine",
            filter: "binary(damage) & not test(forged)",
            environment: &[("WEALD_OPERATIONS", "2500")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "forgery",
        does: "logs and sealed snapshots changed by one who makes checksums and hashes right; each is told",
        unit: "mutations",
        target: 10_000,
        program: Program::Tests {
            package: "weald-engine",
            filter: "binary(damage) & test(forged)",
            environment: &[("WEALD_OPERATIONS", "10000")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "damage-home",
        does: "changes of any file of a home, then read through the mounts; no wrong byte, harm is told",
        unit: "changes",
        target: 1_000,
        program: Program::Tests {
            package: "weald-cli",
            filter: "binary(damage)",
            environment: &[("WEALD_OPERATIONS", "250")],
            release: false,
            prepare: nothing,
        },
    },
    Job {
        name: "power-ext4",
        does: "power cuts to a home on ext4, under load",
        unit: "cycles",
        target: 500,
        program: power_cuts(&[("WEALD_CYCLES", "60")]),
    },
    Job {
        name: "power-xfs",
        does: "power cuts to a home on xfs, under load",
        unit: "cycles",
        target: 500,
        program: power_cuts(&[("WEALD_CYCLES", "60"), ("WEALD_DISK", "xfs")]),
    },
    Job {
        name: "fuzz",
        does: "every target of crates/fuzz, with inputs chosen by the code they reach",
        unit: "executions",
        target: 100_000_000,
        program: Program::Own(super::guided::round),
    },
];

fn nothing() -> Result<()> {
    Ok(())
}

const fn power_cuts(environment: &'static [(&'static str, &'static str)]) -> Program {
    Program::Tests {
        package: "weald-cli",
        filter: "binary(power) & test(what_was_acknowledged)",
        environment,
        release: false,
        prepare: || crate::tools::system_packages(&[("mkfs.xfs", "xfsprogs")]),
    }
}
