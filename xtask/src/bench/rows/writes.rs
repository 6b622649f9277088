//! One file at a time: long streams, single blocks, a database.

use super::{Bench, Measured, over_hollow, text};
use crate::bench::hollow::{Hollow, Kind};
use crate::bench::loops::{SMALL_FILE_BYTES, read_all, write_blocks, write_stream};
use crate::bench::measure::{Sides, timed, with_hollow};
use crate::bench::weald::Weald;
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

/// More than is ever not yet on the disk.
const SMALL_DURABLE_BYTES: u64 = 256 << 20;

/// A long stream to a new file, made durable at its end, and read back from the caches.
pub(super) fn stream(bench: &Bench) -> Result<Vec<Measured>> {
    let bytes = bench.scale.stream_bytes;
    let places = Places::new(bench, "stream", bytes + bytes / 8)?;
    let mut reads: [Vec<Duration>; 3] = Default::default();
    let [our_reads, native_reads, hollow_reads] = &mut reads;
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
    let written = with_hollow(
        bench.scale.build_runs + 2,
        |_| both(&places.ours, our_reads),
        |_| both(&places.native, native_reads),
        places.hollow.as_ref().map(|hollow| |_| both(hollow.path(), hollow_reads)),
    )?;
    let size = format!("{} MiB", bytes >> 20);
    Ok(vec![
        over_hollow(format!("{size} written in one go, then fsync"), written, WRITE_RATIO_MAX),
        over_hollow(format!("{size} read back, warm"), Sides::millis(&reads)?, READ_RATIO_MAX),
    ])
}

/// Single blocks to one file, in order and all over it, without fsync.
pub(super) fn blocks(bench: &Bench) -> Result<Vec<Measured>> {
    let places = Places::new(bench, "blocks", SMALL_DURABLE_BYTES)?;
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
        let what = format!("{count} writes of {SMALL_FILE_BYTES} bytes {order}, one file");
        rows.push(over_hollow(what, places.in_turn(bench.scale.runs, &work)?, BLOCK_RATIO_MAX));
    }
    Ok(rows)
}

/// A database: many small transactions, few and each of them durable.
pub(super) fn database(bench: &Bench) -> Result<Vec<Measured>> {
    let places = Places::new(bench, "database", SMALL_DURABLE_BYTES)?;
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
        let sides = places.in_turn(bench.scale.runs, &work)?;
        rows.push(over_hollow(format!("SQLite, {count} transactions, {title}"), sides, most));
    }
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

/// A workspace with nothing in it, a directory on the same disk, and what costs nothing but the kernel's share.
struct Places {
    /// Before its daemon, which it has no part in.
    hollow: Option<Hollow>,
    ours: PathBuf,
    native: PathBuf,
    _weald: Weald,
}

impl Places {
    fn new(bench: &Bench, name: &str, durable_bytes: u64) -> Result<Self> {
        let weald = bench.weald(name)?;
        weald.run(&["create", text(&bench.dir(&format!("{name}/source"))?)?, "ws"])?;
        let kind = Kind { durable_bytes: Some(durable_bytes), ..Kind::default() };
        Ok(Self {
            hollow: Hollow::start(bench, name, kind)?,
            ours: weald.path("ws"),
            native: bench.dir(&format!("{name}/native"))?,
            _weald: weald,
        })
    }

    fn in_turn(&self, rounds: usize, work: &dyn Fn(&Path) -> Result<Duration>) -> Result<Sides> {
        let hollow = self.hollow.as_ref().map(|hollow| |_| work(hollow.path()));
        with_hollow(rounds, |_| work(&self.ours), |_| work(&self.native), hollow)
    }
}

/// What the kernel still has to write must not run into the other side's turn.
fn settled() -> Result<()> {
    output(&mut command::<&str>("sync", &[])).map(drop)
}
