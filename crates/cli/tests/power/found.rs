//! What is found when the power is back: everything that was acknowledged, whole, in order, with nothing to be repaired.
//!
//! Whatever is wrong is returned as text, since with a daemon that does not sync it is what the test is looking for.

use crate::support::Home;
use crate::work::{Acknowledged, DATABASES, LINE_BYTES, content, line};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

type Checked = Result<(), String>;

const CHECK_ROWS: &str = "
import sqlite3, sys
for name in sys.argv[1:]:
    base = sqlite3.connect(name + '.db', isolation_level=None, timeout=60)
    try:
        whole = base.execute('pragma integrity_check').fetchone()[0]
        print(whole.replace(' ', '_'), *base.execute('select count(*), coalesce(max(n), 0) from t').fetchone())
    except sqlite3.Error as error:
        print(str(error).replace(' ', '_'), 0, 0)
";

/// Looks at everything, and has the counters go on from what is there.
pub(crate) fn check(home: &Home, cycle: u64, told: &Acknowledged) -> Checked {
    let rows = json(home, &["list", "--json"])?;
    let rows = rows.as_array().ok_or("no list")?;
    if let Some(row) = rows.iter().find(|row| row["status"] != "mounted") {
        return Err(format!("not mounted: {row}"));
    }
    check_files(&home.at("ws"), told)?;
    check_databases(home, told)?;
    // What takes long is done now and then; what is wrong by then stays so.
    let is_thorough = cycle % 4 == 3;
    check_commits(home, told, is_thorough)?;
    check_forks(home, rows, told)?;
    check_snapshots(home, told, is_thorough.then_some(cycle))?;
    if !is_thorough {
        return Ok(());
    }
    let verified = json(home, &["verify", "--all", "--json"])?;
    if verified["ok"] != true {
        return Err(format!("verify: {verified}"));
    }
    let doctor = json(home, &["doctor", "--json"])?;
    let findings = doctor["findings"].as_array().ok_or("no findings")?;
    match findings.iter().find(|finding| finding["severity"] == "error") {
        Some(finding) => Err(format!("doctor: {finding}")),
        None => Ok(()),
    }
}

fn json(home: &Home, words: &[&str]) -> Result<Value, String> {
    let said = home.weald(words);
    // `verify` and `doctor` say no when they found something, and then what.
    if said.code != 0 && !["verify", "doctor"].contains(&words[0]) {
        return Err(format!("{words:?}: {said:?}"));
    }
    serde_json::from_str(&said.out).map_err(|error| format!("{words:?}: {error}: {said:?}"))
}

/// Compares a number with what was promised, and goes on from it.
fn at_least(what: &str, promised: &AtomicU64, found: u64) -> Checked {
    let least = promised.swap(found, Ordering::Relaxed);
    if found < least { Err(format!("{what}: {found} are there, {least} were acknowledged")) } else { Ok(()) }
}

fn check_files(ws: &Path, told: &Acknowledged) -> Checked {
    let lines = count_lines(&ws.join("lines"))?;
    at_least("synced lines", &told.lines, lines)?;
    let loose = count_lines(&ws.join("loose"))?;
    for (name, count) in [("lines", lines), ("loose", loose)] {
        // What was never there yet is not made.
        let file = std::fs::OpenOptions::new().write(true).open(ws.join(name));
        let cut = file.map_or(Ok(()), |file| file.set_len(count * LINE_BYTES as u64));
        cut.map_err(|error| format!("cutting half a line off {name}: {error}"))?;
    }
    at_least("lines written before a sync of another file", &told.loose, loose)?;
    told.loose_written.store(loose, Ordering::Relaxed);
    let replaced = std::fs::read(ws.join("replaced")).unwrap_or_default();
    let number = replaced.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if number != 0 && replaced != content(number) {
        return Err(format!("the replaced file is not whole: number {number}, {} bytes", replaced.len()));
    }
    at_least("the replaced file", &told.replaced, number)
}

/// Lines of a file that has all from the first on, and perhaps half of the next: the kernel may ask for a write in two
/// parts, at the end of a page.
fn count_lines(path: &Path) -> Result<u64, String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    for (number, found) in (1..).zip(bytes.chunks(LINE_BYTES)) {
        let is_half = number * LINE_BYTES as u64 > bytes.len() as u64;
        if found != line(number).as_bytes() && !(is_half && line(number).as_bytes().starts_with(found)) {
            return Err(format!("line {number} of {} is {found:?}", path.display()));
        }
    }
    Ok((bytes.len() / LINE_BYTES) as u64)
}

fn check_databases(home: &Home, told: &Acknowledged) -> Checked {
    let ws = home.at("ws");
    let there: Vec<usize> =
        (0..DATABASES.len()).filter(|which| told.rows[*which].load(Ordering::Relaxed) > 0).collect();
    let names: Vec<&str> = there.iter().map(|which| DATABASES[*which]).collect();
    let said = home.run(&ws, &format!("python3 -c \"{CHECK_ROWS}\" {}", names.join(" ")));
    for (which, line) in there.iter().zip(said.out.lines()) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        if words[0] != "ok" || number(1) != number(2) {
            return Err(format!("database {}: {line}", DATABASES[*which]));
        }
        // With synchronous=NORMAL the last rows are not promised.
        let promised = if DATABASES[*which] == "normal" { &AtomicU64::new(0) } else { &told.rows[*which] };
        at_least(DATABASES[*which], promised, number(1))?;
    }
    if said.out.lines().count() == there.len() { Ok(()) } else { Err(format!("databases: {said:?}")) }
}

fn check_commits(home: &Home, told: &Acknowledged, is_thorough: bool) -> Checked {
    // Locks of a git that was cut off stay, as on any file system.
    let fsck = if is_thorough { "git fsck --strict >&2" } else { "" };
    let script = format!("find .git -name '*.lock' -delete; {fsck}\n git log --format=%H");
    let said = home.run(&home.at("ws"), &script);
    if said.code != 0 {
        return Err(format!("git: {said:?}"));
    }
    let commits = told.commits.lock().unwrap();
    match commits.iter().position(|commit| !said.out.contains(commit)) {
        Some(at) => {
            let script = format!(
                "git cat-file -t {}; tail -3 .git/logs/HEAD; cat .git/HEAD; git rev-parse HEAD",
                commits[at]
            );
            let seen = home.run(&home.at("ws"), &script);
            Err(format!("commit {at} of {} is gone: {commits:?}: {seen:?}", commits.len()))
        }
        None => Ok(()),
    }
}

fn check_forks(home: &Home, rows: &[Value], told: &Acknowledged) -> Checked {
    for name in told.forks.lock().unwrap().drain(..) {
        let mark = std::fs::read_to_string(home.at(&name).join("mark")).unwrap_or_default();
        if mark != name {
            return Err(format!("fork {name} has {mark:?}"));
        }
        count_lines(&home.at(&name).join("lines"))?;
    }
    let forks = rows.iter().filter_map(|row| row["name"].as_str()).filter(|name| *name != "ws");
    for name in forks {
        json(home, &["remove", name, "--force", "--json"])?;
    }
    json(home, &["trash", "empty", "--json"]).map(drop)
}

/// All are listed, and one of them can be had as a workspace of its own.
fn check_snapshots(home: &Home, told: &Acknowledged, choice: Option<u64>) -> Checked {
    let listed = json(home, &["history", "ws", "--json"])?;
    let listed: Vec<&str> =
        listed.as_array().ok_or("no history")?.iter().filter_map(|one| one["id"].as_str()).collect();
    let snapshots = told.snapshots.lock().unwrap();
    if let Some((lost, _)) = snapshots.iter().find(|(id, _)| !listed.contains(&id.as_str())) {
        return Err(format!("snapshot {lost} is gone"));
    }
    let chosen = choice.and_then(|number| snapshots.get(number as usize * 7 % snapshots.len().max(1)));
    let Some((id, lines)) = chosen else { return Ok(()) };
    json(home, &["fork", &format!("ws@{id}"), "look", "--json"])?;
    let found = count_lines(&home.at("look").join("lines"))?;
    if found < *lines {
        return Err(format!("snapshot {id} has {found} lines of {lines}"));
    }
    Ok(())
}
