//! `cargo xtask profile`: where the processors' time goes while a row's work is done in a workspace, as a flame graph.
//!
//! The daemon is looked at and the program that does the work, so the program's and the kernel's share are seen as well as Weald's.
//! Invariant: only the work is recorded, neither what prepares it nor what else runs on the machine.

use super::disk::{Disk, Kind};
use super::flame::Stacks;
use super::loops::{SMALL_FILE_BYTES, create_all, many_paths, unlink_all, write_blocks};
use super::repositories::Repositories;
use super::rows::{search, text};
use super::weald::Weald;
use super::{Bench, FULL, SMALL};
use crate::run::{cargo, command, output, root, show, target};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Where the pictures are.
const PROFILES: &str = "docs/profiles";
/// Samples of a thread in a second: no divisor of what a kernel does regularly.
const FREQUENCY: &str = "997";
/// `perf` is up by then.
const SETTLE: Duration = Duration::from_millis(300);
/// How often the work is done.
const ROUNDS: usize = 3;

/// Work by name. It calls its last argument for what is to be recorded.
type Work = fn(&Bench, &Weald, Record) -> Result<()>;
/// What records a piece of work.
type Record<'a> = &'a mut dyn FnMut(&dyn Fn() -> Result<()>) -> Result<()>;

const ALL: &[(&str, &str, Work)] = &[
    ("cold-rg", "cold rg, 9,127 files", cold_rg),
    ("creates", "create, write 4 KiB, close 10000 files", creates),
    ("blocks", "16384 writes of 4096 bytes in order, one file", blocks),
];

/// Draws the profiles named, all when none is. `--program FILE` takes another build of Weald, `--as NAME` calls the picture so.
pub(crate) fn profile(words: &[&str]) -> Result<()> {
    let (mut names, mut program, mut called) = (Vec::new(), None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--program" => program = Some(PathBuf::from(words.next().context("--program needs a file")?)),
            "--as" => called = Some((*words.next().context("--as needs a name")?).to_owned()),
            _ => names.push(*word),
        }
    }
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|(known, ..)| known != *name)) {
        let known: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
        bail!("no profile `{unknown}`; there are: {}", known.join(" "));
    }
    tools::system_packages(&[("perf", "linux-perf"), ("rg", "ripgrep"), ("git", "git")])?;
    let program = match program {
        Some(program) => program,
        None => {
            show(&mut cargo(&["build", "--locked", "--release", "-p", "weald-cli"]))?;
            target().join("release/weald")
        }
    };
    let disk = Disk::make("disk", Kind::Ext4, SMALL.disk_bytes)?;
    let repositories = Repositories::prepare(disk.path(), false)?;
    let bench = Bench { scale: FULL, disk, repositories, program, with_hollow: false };
    for (name, title, work) in ALL.iter().filter(|(name, ..)| names.is_empty() || names.contains(name)) {
        let weald = bench.weald(name)?;
        let data = bench.disk.path().join("perf.data");
        let mut stacks = Stacks::default();
        work(&bench, &weald, &mut |work| recorded(&data, weald.daemon()?, work, &mut stacks))?;
        let title =
            called.as_ref().map_or_else(|| (*title).to_owned(), |called| format!("{title} ({called})"));
        let file = root().join(PROFILES).join(format!("{}.svg", called.as_deref().unwrap_or(name)));
        std::fs::create_dir_all(root().join(PROFILES))?;
        std::fs::write(&file, stacks.picture(&title))?;
        println!("{}: {} samples", file.display(), stacks.samples());
    }
    Ok(())
}

/// A search in a workspace of which nothing is in any cache.
fn cold_rg(bench: &Bench, weald: &Weald, record: Record) -> Result<()> {
    weald.create(text(&bench.repositories.medium.path)?, "ws")?;
    let root = weald.path("ws");
    for _ in 0..ROUNDS {
        weald.forget()?;
        search(tempfile::tempdir()?.path())?;
        record(&|| search(&root))?;
    }
    Ok(())
}

fn creates(bench: &Bench, weald: &Weald, record: Record) -> Result<()> {
    weald.run(&["create", text(&bench.repositories.medium.path)?, "ws"])?;
    let paths = many_paths(&weald.path("ws").join("many"), bench.scale.churned_files)?;
    for _ in 0..ROUNDS {
        record(&|| create_all(&paths, SMALL_FILE_BYTES))?;
        unlink_all(&paths)?;
        output(&mut command::<&str>("sync", &[]))?;
    }
    Ok(())
}

fn blocks(bench: &Bench, weald: &Weald, record: Record) -> Result<()> {
    weald.run(&["create", text(&bench.dir("blocks/source")?)?, "ws"])?;
    let path = weald.path("ws").join("blocks");
    for _ in 0..ROUNDS {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        record(&|| write_blocks(&file, bench.scale.small_writes, false))?;
        output(&mut command::<&str>("sync", &[]))?;
    }
    Ok(())
}

/// Does work while the daemon and this process with its children are looked at, and adds what was seen.
fn recorded(data: &Path, daemon: u64, work: &dyn Fn() -> Result<()>, stacks: &mut Stacks) -> Result<()> {
    let who = format!("{daemon},{}", std::process::id());
    let record =
        ["record", "--quiet", "--pid", &who, "--call-graph", "dwarf", "--freq", FREQUENCY, "--output"];
    let perf = command("perf", &record).arg(data).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(SETTLE);
    let done = work();
    ended(perf)?;
    done?;
    let script = ["script", "--no-inline", "--fields", "comm,ip,sym,dso", "--input"];
    stacks.add(&output(command("perf", &script).arg(data))?);
    Ok(std::fs::remove_file(data)?)
}

/// Interrupts it, upon which it writes what it has.
fn ended(mut perf: Child) -> Result<()> {
    output(&mut command("kill", &["-INT", &perf.id().to_string()]))?;
    perf.wait().map(drop).context("perf does not end")
}
