//! The log as people read it, on the engine alone: paths at the moment of each record, authors, going on.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use weald_engine::audit::Logged;
use weald_engine::{Base, RenameMode, Shared, Workspace};
use weald_model::{Caller, FileKind, Ino, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::Disk;
use weald_store::log::Logs;
use weald_testkit::clock::FakeClock;
use weald_testkit::crash_disk::CrashDisk;
use weald_testkit::programs::ToldPrograms;

const WHO: Caller = Caller { uid: 7, gid: 7, pid: 40, umask: 0, kill_privileges: false, request: 0 };

fn workspace() -> (Arc<Shared>, Arc<Workspace>, Arc<ToldPrograms>) {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::default());
    for dir in ["/home", "/home/logs", "/home/cas", "/home/chunks"] {
        disk.make_dir(Path::new(dir)).unwrap();
    }
    let logs = Logs::new(disk.clone(), "/home/logs".into());
    let cas = Cas::new(disk.clone(), "/home/cas".into());
    let chunks = Arc::new(Chunks::new(disk.clone(), "/home/chunks".into()));
    let shared = Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 1 << 20);
    let programs = Arc::new(ToldPrograms::default());
    programs.tell(40, 39, "first");
    shared.set_programs(programs.clone());
    let base = Base::empty(7, 7, Timestamp::from_secs(1));
    let made = Workspace::create(shared.clone(), WorkspaceId(1), base, b"").unwrap();
    (shared, made, programs)
}

fn lines(workspace: &Workspace, after: u64) -> Vec<Logged> {
    let mut lines = Vec::new();
    let mut each = |logged| {
        lines.push(logged);
        true
    };
    workspace.records(after, &mut each).unwrap();
    lines
}

fn told(lines: &[Logged]) -> Vec<String> {
    let text = |path: &Option<Vec<u8>>| path.as_ref().map(|path| String::from_utf8_lossy(path).into_owned());
    let one = |line: &Logged| {
        let paths = [text(&line.path), text(&line.to)].into_iter().flatten().collect::<Vec<_>>();
        format!("{} {}", line.operation, paths.join(" "))
    };
    lines.iter().map(one).collect()
}

fn make(workspace: &Workspace, parent: Ino, name: &[u8], kind: FileKind) -> Ino {
    workspace.make_node(&WHO, parent, name, kind, 0o755, 0).unwrap().ino
}

#[test]
fn a_path_is_the_one_at_the_moment_of_the_record_from_wherever_reading_begins() {
    let (_, workspace, _) = workspace();
    let dir = make(&workspace, Ino::ROOT, b"dir", FileKind::Dir);
    let file = make(&workspace, dir, b"file", FileKind::File);
    workspace.write(&WHO, file, 0, b"1").unwrap();
    workspace.link(&WHO, file, Ino::ROOT, b"hard").unwrap();
    workspace.write(&WHO, file, 1, b"2").unwrap();
    workspace.unlink(&WHO, Ino::ROOT, b"hard").unwrap();
    workspace.write(&WHO, file, 2, b"3").unwrap();
    workspace.rename(&WHO, Ino::ROOT, b"dir", Ino::ROOT, b"moved", RenameMode::Replace).unwrap();
    workspace.write(&WHO, file, 3, b"4").unwrap();
    let other = make(&workspace, Ino::ROOT, b"other", FileKind::File);
    workspace.rename(&WHO, dir, b"file", Ino::ROOT, b"other", RenameMode::Exchange).unwrap();
    workspace.write(&WHO, file, 4, b"5").unwrap();
    workspace.write(&WHO, other, 0, b"6").unwrap();
    workspace.unlink(&WHO, dir, b"file").unwrap();
    workspace.write(&WHO, other, 1, b"7").unwrap();
    workspace.purge_orphans().unwrap();
    let all = lines(&workspace, 0);
    let expected = [
        "begin ",
        "mkdir dir",
        "create dir/file",
        "write dir/file",
        "link dir/file hard",
        "write hard",
        "unlink hard",
        "write dir/file",
        "rename dir moved",
        "write moved/file",
        "create other",
        "exchange moved/file other",
        "write other",
        "write moved/file",
        "unlink moved/file",
        "write moved/file",
    ];
    assert_eq!(told(&all), expected);
    assert!(all[1..].iter().all(|line| (line.pid, line.uid) == (39, 7)));
    assert!(all[1..].iter().all(|line| line.program.unwrap().as_bytes() == b"first"));
    // Behind the removal of its last name, nobody knows it any more but who read that.
    for start in &all[..all.len() - 2] {
        let rest: Vec<Logged> = all.iter().filter(|line| line.seq > start.seq).cloned().collect();
        let read = lines(&workspace, start.seq);
        // A link counts like any other name once nobody tells which came first.
        let same = |a: &Logged, b: &Logged| a.seq == b.seq && a.program == b.program && a.time == b.time;
        assert!(read.len() == rest.len() && read.iter().zip(&rest).all(|(a, b)| same(a, b)));
        let last = told(&read).pop().unwrap();
        assert_eq!(Some(last), told(&rest).pop(), "from {}", start.seq);
    }
}

#[test]
fn a_program_that_is_new_is_told_and_numbers_survive_opening_again() {
    let (shared, workspace, programs) = workspace();
    for round in 0..3 {
        programs.tell(40, 39, &format!("round-{round}"));
        make(&workspace, Ino::ROOT, format!("{round}").as_bytes(), FileKind::File);
    }
    let records = workspace.summary().records;
    drop(workspace);
    let base = Base::empty(7, 7, Timestamp::from_secs(1));
    let workspace = Workspace::open(shared, WorkspaceId(1), base).unwrap();
    make(&workspace, Ino::ROOT, b"again", FileKind::File);
    assert_eq!(workspace.summary().records, records + 1, "a name is defined once");
    let names: Vec<String> = lines(&workspace, 0)
        .iter()
        .filter_map(|line| Some(String::from_utf8(line.program?.as_bytes().to_vec()).unwrap()))
        .collect();
    assert_eq!(names, ["round-0", "round-1", "round-2", "round-2"]);
}

#[test]
fn a_journal_goes_on_where_it_stopped_and_who_waits_is_woken() {
    let (_, workspace, _) = workspace();
    let mut journal = workspace.journal(0).unwrap();
    let mut seen = Vec::new();
    workspace
        .read_journal(&mut journal, &mut |line| {
            seen.push(line.seq);
            true
        })
        .unwrap();
    assert!(!workspace.wait_for_record(journal.seq(), Duration::ZERO));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| workspace.wait_for_record(journal.seq(), Duration::from_secs(20)));
        make(&workspace, Ino::ROOT, b"a", FileKind::File);
        assert!(waiting.join().unwrap());
    });
    make(&workspace, Ino::ROOT, b"b", FileKind::File);
    let mut one = |line: Logged| {
        seen.push(line.seq);
        false
    };
    workspace.read_journal(&mut journal, &mut one).unwrap();
    workspace.read_journal(&mut journal, &mut one).unwrap();
    workspace.read_journal(&mut journal, &mut |_| panic!("there is no more")).unwrap();
    assert_eq!(seen, lines(&workspace, 0).iter().map(|line| line.seq).collect::<Vec<_>>());
}
