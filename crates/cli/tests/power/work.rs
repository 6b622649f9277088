//! What programs do in a workspace until the power is cut, and what they were told is durable by then.

use crate::support::Home;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use weald_testkit::clock::mix;

/// Bytes of a line in a file of numbered ones.
pub(crate) const LINE_BYTES: usize = 17;

/// What was acknowledged before the power was cut: counters of numbered things, and names of others.
///
/// A sync that is under way while the file system is shut down may return as if it had been done (ext4 and xfs both look for
/// the end before it, and not behind it), which no real power cut lets anybody see. So nothing counts from that moment on.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pub(crate) is_cut: AtomicBool,
    /// Lines synced one by one.
    pub(crate) lines: AtomicU64,
    /// Lines written and not synced, and how many of them were there when the last sync of another file began.
    pub(crate) loose_written: AtomicU64,
    pub(crate) loose: AtomicU64,
    /// The number in a file that is replaced by a rename.
    pub(crate) replaced: AtomicU64,
    /// Rows of each database, as in [`DATABASES`].
    pub(crate) rows: [AtomicU64; 3],
    /// Snapshots, each with the lines there were before it.
    pub(crate) snapshots: Mutex<Vec<(String, u64)>>,
    /// Forks that were made, then synced by a file of their own.
    pub(crate) forks: Mutex<Vec<String>>,
    pub(crate) commits: Mutex<Vec<String>>,
}

/// A database for each way SQLite has to sync; only with the second are the last rows not promised.
pub(crate) const DATABASES: [&str; 3] = ["full", "normal", "journal"];

const ROWS: &str = "
import sqlite3
modes = {'full': ('wal', 'full'), 'normal': ('wal', 'normal'), 'journal': ('delete', 'extra')}
opened = {}
for name, (journal, synchronous) in modes.items():
    base = sqlite3.connect(name + '.db', isolation_level=None, timeout=60)
    base.execute('pragma journal_mode=' + journal)
    base.execute('pragma synchronous=' + synchronous)
    base.execute('create table if not exists t(n integer primary key, x blob)')
    last = base.execute('select coalesce(max(n), 0) from t').fetchone()[0]
    opened[name] = [base, last]
while True:
    for name, one in opened.items():
        one[1] += 1
        one[0].execute('insert into t values(?, randomblob(700))', (one[1],))
        print(name, one[1], flush=True)
";

/// Bytes of the file of that number.
pub(crate) fn content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + mix(number) as usize % 6000)
}

pub(crate) fn line(number: u64) -> String {
    format!("{number:016}\n")
}

/// Everything at once until each has failed or been told to stop.
pub(crate) fn work(home: &Home, cycle: u64, told: &Acknowledged, stop: &AtomicBool, cut: impl FnOnce()) {
    let ws = &home.at("ws");
    std::thread::scope(|scope| {
        // Whoever does the next thing counts on the last one.
        let goes_on = move || !stop.load(Ordering::Relaxed) && !told.is_cut.load(Ordering::SeqCst);
        // A failure is the end of the power; what was acknowledged before is all that matters.
        scope.spawn(move || while goes_on() && add_line(ws, told).is_ok() {});
        scope.spawn(move || while goes_on() && add_loose(ws, told).is_ok() {});
        scope.spawn(move || while goes_on() && replace(ws, told).is_ok() {});
        scope.spawn(move || while goes_on() && take_snapshot(home, told).is_ok() {});
        scope.spawn(move || {
            let names = (0..).map(|number| format!("fork-{cycle}-{number}"));
            for name in names {
                if !goes_on() || fork(home, name, told).is_err() {
                    break;
                }
            }
        });
        scope.spawn(move || while goes_on() && commit(home, told).is_ok() {});
        let rows = home
            .shell(ws, &format!("exec python3 -c \"{ROWS}\""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut rows = rows.unwrap();
        let said = BufReader::new(rows.stdout.take().unwrap());
        scope.spawn(move || said.split(b'\n').map_while(Result::ok).for_each(|row| told.row(&row)));
        cut();
        rows.wait().unwrap();
    });
}

impl Acknowledged {
    /// Does what notes that something was acknowledged, if it was before the cut.
    fn note(&self, what: impl FnOnce()) {
        if !self.is_cut.load(Ordering::SeqCst) {
            what();
        }
    }

    /// Takes a line of [`ROWS`].
    fn row(&self, line: &[u8]) {
        let Some((name, number)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '))
        else {
            return;
        };
        let which = DATABASES.iter().position(|known| *known == name);
        // The last line may be half of one.
        if let (Some(which), Ok(number)) = (which, number.parse::<u64>()) {
            self.note(|| self.rows[which].store(number, Ordering::SeqCst));
        }
    }
}

fn append(path: &Path, number: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(line(number).as_bytes())?;
    Ok(file)
}

fn add_line(ws: &Path, told: &Acknowledged) -> io::Result<()> {
    let number = told.lines.load(Ordering::Relaxed) + 1;
    let file = append(&ws.join("lines"), number)?;
    // One sync covers the whole workspace: what others wrote before it, too.
    let loose = told.loose_written.load(Ordering::SeqCst);
    file.sync_data()?;
    told.note(|| {
        told.lines.store(number, Ordering::SeqCst);
        told.loose.fetch_max(loose, Ordering::SeqCst);
    });
    Ok(())
}

fn add_loose(ws: &Path, told: &Acknowledged) -> io::Result<()> {
    let number = told.loose_written.load(Ordering::Relaxed) + 1;
    append(&ws.join("loose"), number)?;
    told.loose_written.store(number, Ordering::SeqCst);
    // Slowly, or there is more of it than of anything else.
    std::thread::sleep(std::time::Duration::from_micros(300));
    Ok(())
}

fn replace(ws: &Path, told: &Acknowledged) -> io::Result<()> {
    let number = told.replaced.load(Ordering::Relaxed) + 1;
    let (new, name) = (ws.join("replaced.new"), ws.join("replaced"));
    let mut file = File::create(&new)?;
    file.write_all(&content(number))?;
    file.sync_all()?;
    fs::rename(new, name)?;
    File::open(ws)?.sync_all()?;
    told.note(|| told.replaced.store(number, Ordering::SeqCst));
    Ok(())
}

fn take_snapshot(home: &Home, told: &Acknowledged) -> Result<(), ()> {
    let lines = told.lines.load(Ordering::SeqCst);
    let said = home.weald(&["snapshot", "ws"]);
    if said.code != 0 {
        return Err(());
    }
    told.note(|| told.snapshots.lock().unwrap().push((said.out.trim_end().to_owned(), lines)));
    Ok(())
}

fn fork(home: &Home, name: String, told: &Acknowledged) -> Result<(), ()> {
    let path: PathBuf = home.at(&name).join("mark");
    if home.weald(&["fork", "ws", &name]).code != 0 {
        return Err(());
    }
    let mut file = File::create(path).map_err(drop)?;
    file.write_all(name.as_bytes()).and_then(|()| file.sync_all()).map_err(drop)?;
    told.note(|| told.forks.lock().unwrap().push(name));
    Ok(())
}

fn commit(home: &Home, told: &Acknowledged) -> Result<(), ()> {
    let said = home
        .run(&home.at("ws"), "git -c core.fsync=all commit -q --allow-empty -m work && git rev-parse HEAD");
    if said.code != 0 {
        return Err(());
    }
    told.note(|| told.commits.lock().unwrap().push(said.out.trim_end().to_owned()));
    Ok(())
}
