//! One file at a time: long streams, single blocks, a database.

use super::{Bench, EXT4, Measured, Target, beside, text};
use crate::bench::loops::{SMALL_FILE_BYTES, read_all, write_blocks, write_stream};
use crate::bench::measure::{Sample, in_turn, timed};
use crate::run::{command, output};
use anyhow::Result;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most each may take beside ext4.
const WRITE_RATIO_MAX: f64 = 1.4;
const READ_RATIO_MAX: f64 = 1.2;
const BLOCK_RATIO_MAX: f64 = 2.0;
const INSERT_RATIO_MAX: f64 = 1.5;
const SYNCED_RATIO_MAX: f64 = 1.1;

/// A long stream to a new file, made durable at its end, and read back from the caches.
pub(super) fn stream(bench: &Bench) -> Result<Vec<Measured>> {
    let (weald, ours, native) = places(bench, "stream")?;
    let bytes = bench.scale.stream_bytes;
    let (mut our_reads, mut native_reads) = (Vec::new(), Vec::new());
    let both = |dir: &Path, reads: &mut Vec<Duration>| {
        let path = dir.join("stream");
        let took = timed(|| write_stream(&path, bytes))?;
        let paths = [path];
        read_all(&paths)?;
        reads.push(timed(|| read_all(&paths))?);
        std::fs::remove_file(&paths[0])?;
        settled()?;
        Ok(took)
    };
    let (written, natively) = in_turn(
        bench.scale.build_runs + 2,
        |_| both(&ours, &mut our_reads),
        |_| both(&native, &mut native_reads),
    )?;
    drop(weald);
    let size = format!("{} MiB", bytes >> 20);
    let (ours, native) = (Sample::millis(&our_reads)?, Sample::millis(&native_reads)?);
    Ok(vec![
        row(format!("{size} written in one go, then fsync"), (written, natively), WRITE_RATIO_MAX),
        row(format!("{size} read back, warm"), (ours, native), READ_RATIO_MAX),
    ])
}

/// Single blocks to one file, in order and all over it, without fsync.
pub(super) fn blocks(bench: &Bench) -> Result<Vec<Measured>> {
    let (weald, ours, native) = places(bench, "blocks")?;
    let count = bench.scale.small_writes;
    let mut rows = Vec::new();
    for (order, all_over) in [("in order", false), ("at random", true)] {
        let work = |dir: &Path| {
            let path = dir.join("blocks");
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            if all_over {
                // Over what is there, as a database does.
                write_blocks(&file, count, false)?;
                settled()?;
            }
            let took = timed(|| write_blocks(&file, count, all_over))?;
            std::fs::remove_file(&path)?;
            settled()?;
            Ok(took)
        };
        let both = in_turn(bench.scale.runs, |_| work(&ours), |_| work(&native))?;
        let what = format!("{count} writes of {SMALL_FILE_BYTES} bytes {order}, one file");
        rows.push(row(what, both, BLOCK_RATIO_MAX));
    }
    drop(weald);
    Ok(rows)
}

/// A database: many small transactions, few and each of them durable.
pub(super) fn database(bench: &Bench) -> Result<Vec<Measured>> {
    let (weald, ours, native) = places(bench, "database")?;
    let (many, few) = (bench.scale.inserts, bench.scale.synced_inserts);
    let kinds = [
        (
            "WAL, synchronous=NORMAL",
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            many,
            INSERT_RATIO_MAX,
        ),
        ("WAL, synchronous=FULL", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", few, SYNCED_RATIO_MAX),
        ("rollback journal, synchronous=FULL", "PRAGMA synchronous=FULL;", few, SYNCED_RATIO_MAX),
    ];
    let mut rows = Vec::new();
    for (title, pragmas, count, most) in kinds {
        let script = script(bench.disk.path(), pragmas, count)?;
        let work = |dir: &Path| {
            let database = dir.join("database");
            let read = format!(".read {}", text(&script)?);
            let took = timed(|| output(command("sqlite3", &["-batch"]).arg(&database).arg(&read)).map(drop))?;
            for ending in ["", "-wal", "-shm", "-journal"] {
                let path = dir.join(format!("database{ending}"));
                if path.exists() {
                    std::fs::remove_file(path)?;
                }
            }
            settled()?;
            Ok(took)
        };
        let both = in_turn(bench.scale.runs, |_| work(&ours), |_| work(&native))?;
        rows.push(row(format!("SQLite, {count} transactions, {title}"), both, most));
    }
    drop(weald);
    Ok(rows)
}

/// A file of statements, each a transaction of its own.
fn script(dir: &Path, pragmas: &str, count: usize) -> Result<PathBuf> {
    let mut lines =
        format!("{pragmas}\nCREATE TABLE entry(id INTEGER PRIMARY KEY, name TEXT, value BLOB);\n");
    for number in 0..count {
        writeln!(lines, "INSERT INTO entry(name, value) VALUES('name-{number}', randomblob(100));")?;
    }
    let path = dir.join("script.sql");
    std::fs::write(&path, lines)?;
    Ok(path)
}

/// A workspace with nothing in it, its directory, and one beside it on the same disk.
fn places(bench: &Bench, name: &str) -> Result<(crate::bench::weald::Weald, PathBuf, PathBuf)> {
    let weald = bench.weald(name)?;
    weald.run(&["create", text(&bench.dir(&format!("{name}/source"))?)?, "ws"])?;
    let ours = weald.path("ws");
    Ok((weald, ours, bench.dir(&format!("{name}/native"))?))
}

fn row(what: String, (ours, native): (Sample, Sample), most: f64) -> Measured {
    beside(what, ours, EXT4, native, Target::Ratio(most))
}

/// What the kernel still has to write must not run into the other side's turn.
fn settled() -> Result<()> {
    output(&mut command::<&str>("sync", &[])).map(drop)
}
