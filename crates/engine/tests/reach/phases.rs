//! Giving back in its phases, with anything done between them: looking begins, what stays is named, it is looked at,
//! and what nobody reaches is given back.

use crate::home::Home;
use crate::records;
use std::collections::BTreeSet;
use std::sync::Arc;
use weald_engine::reach::{Reach, Unreached};
use weald_engine::shortening::Shortening;
use weald_engine::{Point, Workspace};
use weald_model::{Errno, Timestamp};

/// How far it is.
pub(crate) enum Phase {
    Begun(Vec<Arc<Workspace>>, Reach),
    Named(Reach, Window, Vec<Shortening>),
    Found(Unreached, Window, Vec<Shortening>),
}

/// What the window keeps: points since a time, but for those that were gone before.
pub(crate) struct Window {
    from: Timestamp,
    gone: BTreeSet<(usize, Point)>,
}

impl Home {
    /// Goes on to the next phase; the last one checks everything.
    pub(crate) fn next_phase(&mut self, secs: i64) {
        let now = self.clock.tick();
        self.phase = match self.phase.take() {
            None => {
                let family: Vec<_> = self.stems.iter().map(|stem| stem.engine.clone()).collect();
                let reach = Reach::begin(family.clone(), |_| true);
                Some(Phase::Begun(family, reach))
            }
            Some(Phase::Begun(family, mut reach)) => {
                let from = Timestamp { secs: now.secs - secs, ..now };
                let gone = self.gone();
                for workspace in &family {
                    workspace.snapshots().iter().for_each(|snapshot| reach.snapshot(snapshot));
                    reach.window(workspace, from, u64::MAX).unwrap();
                }
                let shortenings = records::shortenings(&mut reach, &family);
                Some(Phase::Named(reach, Window { from, gone }, shortenings))
            }
            Some(Phase::Named(reach, window, shortenings)) => {
                Some(Phase::Found(reach.finish().unwrap(), window, shortenings))
            }
            Some(Phase::Found(unreached, window, shortenings)) => {
                let given =
                    unreached.give_back().and_then(|_| records::give_up(&unreached, &shortenings).map(drop));
                self.stems.iter_mut().for_each(|stem| stem.carry(now));
                match given {
                    Ok(_) => self.check_window(window.from, &window.gone),
                    Err(Errno::Busy) => {}
                    Err(error) => panic!("{error}"),
                }
                self.check();
                None
            }
        };
    }
}
