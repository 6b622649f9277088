//! Flame graphs: stacks folded from what `perf script` prints, and drawn.
//!
//! Invariant: a frame is as wide as its share of all samples. What is narrower than the eye sees is left out, so that a picture
//! stays small.

use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const ROW_HEIGHT: f64 = 15.0;
const HEAD_HEIGHT: f64 = 40.0;
/// Smallest share of all samples that is drawn.
const SHARE_MIN: f64 = 0.003;
/// Width of a letter.
const LETTER: f64 = 6.4;

const THREAD: &str = "#d5d8dc";
const KERNEL: &str = "#85c1e9";
const WEALD: &str = "#e59866";
const OTHER: &str = "#f9e79f";

/// A function, or a thread at the bottom of a stack, and all that was found above it.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    samples: u64,
    above: BTreeMap<String, Stacks>,
}

impl Stacks {
    /// Adds what `perf script --fields comm,ip,sym,dso` prints: for each sample the thread, then its frames from the innermost on, then
    /// an empty line. Idle processors are no work.
    pub(super) fn add(&mut self, script: &str) {
        for sample in script.split("\n\n") {
            let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
            let Some(thread) = lines.next().map(str::trim).filter(|thread| !thread.starts_with("swapper"))
            else {
                continue;
            };
            let mut frames: Vec<String> = lines.map(frame).collect();
            frames.push(format!("{}_[t]", thread.trim_end_matches(|c: char| c.is_ascii_digit() || c == '/')));
            self.samples += 1;
            let mut at = &mut *self;
            for name in frames.into_iter().rev() {
                at = at.above.entry(name).or_default();
                at.samples += 1;
            }
        }
    }

    /// Samples in all.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    fn depth(&self, least: u64) -> usize {
        let visible = self.above.values().filter(|stacks| stacks.samples >= least);
        visible.map(|stacks| 1 + stacks.depth(least)).max().unwrap_or(0)
    }

    /// Draws them, the outermost function at the bottom.
    pub(super) fn picture(&self, title: &str) -> String {
        let least = ((self.samples as f64 * SHARE_MIN).ceil() as u64).max(1);
        let height = HEAD_HEIGHT + (self.depth(least) + 1) as f64 * ROW_HEIGHT;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"monospace\" font-size=\"10.5\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"8\" y=\"17\" font-size=\"14\">{}</text>\n<text x=\"8\" y=\"33\">",
            escaped(title)
        );
        for (colour, what) in [(KERNEL, "the kernel"), (WEALD, "Weald"), (OTHER, "others")] {
            let _ = write!(text, "<tspan fill=\"{colour}\">■</tspan> {what}  ");
        }
        let _ = writeln!(text, "{} samples</text>", self.samples);
        self.draw(&mut text, 0.0, height - ROW_HEIGHT, self.samples, least);
        text.push_str("</svg>\n");
        text
    }

    fn draw(&self, text: &mut String, left: f64, y: f64, all: u64, least: u64) {
        let mut x = left;
        for (name, stacks) in &self.above {
            let width = stacks.samples as f64 / all as f64 * WIDTH;
            if stacks.samples >= least {
                rectangle(text, name, stacks.samples as f64 / all as f64, (x, y, width));
                stacks.draw(text, x, y - ROW_HEIGHT, all, least);
            }
            x += width;
        }
    }
}

fn rectangle(text: &mut String, name: &str, share: f64, (x, y, width): (f64, f64, f64)) {
    let (shown, colour) = match name.rsplit_once('_') {
        Some((shown, "[k]")) => (shown, KERNEL),
        Some((shown, "[t]")) => (shown, THREAD),
        _ if name.contains("weald") => (name, WEALD),
        _ => (name, OTHER),
    };
    let _ = write!(
        text,
        "<g><title>{} {:.1} %</title><rect x=\"{x:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\" stroke=\"#fff\" \
         stroke-width=\".5\"/>",
        escaped(shown),
        share * 100.0
    );
    let room = ((width - 4.0) / LETTER).max(0.0) as usize;
    if room >= 4 {
        let label: String = short(shown).chars().take(room).collect();
        let _ = write!(text, "<text x=\"{:.1}\" y=\"{:.0}\">{}</text>", x + 2.0, y + 11.0, escaped(&label));
    }
    text.push_str("</g>\n");
}

/// The name of a frame, told where it is the kernel's.
fn frame(line: &str) -> String {
    // "    ffffffff812 symbol+0x10 (place)"
    let line = line.trim();
    let rest = line.split_once(' ').map_or(line, |(_, rest)| rest);
    let (symbol, place) = rest.rsplit_once(" (").unwrap_or((rest, ""));
    let symbol = plain(symbol);
    let is_kernel = place.starts_with("[kernel") || place.starts_with("[fuse") || place.starts_with("[guest");
    match symbol.as_str() {
        "[unknown]" if place.contains('/') => {
            place.rsplit('/').next().unwrap_or(place).trim_end_matches(')').to_owned()
        }
        _ if is_kernel => format!("{symbol}_[k]"),
        _ => symbol,
    }
}

/// A symbol without what tells instances of it apart.
fn plain(symbol: &str) -> String {
    let hash = symbol.rfind("::h").filter(|at| {
        let hash = &symbol[at + 3..];
        hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit())
    });
    hash.map_or(symbol, |at| &symbol[..at]).to_owned()
}

/// The last two parts of a path.
fn short(name: &str) -> &str {
    // What stands in angle brackets has paths of its own.
    if name.contains('<') {
        return name;
    }
    name.rmatch_indices("::").nth(1).map_or(name, |(at, _)| &name[at + 2..])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
weald-fuse 
\tffffffff81 copy_page ([kernel.kallsyms])
\tffffffff82 fuse_dev_read ([fuse])
\t00005555 weald_fuse::pool::Worker::run::h0123456789abcdef (/usr/bin/weald)

weald-fuse 
\tffffffff82 fuse_dev_read ([fuse])
\t00005555 weald_fuse::pool::Worker::run::hfedcba9876543210 (/usr/bin/weald)

swapper 
\tffffffff83 idle ([kernel.kallsyms])

rg 
\t00007777 [unknown] (/usr/lib/libc.so.6)

";

    #[test]
    fn samples_add_up_from_the_thread_to_the_innermost_function() {
        let mut stacks = Stacks::default();
        stacks.add(SCRIPT);
        assert_eq!(stacks.samples(), 3);
        let run = &stacks.above["weald-fuse_[t]"].above["weald_fuse::pool::Worker::run"];
        let read = &run.above["fuse_dev_read_[k]"];
        assert_eq!((run.samples, read.samples, read.above["copy_page_[k]"].samples), (2, 2, 1));
        assert_eq!(stacks.above["rg_[t]"].above["libc.so.6"].samples, 1);
    }

    #[test]
    fn a_frame_is_as_wide_as_its_share_and_its_name_is_no_markup() {
        let mut stacks = Stacks::default();
        stacks.add(SCRIPT);
        stacks.add("a<b> \n\t1 <T as U>::run (/usr/bin/weald)\n\n");
        let picture = stacks.picture("work");
        assert!(picture.contains("<title>weald_fuse::pool::Worker::run 50.0 %"), "{picture}");
        assert!(picture.contains("width=\"600.0\""), "{picture}");
        assert!(picture.contains("&lt;T as U&gt;::run 25.0 %") && !picture.contains("<T as"));
    }

    #[test]
    fn what_is_too_narrow_to_be_seen_is_left_out() {
        let mut stacks = Stacks::default();
        for _ in 0..999 {
            stacks.add("wide\n\t1 f (x)\n\n");
        }
        stacks.add("narrow\n\t1 g (x)\n\n");
        let picture = stacks.picture("work");
        assert!(picture.contains("wide 99.9 %") && !picture.contains("narrow"));
    }
}
