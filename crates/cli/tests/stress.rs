//! A hundred workspaces at once: written, forked, snapshotted, restored, removed, brought back, committed in with git,
//! while gc never rests. Every read is compared with what should be there.
//!
//! `WEALD_SECONDS` is how long, `WEALD_WORKSPACES` how many, `WEALD_SEED` what is done. What the daemon takes at the start,
//! in the middle and at the end is printed. Long: `cargo xtask torture stress`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "stress/model.rs"]
mod model;
mod support;

use model::{Counts, Dice, Tree};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};
use support::Home;

const WORKERS: u64 = 6;
const NOISE_MAKERS: u64 = 2;
/// Snapshots that are gone back to, for each workspace.
const SNAPSHOTS_MAX: usize = 3;
/// Somebody gets on within this time, or there is a deadlock.
const PATIENCE: Duration = Duration::from_secs(120);

/// A workspace and what it should hold.
struct Stem {
    name: String,
    /// None once it was removed.
    held: Mutex<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    tree: Tree,
    snapshots: Vec<(String, Tree)>,
}

struct World {
    home: Home,
    stems: RwLock<Vec<Arc<Stem>>>,
    most: usize,
    next: AtomicU64,
    counts: Counts,
    stop: AtomicBool,
}

/// What the daemon takes.
#[derive(Clone, Copy, Debug)]
struct Taken {
    rss_kib: u64,
    descriptors: u64,
    threads: u64,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

impl World {
    fn at(&self, stem: &Stem) -> PathBuf {
        self.home.at(&stem.name)
    }

    fn any(&self, dice: &mut Dice) -> Arc<Stem> {
        let stems = self.stems.read().unwrap();
        stems[dice.below(stems.len() as u64) as usize].clone()
    }

    fn add(&self, name: String, held: Held) {
        self.stems.write().unwrap().push(Arc::new(Stem { name, held: Mutex::new(Some(held)) }));
    }

    /// What went wrong, with what the daemon said.
    fn tell(&self, error: &io::Error) -> ! {
        let said = std::fs::read_to_string(self.home.home().join("daemon.log")).unwrap_or_default();
        let crashes = self.home.weald(&["status", "--json"]).json()["crashes"].clone();
        panic!("{error}; {crashes} crashes; the daemon said:\n{said}");
    }

    /// Does one thing with a workspace nobody else is at.
    fn step(&self, dice: &mut Dice) -> io::Result<()> {
        let stem = self.any(dice);
        let Ok(mut slot) = stem.held.try_lock() else { return Ok(()) };
        let Some(held) = slot.as_mut() else { return Ok(()) };
        let dir = self.at(&stem);
        match dice.below(100) {
            0..=1 => self.fork(&stem, held, dice),
            2..=3 => self.snapshot(&stem, held),
            4..=5 => return self.restore(&stem, held, dice),
            6 => self.commit(&stem),
            7 if self.stems.read().unwrap().len() > self.most => return self.remove(&stem, &mut slot, dice),
            8 => return held.tree.compare(&dir, &self.counts),
            _ => return (0..20).try_for_each(|_| held.tree.act(&dir, dice, &self.counts)),
        }
        self.counts.done();
        Ok(())
    }

    fn fork(&self, stem: &Stem, held: &Held, dice: &mut Dice) {
        if self.stems.read().unwrap().len() > self.most + 5 {
            return;
        }
        let name = format!("f{}", self.next.fetch_add(1, Ordering::Relaxed));
        match held.snapshots.get(dice.below(6) as usize) {
            None => drop(self.home.weald(&["fork", &stem.name, &name]).ok()),
            Some((id, tree)) => {
                self.home.weald(&["fork", &format!("{}@{id}", stem.name), &name]).ok();
                return self.add(name, Held { tree: tree.clone(), snapshots: Vec::new() });
            }
        }
        self.add(name, held.clone());
    }

    fn snapshot(&self, stem: &Stem, held: &mut Held) {
        let id = self.home.weald(&["snapshot", &stem.name, "--tag", "stress", "--json"]).json()["id"].clone();
        if held.snapshots.len() == SNAPSHOTS_MAX {
            held.snapshots.remove(0);
        }
        held.snapshots.push((id.as_str().unwrap().to_owned(), held.tree.clone()));
    }

    fn restore(&self, stem: &Stem, held: &mut Held, dice: &mut Dice) -> io::Result<()> {
        if held.snapshots.is_empty() {
            return Ok(());
        }
        let (id, tree) = held.snapshots[dice.below(held.snapshots.len() as u64) as usize].clone();
        self.home.weald(&["restore", &format!("{}@{id}", stem.name)]).ok();
        self.counts.done();
        held.tree = tree;
        held.tree.compare(&self.at(stem), &self.counts)
    }

    /// git sees what is there: after a commit nothing differs, and what it has committed is what it reads.
    fn commit(&self, stem: &Stem) {
        let line = "git add -A && (git diff --cached --quiet || git commit -q -m stress)\n\
                    test -z \"$(git status --porcelain)\" && git diff --quiet HEAD";
        self.home.run(&self.at(stem), line).ok();
    }

    /// To the trash, and perhaps back.
    fn remove(&self, stem: &Stem, slot: &mut Option<Held>, dice: &mut Dice) -> io::Result<()> {
        self.home.weald(&["remove", "--force", &stem.name]).ok();
        self.counts.done();
        if dice.below(3) == 0 {
            let said = self.home.weald(&["trash", "restore", &stem.name]);
            // Whoever empties the trash may have come first.
            if said.code == 0 {
                return slot.as_ref().unwrap().tree.compare(&self.at(stem), &self.counts);
            }
        }
        *slot = None;
        self.stems.write().unwrap().retain(|other| other.name != stem.name);
        Ok(())
    }

    /// Takes away what nobody needs, again and again.
    fn gc(&self, dice: &mut Dice) {
        while !self.stop.load(Ordering::Relaxed) {
            let plan = self.home.weald(&["gc", "plan", "--json"]).json();
            let said = self.home.weald(&["gc", "run", plan["id"].as_str().unwrap()]);
            // Some of it may be needed by now, or an older state was brought back meanwhile: declined, not failed.
            assert!(said.code == 0 || said.code == 1, "{said:?}");
            if dice.below(3) == 0 {
                self.home.weald(&["trash", "empty"]).ok();
            }
            self.counts.done();
        }
    }

    fn taken(&self) -> Taken {
        let proc = PathBuf::from(format!("/proc/{}", self.home.daemon_pid().unwrap()));
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let number = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.trim().split(' ').next().unwrap().parse().unwrap()
        };
        let descriptors = std::fs::read_dir(proc.join("fd")).unwrap().count() as u64;
        Taken { rss_kib: number("VmRSS:"), descriptors, threads: number("Threads:") }
    }

    /// Ends everything when nobody gets on.
    fn watch(&self) {
        let (mut last, mut since) = (0, Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.counts.operations.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                eprintln!("nobody got on for {PATIENCE:?} after {now} operations");
                // Those who wait in the kernel would keep this process; killing what serves them lets them go.
                self.home.crash();
                std::process::abort();
            }
        }
    }
}

/// Tells the others to stop, also after a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn made(most: u64) -> World {
    let home = Home::new();
    let repo = home.repo("source");
    model::prepare(&repo).unwrap();
    home.run(
        &repo,
        "touch one/.keep two/.keep three/.keep noise/.keep && git add -A -f && git commit -q -m lanes && \
                     rm */.keep && git commit -q -a -m empty",
    )
    .ok();
    home.weald(&["create", repo.to_str().unwrap(), "root"]).ok();
    let root = home.at("root");
    for dir in ["one", "two", "three", "noise"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    home.weald(&["fork", "root", "w", "--count", &most.to_string()]).ok();
    home.weald(&["config", "gc.every", "1s"]).ok();
    let world = World {
        home,
        stems: RwLock::default(),
        most: most as usize,
        next: AtomicU64::new(0),
        counts: Counts::default(),
        stop: AtomicBool::new(false),
    };
    for number in 1..=most {
        world.add(format!("w-{number}"), Held { tree: Tree::default(), snapshots: Vec::new() });
    }
    world
}

#[test]
fn a_hundred_workspaces_worked_in_at_once_show_no_wrong_byte_and_take_no_more_with_time() {
    let (seconds, most, seed) =
        (setting("WEALD_SECONDS", 8), setting("WEALD_WORKSPACES", 100), setting("WEALD_SEED", 1));
    let world = made(most);
    let half = Duration::from_secs(seconds) / 2;
    let start = world.taken();
    let (mut middle, mut end) = (start, start);
    std::thread::scope(|scope| {
        let stopping = Stop(&world.stop);
        let world = &world;
        let work = |number| {
            move || {
                let _stopping = Stop(&world.stop);
                let mut dice = Dice::new(seed, number);
                while !world.stop.load(Ordering::Relaxed) {
                    world.step(&mut dice).unwrap_or_else(|error| world.tell(&error));
                }
            }
        };
        let make_noise = |number| {
            move || {
                let mut dice = Dice::new(seed, number);
                while !world.stop.load(Ordering::Relaxed) {
                    let dir = world.at(&world.any(&mut dice));
                    let _ = model::noise(&dir, &mut dice, &world.counts);
                }
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|number| scope.spawn(work(number))).collect();
        let makers: Vec<_> = (0..NOISE_MAKERS).map(|number| scope.spawn(make_noise(100 + number))).collect();
        scope.spawn(|| world.watch());
        let gc = scope.spawn(|| world.gc(&mut Dice::new(seed, 200)));
        wait(world, half);
        middle = world.taken();
        wait(world, half);
        end = world.taken();
        drop(stopping);
        workers.into_iter().chain(makers).for_each(|thread| thread.join().unwrap());
        gc.join().unwrap();
    });
    finish(&world, [start, middle, end], seconds);
}

/// Unless somebody found something before.
fn wait(world: &World, span: Duration) {
    let since = Instant::now();
    while since.elapsed() < span && !world.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn finish(world: &World, [start, middle, end]: [Taken; 3], seconds: u64) {
    let stems = world.stems.read().unwrap().clone();
    for stem in &stems {
        let held = stem.held.lock().unwrap().clone();
        held.unwrap().tree.compare(&world.at(stem), &world.counts).unwrap();
    }
    world.home.weald(&["verify", "--all"]).ok();
    let (operations, bytes) = (&world.counts.operations, &world.counts.bytes_compared);
    println!("{} workspaces; {} bytes compared", stems.len(), bytes.load(Ordering::Relaxed));
    println!("start {start:?}\nmiddle {middle:?}\nend {end:?}");
    println!("torture: seconds={seconds} operations={}", operations.load(Ordering::Relaxed));
    // A workspace takes one for its mount and two for its log; besides there are at most 512 segments that were read, the
    // names of 256 programs, 32 packs, and what those who ask take.
    assert!(end.descriptors < 4 * stems.len() as u64 + 900, "descriptors leak: {end:?}");
    assert!(end.threads < 100, "threads leak: {end:?}");
    assert!(end.rss_kib < middle.rss_kib * 3 / 2 + (64 << 10), "memory grows: {middle:?} {end:?}");
}
