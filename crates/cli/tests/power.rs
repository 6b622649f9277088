//! The power is cut, for real: the file system below a home is shut down under load, and what the device has by then is all
//! that is found. What was acknowledged is there, and nothing has to be repaired.
//!
//! `WEALD_CYCLES` is the number of cuts, `WEALD_SEED` where they fall, `WEALD_DISK` the file system: `ext4` or `xfs`.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

mod support;

#[path = "power/found.rs"]
mod found;
#[path = "power/work.rs"]
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::Home;
use support::disk::Disk;
use weald_testkit::clock::mix;
use work::Acknowledged;

/// Cuts of one home, which has more to lose each time, and more to read.
const CYCLES_OF_A_HOME: u64 = 12;

/// Ends every sync of what it starts before anything is done, and says that it was (seccomp(2)): fsync, fdatasync,
/// sync_file_range, sync, syncfs.
const WITHOUT_SYNC: &str = "
import ctypes, os, platform, struct, sys
numbers = {'x86_64': (74, 75, 277, 162, 306), 'aarch64': (82, 83, 84, 81, 267)}[platform.machine()]
step = lambda code, yes, no, value: struct.pack('HBBI', code, yes, no, value)
filter = step(0x20, 0, 0, 0)
for at, number in enumerate(numbers):
    filter += step(0x15, len(numbers) - at, 0, number)
filter += step(0x06, 0, 0, 0x7fff0000) + step(0x06, 0, 0, 0x00050000)
kept = ctypes.create_string_buffer(filter)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(filter) // 8, ctypes.addressof(kept)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    raise OSError(ctypes.get_errno(), 'no filter')
os.execv(sys.argv[1], sys.argv[1:])
";

/// Whether the daemon's syncs do what they say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syncs {
    Kept,
    Dropped,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

struct Cuts {
    // Dropped first: it unmounts the disk.
    home: Home,
    disk: Disk,
    syncs: Syncs,
    told: Acknowledged,
}

impl Cuts {
    fn new(syncs: Syncs) -> Self {
        let home = Home::new();
        let kind = std::env::var("WEALD_DISK").unwrap_or("ext4".to_owned());
        let disk = Disk::below(&home, &kind, 1024);
        let cuts = Self { home, disk, syncs, told: Acknowledged::default() };
        cuts.start();
        let repo = cuts.home.repo("tool");
        cuts.home.weald(&["create", repo.to_str().unwrap(), "ws"]).ok();
        if syncs == Syncs::Dropped {
            // What is lost is to be what was acknowledged since, and not everything.
            cuts.disk.sync();
        }
        cuts
    }

    /// The first command starts the daemon.
    fn start(&self) {
        if self.syncs == Syncs::Dropped {
            let mut python = std::process::Command::new("python3");
            let weald = self.home.command();
            python.envs(weald.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let said =
                python.args(["-c", WITHOUT_SYNC]).arg(weald.get_program()).arg("status").output().unwrap();
            assert!(said.status.success(), "{said:?}");
        }
    }

    /// Works, cuts the power, and looks at what is left.
    fn cycle(&self, cycle: u64, luck: u64) -> Result<(), String> {
        let stop = AtomicBool::new(false);
        let processes = self.home.processes();
        work::work(&self.home, cycle, &self.told, &stop, || {
            std::thread::sleep(Duration::from_millis(20 + luck % 280));
            self.told.is_cut.store(true, Ordering::SeqCst);
            self.disk.cut(self.syncs == Syncs::Kept && luck.is_multiple_of(3));
            // Those at work meet the disk that is gone; some of them.
            std::thread::sleep(Duration::from_millis(mix(luck) % 10));
            // Whoever asks for a daemon from here on would start one.
            stop.store(true, Ordering::Relaxed);
            self.home.kill(processes);
        });
        // No mount outlives the power.
        for mount in self.home.mounts().iter().filter(|mount| mount.starts_with(self.home.path().join("mnt")))
        {
            rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
        self.disk.power_on();
        self.told.is_cut.store(false, Ordering::SeqCst);
        self.start();
        found::check(&self.home, cycle, &self.told)
    }
}

#[test]
fn what_was_acknowledged_is_there_after_every_power_cut() {
    let (cycles, seed) = (number("WEALD_CYCLES", 60), number("WEALD_SEED", std::process::id().into()));
    let mut cuts = None;
    for cycle in 0..cycles {
        if cycle % CYCLES_OF_A_HOME == 0 {
            // One home at a time.
            drop(cuts.take());
        }
        let cuts = cuts.get_or_insert_with(|| Cuts::new(Syncs::Kept));
        if let Err(why) = cuts.cycle(cycle, mix(seed ^ mix(cycle))) {
            panic!("cut {cycle} with WEALD_SEED={seed}: {why}");
        }
    }
    println!("torture: cycles={cycles}");
}

/// Shows that the test above can see what is lost.
#[test]
fn without_syncs_the_same_power_cuts_lose_what_was_acknowledged() {
    let seed = number("WEALD_SEED", std::process::id().into());
    let cuts = Cuts::new(Syncs::Dropped);
    let lost = (0..10).find_map(|cycle| cuts.cycle(cycle, mix(seed ^ mix(cycle))).err());
    assert!(lost.is_some(), "ten power cuts took nothing from a daemon that never syncs");
}
