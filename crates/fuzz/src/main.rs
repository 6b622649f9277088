//! The program for long runs: libFuzzer's own `main`, on the target that `WEALD_TARGET` names.
//!
//! Its arguments are libFuzzer's: `WEALD_TARGET=record weald-fuzz -runs=1000000 inputs/record/`.
//! With `WEALD_SEEDS` set to a directory it writes the inputs that each target begins with there, and ends; with `WEALD_KEEP` it
//! keeps the inputs that are in such a directory (libFuzzer's `-merge=1` finds the few that are enough), and ends.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use weald_fuzz::{TARGETS, Target, corpus, find};

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(dir) = std::env::var_os("WEALD_SEEDS") {
            write_seeds(Path::new(&dir)).expect("the inputs can be written");
            std::process::exit(0);
        }
        if let Some(dir) = std::env::var_os("WEALD_KEEP") {
            keep(Path::new(&dir)).expect("the inputs can be kept");
            std::process::exit(0);
        }
        let name = std::env::var("WEALD_TARGET").unwrap_or_default();
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        let target = find(&name).unwrap_or_else(|| panic!("WEALD_TARGET is one of: {}", names.join(" ")));
        CHOSEN.get_or_init(|| target);
    },
    |bytes: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(bytes);
        }
    }
);

fn write_seeds(dir: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir)?;
        let kept = corpus::read(target.name).unwrap_or_default();
        for (number, input) in (target.seeds)().iter().chain(&kept).enumerate() {
            std::fs::write(dir.join(format!("input-{number}")), input)?;
        }
    }
    Ok(())
}

fn keep(dir: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let mut inputs = Vec::new();
        let Ok(entries) = std::fs::read_dir(dir.join(target.name)) else { continue };
        for entry in entries {
            inputs.push(std::fs::read(entry?.path())?);
        }
        corpus::write(target.name, &inputs)?;
    }
    Ok(())
}
