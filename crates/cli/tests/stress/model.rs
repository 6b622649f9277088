//! What a workspace under stress should hold, and what is done to it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weald_testkit::clock::mix;

/// Directories whose content is known to the byte.
const LANES: [&str; 3] = ["one", "two", "three"];
/// Names in each of them.
const NAMES: u64 = 8;
/// Largest file in bytes: some are inline, most are not.
const BYTES_MAX: u64 = 24 << 10;
/// Files of the directory that everybody writes to at once.
const NOISE_FILES: u64 = 6;
const NOISE_BLOCKS: u64 = 8;
const BLOCK: usize = 4096;

/// Numbers that a seed gives, for one thread.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, thread: u64) -> Self {
        Self(mix(seed ^ thread << 40))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % end
    }
}

/// Files by path, all below [`LANES`]. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Arc<Vec<u8>>>);

/// What was read and compared.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) operations: AtomicU64,
    pub(crate) bytes_compared: AtomicU64,
}

impl Counts {
    pub(crate) fn done(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes what each workspace begins with.
pub(crate) fn prepare(dir: &Path) -> io::Result<()> {
    LANES.iter().try_for_each(|lane| fs::create_dir(dir.join(lane)))?;
    fs::create_dir(dir.join("noise"))?;
    fs::write(dir.join(".gitignore"), "noise/\n")
}

fn bytes(dice: &mut Dice) -> Vec<u8> {
    let (start, len) = (dice.below(u64::MAX), dice.below(BYTES_MAX));
    (0..len.div_ceil(8)).flat_map(|at| mix(start ^ at).to_le_bytes()).take(len as usize).collect()
}

impl Tree {
    /// One change, or one look, of files in lanes.
    pub(crate) fn act(&mut self, dir: &Path, dice: &mut Dice, counts: &Counts) -> io::Result<()> {
        let what = dice.below(10);
        let done = self.act_on(dir, what, dice, counts);
        done.map_err(|error| io::Error::other(format!("act {what} in {}: {error}", dir.display())))
    }

    fn act_on(&mut self, dir: &Path, what: u64, dice: &mut Dice, counts: &Counts) -> io::Result<()> {
        let path = format!("{}/{}", LANES[dice.below(3) as usize], dice.below(NAMES));
        let file = dir.join(&path);
        let known = self.0.get(&path).cloned();
        match (what, known) {
            (0..=1, _) => {
                let new = bytes(dice);
                fs::write(&file, &new)?;
                self.0.insert(path, Arc::new(new));
            }
            (2..=3, Some(old)) => {
                let (new, at) = (bytes(dice), dice.below(BYTES_MAX));
                let mut whole = Vec::clone(&old);
                whole.resize(whole.len().max(at as usize + new.len()), 0);
                whole[at as usize..at as usize + new.len()].copy_from_slice(&new);
                // Nothing written makes no file longer.
                whole.truncate(if new.is_empty() { old.len() } else { whole.len() });
                fs::OpenOptions::new().write(true).open(&file)?.write_all_at(&new, at)?;
                self.0.insert(path, Arc::new(whole));
            }
            (4, Some(_)) => {
                fs::remove_file(&file)?;
                self.0.remove(&path);
            }
            (5, Some(old)) => {
                let to = format!("{}/{}", LANES[dice.below(3) as usize], dice.below(NAMES));
                fs::rename(&file, dir.join(&to))?;
                self.0.remove(&path);
                self.0.insert(to, old);
            }
            (6, Some(old)) => {
                let len = dice.below(old.len() as u64 + 1);
                fs::OpenOptions::new().write(true).open(&file)?.set_len(len)?;
                self.0.insert(path, Arc::new(old[..len as usize].to_vec()));
            }
            (_, Some(old)) => {
                assert!(fs::read(&file)? == *old, "{} has other bytes", file.display());
                counts.bytes_compared.fetch_add(old.len() as u64, Ordering::Relaxed);
            }
            (_, None) => assert!(!file.exists(), "{} is there", file.display()),
        }
        counts.done();
        Ok(())
    }

    /// Everything, byte for byte.
    pub(crate) fn compare(&self, dir: &Path, counts: &Counts) -> io::Result<()> {
        for lane in LANES {
            let mut names: Vec<String> = fs::read_dir(dir.join(lane))?
                .map(|entry| {
                    Ok(format!("{lane}/{}", entry?.file_name().into_string().expect("a plain name")))
                })
                .collect::<io::Result<_>>()?;
            names.sort();
            let known = self.0.keys().filter(|path| path.starts_with(&format!("{lane}/")));
            assert!(
                names.iter().eq(known),
                "{}/{lane} has {names:?}, not {:?}",
                dir.display(),
                self.0.keys()
            );
        }
        for (path, content) in &self.0 {
            assert!(fs::read(dir.join(path))? == **content, "{}/{path} has other bytes", dir.display());
            counts.bytes_compared.fetch_add(content.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Writes or reads blocks that say themselves which they are, in files that anybody writes to at any time, while the
/// workspace is forked, restored or removed. An error of the system is no finding: the workspace may be gone.
pub(crate) fn noise(dir: &Path, dice: &mut Dice, counts: &Counts) -> io::Result<()> {
    let (number, block) = (dice.below(NOISE_FILES), dice.below(NOISE_BLOCKS));
    let path = dir.join("noise").join(number.to_string());
    if dice.below(2) == 0 {
        let word = (number << 32 | block).to_le_bytes();
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        file.write_all_at(&word.repeat(BLOCK / 8), block * BLOCK as u64)?;
    } else {
        let content = fs::read(&path)?;
        for (block, bytes) in content.chunks_exact(BLOCK).enumerate() {
            let word = (number << 32 | block as u64).to_le_bytes();
            let is_right = |chunk: &[u8]| chunk == word || chunk == [0; 8];
            assert!(bytes.chunks_exact(8).all(is_right), "block {block} of {} is another's", path.display());
        }
        counts.bytes_compared.fetch_add(content.len() as u64, Ordering::Relaxed);
    }
    counts.done();
    Ok(())
}
