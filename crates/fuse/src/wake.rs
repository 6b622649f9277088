//! Keeping CPUs awake while a program waits for one answer after the other.
//!
//! A program that does one file operation after the other and the thread that answers it take turns. When they run on
//! two CPUs, each turn wakes a halted one: 20–50 µs in a virtual machine, while answering takes 3. During a dense run
//! of requests the pool therefore asks the kernel for idle CPUs that wake at once, by holding `/dev/cpu_dma_latency`
//! open (the kernel's admin-guide/pm, "CPU Latency Limits"). The kernel gives it to root alone; for others nothing
//! changes. It is let go after a millisecond without a request, and by the kernel should the process die.
//! Measured in docs/decisions/0004.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A shorter sleep halted no CPU.
const NEAR: Duration = Duration::from_micros(15);
/// A longer sleep ends a dense run: the program does something else.
const FAR: Duration = Duration::from_micros(400);
/// Sleeps between the two in a row after which CPUs are kept awake.
const PATIENCE_MIN: u32 = 8;
/// Trials that do not help double the patience up to this; then they cost nothing that could be measured.
const PATIENCE_MAX: u32 = 1 << 16;
/// Sleeps between the two in a row after which keeping them awake has not helped.
const TRIAL: u32 = 64;
/// The run is over when no request came for this long.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// How long a thread looks for the next request before it sleeps, while CPUs are kept awake.
pub(crate) const LOOK: Duration = Duration::from_micros(30);

/// What follows from a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Hold,
    Release,
}

/// The rule, without the system calls.
#[derive(Debug)]
struct Rule {
    /// Sleeps in a row that may have halted a CPU.
    run: u32,
    patience: u32,
    held: bool,
}

impl Rule {
    fn slept(&mut self, time: Duration) -> Step {
        if time < NEAR {
            self.run = 0;
            if self.held {
                self.patience = PATIENCE_MIN;
            }
            return Step::Stay;
        }
        if time > FAR {
            self.run = 0;
            return self.release();
        }
        self.run += 1;
        if self.held && self.run >= TRIAL {
            self.run = 0;
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
            return self.release();
        }
        if !self.held && self.run >= self.patience {
            self.run = 0;
            self.held = true;
            return Step::Hold;
        }
        Step::Stay
    }

    fn release(&mut self) -> Step {
        if std::mem::take(&mut self.held) { Step::Release } else { Step::Stay }
    }
}

/// The request to the kernel, and when it is made. One thread uses it at a time.
pub(crate) struct Wake {
    rule: Rule,
    held: Option<File>,
    /// Cleared once the kernel refused: it will again.
    possible: bool,
}

impl Default for Wake {
    fn default() -> Self {
        Self { rule: Rule { run: 0, patience: PATIENCE_MIN, held: false }, held: None, possible: true }
    }
}

impl Wake {
    /// How long the next wait for a request may take before [`Wake::waited`] wants to know; None: for ever.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.held.is_some().then_some(PAUSE)
    }

    /// Told after each wait how long it was, and whether waits were spared since the last.
    pub(crate) fn waited(&mut self, spared: bool, time: Duration) {
        if !self.possible {
            return;
        }
        if spared {
            self.rule.slept(Duration::ZERO);
        }
        match self.rule.slept(time) {
            Step::Stay => {}
            Step::Hold => {
                self.held = hold().ok();
                self.possible = self.held.is_some();
            }
            Step::Release => self.held = None,
        }
    }
}

/// The same for threads that wait beside each other: the program that one of them has answered may ask another next, since the
/// scheduler moves it to a CPU that is free.
pub(crate) struct SharedWake {
    wake: Mutex<Wake>,
    is_held: AtomicBool,
    begun: Instant,
    /// When one of them last had answered all it had, in nanoseconds from `begun`.
    answered_at: AtomicU64,
}

impl Default for SharedWake {
    fn default() -> Self {
        let (wake, is_held, begun) = (Mutex::default(), AtomicBool::new(false), Instant::now());
        Self { wake, is_held, begun, answered_at: AtomicU64::new(0) }
    }
}

impl SharedWake {
    /// As [`Wake::patience`].
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.is_held.load(Ordering::Relaxed).then_some(PAUSE)
    }

    /// Told before each wait.
    pub(crate) fn waits(&self) {
        self.answered_at.store(self.now(), Ordering::Relaxed);
    }

    /// Told after each wait, whether a request came, and whether looking for it spared the sleep; how long the wait was.
    pub(crate) fn waited(&self, came: bool, is_spared: bool) -> Duration {
        let nanos = self.now().saturating_sub(self.answered_at.load(Ordering::Relaxed));
        let time = Duration::from_nanos(nanos);
        let is_held = self.is_held.load(Ordering::Relaxed);
        self.told(came, if is_spared && is_held { Duration::ZERO } else { time });
        time
    }

    fn told(&self, came: bool, time: Duration) {
        if !came && time < PAUSE {
            // The others have enough to do.
            return;
        }
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        wake.waited(false, time);
        self.is_held.store(wake.held.is_some(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Asks for a wake-up latency of 0 µs, in force while the file is open.
fn hold() -> std::io::Result<File> {
    let mut file = File::options().write(true).open("/dev/cpu_dma_latency")?;
    file.write_all(&0i32.to_ne_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    //! When CPUs are kept awake, and when no more.
    use super::*;

    const ACROSS: Duration = Duration::from_micros(50);
    const TOGETHER: Duration = Duration::from_micros(5);

    fn rule() -> Rule {
        Wake::default().rule
    }

    fn steps(rule: &mut Rule, time: Duration, sleeps: u32, step: Step) -> usize {
        (0..sleeps).filter(|_| rule.slept(time) == step).count()
    }

    #[test]
    fn a_dense_run_holds_once_and_a_pause_releases_once() {
        let mut rule = rule();
        assert_eq!(steps(&mut rule, ACROSS, PATIENCE_MIN, Step::Hold), 1);
        assert_eq!(steps(&mut rule, TOGETHER, 10_000, Step::Stay), 10_000);
        assert_eq!(rule.slept(PAUSE), Step::Release);
        assert_eq!(rule.slept(PAUSE), Step::Stay);
        assert_eq!(
            steps(&mut rule, ACROSS, PATIENCE_MIN, Step::Hold),
            1,
            "it helped: it is tried at once again"
        );
    }

    #[test]
    fn single_requests_and_near_programs_hold_nothing() {
        let mut rule = rule();
        assert_eq!(steps(&mut rule, Duration::from_secs(1), 1000, Step::Stay), 1000);
        assert_eq!(steps(&mut rule, TOGETHER, 1000, Step::Stay), 1000);
        for _ in 0..1000 {
            assert_eq!(steps(&mut rule, ACROSS, PATIENCE_MIN - 1, Step::Stay), PATIENCE_MIN as usize - 1);
            assert_eq!(rule.slept(TOGETHER), Step::Stay);
        }
    }

    #[test]
    fn a_run_that_goes_from_thread_to_thread_is_as_dense_as_one_that_stays() {
        let wake = SharedWake::default();
        let run = || wake.wake.lock().unwrap().rule.run;
        // Once more, and the kernel is asked, which may refuse.
        (1..PATIENCE_MIN).for_each(|_| wake.told(true, ACROSS));
        assert_eq!(run(), PATIENCE_MIN - 1);
        wake.told(false, ACROSS);
        assert_eq!(run(), PATIENCE_MIN - 1, "one hears nothing while others have work");
        wake.told(false, PAUSE);
        assert_eq!(run(), 0, "nobody has");
    }

    #[test]
    fn trials_that_do_not_help_become_rare() {
        let mut rule = rule();
        let sleeps = 8 * PATIENCE_MAX;
        let held = steps(&mut rule, ACROSS, sleeps, Step::Hold);
        assert!((10..=24).contains(&held), "{held}");
    }
}
