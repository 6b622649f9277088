//! SQLite under stress: several programs write and read one database, some are killed, and the daemon is, too.
//!
//! Invariant of the test: money moves between accounts, one transaction each, and is never made or lost; what a program said
//! it committed is there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use support::Home;
use weald_testkit::clock::mix;

/// Transactions of a short run, of all writers together.
const TRANSACTIONS: u64 = 360;

const WRITERS: u64 = 3;

/// Moves money, remembers that it did, and says so once it is committed.
const WRITER: &str = r"
import random, sqlite3, sys, time
path, writer, first, last, seed = sys.argv[1], *map(int, sys.argv[2:6])
db = sqlite3.connect(path, timeout=120, isolation_level=None)
db.execute('PRAGMA synchronous=' + sys.argv[6])
dice = random.Random(seed * 1000003 + first)
for number in range(first, last):
    db.execute('BEGIN IMMEDIATE')
    one, other = dice.sample(range(50), 2)
    amount = dice.randrange(1000)
    db.execute('UPDATE account SET amount = amount - ? WHERE id = ?', (amount, one))
    db.execute('UPDATE account SET amount = amount + ? WHERE id = ?', (amount, other))
    db.execute('INSERT OR REPLACE INTO done VALUES (?, ?, ?)', (writer, number, dice.randbytes(dice.randrange(6000))))
    if dice.randrange(10) == 0:
        db.execute('DELETE FROM done WHERE writer = ? AND number < ?', (writer, number - 20))
    db.execute('COMMIT')
    print(number, flush=True)
    # SQLite's locks are not fair: who begins anew at once can keep the others out for minutes.
    time.sleep(dice.random() / 200)
";

/// Adds up all accounts again and again until its input ends.
const READER: &str = r"
import select, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=120)
looks = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    total = db.execute('SELECT sum(amount), count(*) FROM account').fetchone()
    assert total == (0, 50), total
    looks += 1
assert looks > 0
";

struct Database<'a> {
    home: &'a Home,
    path: PathBuf,
    synchronous: &'static str,
}

impl Database<'_> {
    fn sql(&self, text: &str) -> String {
        let out = Command::new("sqlite3")
            .args(["-cmd", ".timeout 60000"])
            .arg(&self.path)
            .arg(text)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }

    fn python(&self, script: &str, arguments: &[String]) -> Child {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&self.path).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a writer to its end, which is killed now and then and goes on behind what it said it committed.
    fn write(&self, writer: u64, transactions: u64, seed: u64) {
        let mut first = 0;
        let mut life = 0;
        while first < transactions {
            life += 1;
            let numbers = [writer, first, transactions, seed + life].map(|number| number.to_string());
            let mut child = self.python(WRITER, &[&numbers[..], &[self.synchronous.to_owned()]].concat());
            // The last life is left to end by itself.
            let patience = if life <= 3 { 5 + mix(seed + writer * 100 + life) % 30 } else { u64::MAX };
            let mut committed = 0;
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                first = line.unwrap().parse::<u64>().unwrap() + 1;
                committed += 1;
                if committed == patience {
                    child.kill().unwrap();
                }
            }
            let status = child.wait().unwrap();
            assert!(status.success() || committed >= patience, "writer {writer}: {status}");
        }
        let last = self.sql(&format!("SELECT max(number) FROM done WHERE writer = {writer}"));
        assert_eq!(last, (transactions - 1).to_string(), "writer {writer}");
    }

    /// Writers, readers and a daemon that is killed, all at once.
    fn stress(&self, transactions: u64, seed: u64) {
        let mut readers: Vec<Child> = (0..2).map(|_| self.python(READER, &[])).collect();
        let at_work = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let alive = self.path.with_file_name("alive");
                while at_work.load(Ordering::Relaxed) {
                    // Returns once the next daemon serves; killed before that, none ever would on a busy machine.
                    std::fs::write(&alive, "").unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(700));
                    self.home.signal_daemon(Signal::KILL);
                }
            });
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| scope.spawn(move || self.write(writer, transactions / WRITERS, seed)))
                .collect();
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join().is_ok()).collect();
            at_work.store(false, Ordering::Relaxed);
            assert_eq!(ended, [true; WRITERS as usize]);
        });
        for reader in &mut readers {
            drop(reader.stdin.take());
            assert!(reader.wait().unwrap().success(), "a reader saw money made or lost");
        }
        assert_eq!(self.sql("PRAGMA integrity_check; SELECT sum(amount), count(*) FROM account"), "ok\n0|50");
    }
}

fn database<'a>(home: &'a Home, mode: &str, synchronous: &'static str) -> Database<'a> {
    std::fs::create_dir_all(home.path().join("user/empty")).unwrap();
    home.weald(&["create", "user/empty", "ws"]).ok();
    let database = Database { home, path: home.at("ws").join("base.db"), synchronous };
    let made = database.sql(&format!(
        "PRAGMA journal_mode={mode}; CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER); \
         CREATE TABLE done(writer, number, filler, PRIMARY KEY(writer, number)); \
         WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n+1 FROM c WHERE n<49) INSERT INTO account SELECT n, 0 FROM c;"
    ));
    assert_eq!(made, mode);
    database
}

/// Runs it, then looks at it once more from a daemon that has read everything from the disk, and in a fork.
fn survives(mode: &str, synchronous: &'static str) {
    let (seed, transactions) = (weald_testkit::seed(1), weald_testkit::operations(TRANSACTIONS));
    let home = Home::new();
    let mut database = database(&home, mode, synchronous);
    database.stress(transactions, seed);
    home.weald(&["fork", "ws", "fork"]).ok();
    home.crash();
    home.weald(&["status"]).ok();
    for workspace in ["ws", "fork"] {
        database.path = home.at(workspace).join(Path::new("base.db"));
        assert_eq!(database.sql("PRAGMA integrity_check; SELECT sum(amount) FROM account"), "ok\n0");
    }
    println!("torture: transactions={transactions}");
}

#[test]
fn a_database_with_a_rollback_journal_survives_programs_and_daemons_that_are_killed() {
    survives("delete", "FULL");
}

#[test]
fn a_database_with_a_write_ahead_log_survives_programs_and_daemons_that_are_killed() {
    survives("wal", "NORMAL");
}
