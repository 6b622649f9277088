//! Workspaces of a repository behind a URL: a server on this machine, `git http-backend`.

use super::{Bench, Measured, Sample, Target, alone, text};
use crate::bench::server::Server;
use crate::bench::weald::Weald;
use crate::run::{command, output};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time until the root is listed, and until `git status` has ended, in milliseconds.
const LIST_MS_MAX: f64 = 2_000.0;
const STATUS_MS_MAX: f64 = 3_000.0;

/// Files searched, and most round trips for that.
const SEARCHED: usize = 1_000;
const TRIPS_MAX: f64 = 20.0;

/// Most that four workspaces take, as a part of the pack of a clone and the compressed content.
const DISK_RATIO_MAX: f64 = 1.0;

/// From nothing until a tree is usable; what a search of unfetched files asks of the server.
pub(super) fn first_look(bench: &Bench) -> Result<Vec<Measured>> {
    let repository = bench.largest();
    let server = Server::http(bench.disk.path())?;
    let name = repository.path.file_name().and_then(|name| name.to_str()).context("it has a name")?;
    let url = server.url(name);
    let (mut list, mut status, mut trips) = (Vec::new(), Vec::new(), Vec::new());
    let mut native = Vec::new();
    for round in 0..bench.scale.build_runs {
        let weald = bench.weald(&format!("lazy-{round}"))?;
        weald.run(&["config", "fetch.prefetch", "off"])?;
        let begin = Instant::now();
        weald.run(&["create", &url, "ws"])?;
        let at = weald.path("ws");
        output(command("ls", &["-A"]).arg(&at))?;
        list.push(begin.elapsed());
        output(command("git", &["-C"]).arg(&at).args(["status", "--porcelain"]))?;
        status.push(begin.elapsed());
        let before = server.fetches();
        search(&at, repository.files.iter().filter(|path| path.components().count() > 2))?;
        trips.push((server.fetches() - before) as f64);
        weald.run(&["remove", "--force", "ws"])?;
        native.push(native_clone(bench, &url, round)?);
    }
    let title = |what: &str| format!("`create` from an http server until {what}, {}", repository.title);
    let row = |what: String, sample: Vec<Duration>, most: f64, peer: &[Duration]| -> Result<Measured> {
        let (weald, peer) = (Sample::millis(&sample)?, Sample::millis(peer)?);
        let peers = vec![("git clone --depth 1".to_owned(), peer)];
        Ok(Measured { what, unit: "ms", weald, peers, hollow: None, target: Target::AtMost(most) })
    };
    Ok(vec![
        row(title("`ls` of the root"), list, LIST_MS_MAX, &native)?,
        row(title("`git status`"), status, STATUS_MS_MAX, &native)?,
        alone(
            format!("round trips of `rg` over {SEARCHED} unfetched files"),
            "",
            Sample::new(trips)?,
            Target::AtMost(TRIPS_MAX),
        ),
    ])
}

/// Four workspaces, everything fetched: bytes of the home beside the pack of a clone and the compressed content.
pub(super) fn disk(bench: &Bench) -> Result<Vec<Measured>> {
    let repository = &bench.repositories.medium;
    let server = Server::http(bench.disk.path())?;
    let name = repository.path.file_name().and_then(|name| name.to_str()).context("it has a name")?;
    let weald = bench.weald("lazy-disk")?;
    for number in 1..=4 {
        weald.run(&["create", &server.url(name), &format!("ws-{number}")])?;
    }
    let patience = Instant::now() + Duration::from_secs(600);
    while !is_all_here(&weald)? {
        anyhow::ensure!(Instant::now() < patience, "the content does not come");
        std::thread::sleep(Duration::from_millis(100));
    }
    let ours = weald.settled_bytes()? / 1e6;
    let pack = output(command("du", &["-s", "-B1"]).arg(repository.path.join("objects")))?;
    let pack: f64 = pack.split_whitespace().next().context("du said nothing")?.parse()?;
    let archive = format!("git -C '{}' archive HEAD | zstd -q -3 | wc -c", text(&repository.path)?);
    let compressed: f64 = output(&mut command("sh", &["-c", &archive]))?.trim().parse()?;
    let bound = (pack + 1.1 * compressed) / 1e6;
    Ok(vec![Measured {
        what: format!("disk of 4 workspaces made from a URL, all fetched, {}", repository.title),
        unit: "MB",
        weald: Sample::new(vec![ours])?,
        peers: vec![("git pack + 1.1 × compressed content".to_owned(), Sample::new(vec![bound])?)],
        hollow: None,
        target: Target::Ratio(DISK_RATIO_MAX),
    }])
}

fn is_all_here(weald: &Weald) -> Result<bool> {
    let info = weald.json(&["info", "ws-1", "--json"])?;
    let fetched = &info["source"]["fetched"];
    Ok(fetched["ahead"] == "done" && fetched["here"] == fetched["total"])
}

fn search<'a>(at: &Path, files: impl Iterator<Item = &'a std::path::PathBuf>) -> Result<()> {
    let mut search = command("rg", &["--count", "--no-messages", "mutex_lock"]);
    search.args(files.take(SEARCHED)).current_dir(at);
    // It ends with 1 when nothing is found, which is no matter here.
    search.stdout(std::process::Stdio::null()).status().context("cannot run rg")?;
    Ok(())
}

fn native_clone(bench: &Bench, url: &str, round: usize) -> Result<Duration> {
    let to = bench.disk.path().join(format!("native-{round}"));
    let begin = Instant::now();
    output(command("git", &["clone", "--quiet", "--depth", "1", url]).arg(&to))?;
    let took = begin.elapsed();
    std::fs::remove_dir_all(&to)?;
    Ok(took)
}
